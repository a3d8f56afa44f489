"""Learners on a frozen body: streams end in the same bytes, whatever their order."""

import pytest
import torch

from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.saved import LearnerSpec, load_learner, make_learner, save_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes, predict
from myosotis.continual.memory import ExemplarMemory
from myosotis.exact import ExactClassifier
from myosotis.models.image_classifier import ClassifierSpec

FROZEN = sorted(name for name, method in METHODS.items() if not method.trains)
SETTINGS = {"ranpac": {"projection": 40}, "fecam": {}, "simplecil": {}}


def spec_of(name, classes):
    body = ClassifierSpec(
        "small-resnet", 0, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}, classes
    )
    return LearnerSpec(name, SETTINGS[name], body, NormConfig(), (2, 2, 2), 0)


def learned(name, scenario, **options):
    learner = make_learner(spec_of(name, scenario.classes))
    return learn_classes(learner, scenario, ExemplarMemory(total=0), TrainSettings(), seed=0, **options)


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setattr("myosotis.exact.classifier.new_key", lambda: bytes(32))


def test_there_are_three():
    assert FROZEN == ["fecam", "ranpac", "simplecil"]


@pytest.mark.parametrize("name", FROZEN)
def test_learns_a_stream_without_a_step(name, stream):
    outcome = learned(name, stream())
    assert [record.steps for record in outcome.records] == [0, 0, 0]
    assert outcome.matrix()[-1].mean() > 0.5
    assert [record.exemplars for record in outcome.records] == [0, 0, 0]


@pytest.mark.parametrize("name", FROZEN)
def test_the_order_of_tasks_does_not_matter_to_the_bit(name, stream, tmp_path, key):
    found = []
    for order in (0, 1, 2):
        outcome = learned(name, stream(order_seed=order))
        outcome.learner.write_files(tmp_path / str(order))
        found.append({path.name: path.read_bytes() for path in sorted((tmp_path / str(order)).iterdir())})
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("name", FROZEN)
def test_a_saved_learner_answers_the_same(name, stream, tmp_path):
    scenario = stream()
    outcome = learned(name, scenario)
    save_learner(outcome.learner, spec_of(name, scenario.classes), tmp_path)
    loaded, spec = load_learner(tmp_path)
    images, rows = scenario.test.images, torch.arange(len(scenario.test))
    assert torch.equal(predict(loaded, images, rows), predict(outcome.learner, images, rows))
    assert spec.sizes == (2, 2, 2)
    assert not (tmp_path / "classifier.json").exists()


def test_an_interrupted_stream_ends_with_the_same_bytes(stream, tmp_path, key):
    class StopError(Exception):
        pass

    def stop(index, _):
        if index == 1:
            raise StopError

    whole = learned("ranpac", stream())
    with pytest.raises(StopError):
        learned("ranpac", stream(), checkpoints=tmp_path, on_task=stop)
    resumed = learned("ranpac", stream(), checkpoints=tmp_path)
    assert resumed.learner.exact.digests() == whole.learner.exact.digests()


def test_a_forgotten_class_is_answered_no_more(stream):
    scenario = stream()
    outcome = learned("simplecil", scenario)
    learner, exact = outcome.learner, outcome.learner.exact
    rows = scenario.train.labels == 5
    images = scenario.train.images[rows]
    from myosotis.exact import exact_features

    features = exact_features(learner.net.backbone, images, 12)
    exact.forget(images, features, [scenario.classes[5]] * len(images))
    scores = predict(learner, scenario.test.images, torch.arange(len(scenario.test)))
    assert scores.shape[1] == 6
    assert bool((scores[:, 5] == -torch.inf).all())
    assert bool(scores[:, :5].isfinite().all())


def test_what_a_stream_learned_is_what_learning_directly_gives(stream, key):
    scenario = stream()
    outcome = learned("fecam", scenario)
    direct = ExactClassifier(outcome.learner.exact.spec)
    from myosotis.exact import exact_features

    rows = exact_features(outcome.learner.net.backbone, scenario.train.images, 12)
    direct.learn(scenario.train.images, rows, [scenario.classes[label] for label in scenario.train.labels.tolist()])
    assert direct.digests() == outcome.learner.exact.digests()
