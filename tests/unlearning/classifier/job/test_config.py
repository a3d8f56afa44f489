import pytest

from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.methods import METHODS, build_method
from myosotis.unlearning.classifier.settings import PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_spelled_out_and_can_be_read_again(name, folder):
    made = ClassifierUnlearningConfig(
        name="job",
        model={"architecture": "small-resnet"},
        train={},
        data={"train": {"folder": "train"}, "forget": {"count": 1}},
        preset=name,
    )
    preset = PRESETS[name]
    assert (made.goal, made.method.name) == (preset.goal, preset.method)
    assert made.method.settings == vars(build_method(preset.method, preset.method_settings))
    assert preset.settings == made.training
    assert METHODS[preset.method].reads_retain is (preset.goal == "as_unseen")
    assert ClassifierUnlearningConfig(**made.model_dump(mode="json")) == made


def test_settings_beside_a_preset_replace_its_own_and_are_recorded():
    options = {
        "name": "job",
        "model": {"architecture": "small-resnet"},
        "train": {},
        "data": {"train": {"folder": "train"}, "forget": {"count": 1}},
        "preset": "recommended",
    }
    plain = ClassifierUnlearningConfig(**options)
    assert plain.preset_changes == ()
    changed = ClassifierUnlearningConfig(
        **options, goal="misclassify", method={"eps": 2.0}, training={"max_steps": 3, "epochs": plain.training.epochs}
    )
    assert changed.preset_changes == ("goal", "method.eps", "training.max_steps")
    assert changed.method.settings == {**plain.method.settings, "eps": 2.0}
    assert changed.training == plain.training.model_copy(update={"max_steps": 3})
    assert ClassifierUnlearningConfig(**changed.model_dump(mode="json")) == changed
    with pytest.raises(ValueError, match="sets the method 'adv_imp'"):
        ClassifierUnlearningConfig(**options, method={"name": "neggrad"})
    without = ClassifierUnlearningConfig(**{**options, "preset": None, "preset_changes": ["goal"]})
    assert without.preset_changes == ()
