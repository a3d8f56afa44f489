"""Tests of :mod:`myosotis.continual.classification.saved`."""

import pytest
import torch

from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.saved import LearnerSpec, load_learner, make_learner, save_learner
from myosotis.continual.classification.training import predict
from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, load_classifier

SPEC = ClassifierSpec(
    "small-resnet", 0, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}, tuple("abcdef")
)


FAST = {
    "eeil": {"balanced_epochs": 2},
    "podnet": {"balanced_epochs": 2, "scale": 5.0, "proxies": 3},
    "lucir": {"scale": 5.0},
    "ewc": {"samples": 10},
}


NAMES = sorted(name for name, method in METHODS.items() if method.trains)


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_learner_answers_alike(name, tmp_path, learn, stream):
    learned = learn(name, epochs=1)
    settings = FAST.get(name, {})
    spec = LearnerSpec(name, settings, SPEC, NormConfig(), (2, 2, 2), 0)
    save_learner(learned.learner, spec, tmp_path / "model")
    again, told = load_learner(tmp_path / "model")
    assert told == spec
    test = stream().test
    places = torch.arange(len(test))
    assert predict(again, test.images, places).equal(predict(learned.learner, test.images, places))
    plain = (tmp_path / "model" / "classifier.json").is_file()
    assert plain == (name not in ("icarl", "lucir", "podnet", "der_expand"))
    if plain:
        model, whole = load_classifier(tmp_path / "model")
        assert whole.classes == SPEC.classes
        with torch.no_grad():
            torch.testing.assert_close(model(test.pixels()), predict(learned.learner, test.images, places))


def test_what_is_saved_is_checked(tmp_path):
    with pytest.raises(InputError, match=r"holds no learner\.json"):
        load_learner(tmp_path)
    (tmp_path / "learner.json").write_text('{"method": "er"}')
    with pytest.raises(InputError, match="does not describe a learner"):
        load_learner(tmp_path)
    spec = LearnerSpec("er", {}, SPEC, NormConfig(kind="cn", groups=4), (2,), 0)
    save_learner(make_learner(spec), spec, tmp_path)
    with pytest.raises(InputError, match="weights cannot be loaded"):
        load_learner(tmp_path)
