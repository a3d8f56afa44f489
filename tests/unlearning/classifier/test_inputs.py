import pytest
import torch
from PIL import Image

from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.engine.errors import InputError
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.inputs import NEAR, read_inputs
from myosotis.unlearning.classifier.methods import METHODS, build_method
from myosotis.unlearning.classifier.settings import PRESETS


def write(place, name, value, size=4):
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value).save(place / name)


@pytest.fixture
def folder(tmp_path):
    for place in ("train", "test"):
        for label, name in enumerate(("a", "b")):
            for number in range(4):
                write(tmp_path / place, f"{name}/{number}.png", 100 * label + 20 * number)
    return tmp_path


def config(folder, data, **further):
    job = {
        "name": "job",
        "model": {"architecture": "small-resnet"},
        "train": {},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, **data},
        **further,
    }
    return ClassifierUnlearningConfig.model_validate(job, context={"folder": folder})


def test_a_draw_depends_on_the_names_alone(folder):
    one = read_inputs(config(folder, {"forget": {"count": 3}}), ())
    assert one.classes == ("a", "b")
    assert set(one.forget.names) | set(one.remaining.names) == {f"{c}/{n}.png" for c in "ab" for n in range(4)}
    assert not set(one.forget.names) & set(one.remaining.names)
    assert read_inputs(config(folder, {"forget": {"count": 3}}), ()).forget.names == one.forget.names
    other = read_inputs(config(folder, {"forget": {"count": 3}}, seed=1), ())
    assert other.forget.names != one.forget.names


def test_labels_count_in_the_classes_of_the_model(folder):
    found = read_inputs(config(folder, {"forget": {"count": 3}}), ("b", "x", "a"))
    for images in (found.forget, found.remaining, found.test):
        assert {found.classes[label] for label in images.labels.tolist()} <= {"a", "b"}
        assert all(
            name.startswith(found.classes[label]) for name, label in zip(images.names, images.labels, strict=True)
        )
    with pytest.raises(InputError, match="no class 'b'"):
        read_inputs(config(folder, {"forget": {"count": 3}}), ("a", "c"))


def test_a_limit_shortens_the_training_set(folder):
    found = read_inputs(config(folder, {"forget": {"count": 2}, "limit": 5}), ())
    assert len(found.forget) + len(found.remaining) == 5
    with pytest.raises(InputError, match="8 images"):
        read_inputs(config(folder, {"forget": {"count": 2}, "limit": 9}), ())


def test_duplicates_are_told_apart_from_neighbours(folder):
    (folder / "list.txt").write_text("a/0.png\n")
    write(folder / "train", "a/equal.png", 0)
    write(folder / "train", "a/near.png", int(255 * NEAR) - 1)
    write(folder / "train", "a/far.png", int(255 * NEAR) + 2)
    found = read_inputs(config(folder, {"forget": {"list": "list.txt"}}), ())
    assert (found.same, found.near) == (1, 1)


def test_pixel_statistics_are_exact():
    images = torch.randint(0, 256, (7, 2, 5, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    mean, deviation = pixel_statistics(ImageSet(images, torch.zeros(7).long(), tuple("abcdefg"), ("x",)))
    values = images.double().transpose(0, 1).flatten(1) / 255
    assert mean == pytest.approx(values.mean(dim=1).tolist())
    assert deviation == pytest.approx(values.std(dim=1, correction=0).tolist())


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
    assert not METHODS[preset.method].reads_retain
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
    with pytest.raises(ValueError, match="is the method 'adv_imp'"):
        ClassifierUnlearningConfig(**options, method={"name": "neggrad"})
    without = ClassifierUnlearningConfig(**{**options, "preset": None, "preset_changes": ["goal"]})
    assert without.preset_changes == ()
