"""What every method must hold to, on a stream of three tasks."""

import itertools

import pytest
import torch
from streams import FAST, SPEC, images, learn, learner, stream, train_settings, weights
from torch.nn import functional

from myosotis.continual import stream as stream_module
from myosotis.continual.classification.batches import Augmentation, ReplayBatches
from myosotis.continual.classification.checks import check_fit
from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.methods import METHODS, build_learner, check_settings
from myosotis.continual.classification.norm import TaskBalancedBatchNorm2d, convert_task_balanced
from myosotis.continual.classification.saved import LearnerSpec, load_learner, make_learner, save_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes, predict
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.metrics import average_incremental_accuracy, final_accuracy, learning_accuracy
from myosotis.continual.scenario import class_incremental, data_incremental
from myosotis.engine.errors import DivergedError, InputError
from myosotis.models.image_classifier import load_classifier

NAMES = sorted(METHODS)
REPLAYING = sorted(name for name, method in METHODS.items() if method.reads_memory and not method.own_memory)


def the_same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_each_method_learns_and_says_what_it_cost(name):
    learned = learn(name, epochs=20 if name == "foster" else 6)
    assert learning_accuracy(learned.matrix()) > 0.4
    assert learned.matrix().shape == (3, 3)
    assert learned.matrix().isnan().tolist() == [[False, True, True], [False, False, True], [False] * 3]
    assert (learned.matrix("task_aware").nan_to_num() >= learned.matrix().nan_to_num()).all()
    assert learned.counts == [16, 16, 16]
    final = final_accuracy(learned.matrix(), learned.counts)
    assert (learned.answers == stream().test.labels).float().mean().item() == pytest.approx(final, abs=1e-6)
    for record in learned.records:
        assert record.steps > 0
        assert record.images >= record.steps
    assert learned.records[-1].exemplars == (12 if METHODS[name].reads_memory else 0)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_everything(name):
    the_same(weights(learn(name, epochs=1)), weights(learn(name, epochs=1)))
    other = weights(learn(name, epochs=1, seed=1))
    assert any(not value.equal(other[key]) for key, value in weights(learn(name, epochs=1)).items() if key in other)


@pytest.mark.parametrize("name", NAMES)
def test_cut_off_anywhere_it_ends_with_the_same_weights(name, tmp_path, monkeypatch):
    """After each checkpoint of the loop, and after each task, a new session goes on."""
    whole = learn(name, epochs=2)
    saves = itertools.count()
    real = stream_module.train

    class CutError(Exception):
        pass

    def cut(*arguments, after_epoch, **options):
        def stop(done, step):
            reason = after_epoch(done, step)
            # Every third epoch ends a session, before its checkpoint is written.
            if next(saves) % 3 == 2:
                raise CutError
            return reason

        return real(*arguments, after_epoch=stop, **options)

    monkeypatch.setattr(stream_module, "train", cut)
    for _ in range(40):
        try:
            resumed = learn(name, epochs=2, checkpoints=tmp_path)
            break
        except CutError:
            continue
    assert resumed.resumed
    the_same(weights(resumed), weights(whole))
    assert resumed.matrix().nan_to_num().equal(whole.matrix().nan_to_num())
    assert resumed.memory.state_dict() == whole.memory.state_dict()


@pytest.mark.parametrize("name", NAMES)
def test_a_saved_learner_answers_alike(name, tmp_path):
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


@pytest.mark.parametrize("name", REPLAYING)
def test_an_old_task_is_forgotten_less_than_by_fine_tuning(name):
    kept = learn(name, memory=60, epochs=8, **({"memory_batch_size": 5} if name == "dark_er" else {}))
    lost = learn("finetune", epochs=8)
    assert kept.records[-1].accuracy[0] > lost.records[-1].accuracy[0]


def test_replay_without_memory_is_fine_tuning():
    the_same(weights(learn("er", memory=0)), weights(learn("finetune", memory=0)))


def test_replay_of_everything_is_joint_training():
    scenario = stream()
    every = learn("er", memory=ExemplarMemory(per_class=100, selection="random"), scenario=scenario, epochs=1)
    joint = learn("joint", {"from_scratch": False}, scenario=scenario, epochs=1)
    for key, value in weights(joint).items():
        # The order within a batch differs, and so does the rounding of its sums.
        torch.testing.assert_close(weights(every)[key], value, atol=2e-4, rtol=1e-3)


def test_joint_training_is_not_worse():
    score = {name: average_incremental_accuracy(learn(name, epochs=8).matrix()) for name in ("joint", "er", "finetune")}
    assert score["joint"] >= score["er"] >= score["finetune"]


@pytest.mark.parametrize("name", ["der_expand", "foster"])
def test_frozen_parts_stay_to_the_bit(name):
    scenario = stream()
    found = learner(name)
    kept = []
    begin = type(found).before_task

    def before(self, task):
        begin(self, task)
        part = self.net.backbones[:-1] if name == "der_expand" else getattr(self.net, "old", None)
        kept.append({} if part is None else {key: value.clone() for key, value in part.state_dict().items()})
        self.part = part

    looked = []

    def after(self, task):
        if self.part is not None:
            looked.append({key: value.clone() for key, value in self.part.state_dict().items()})

    kind = type("Watched", (type(found),), {"before_task": before, "after_task": after})
    watched = kind(check_settings(name, {}), found._make_backbone, 0)
    learn_classes(
        watched, scenario, ExemplarMemory(total=12), TrainSettings(epochs=2, learning_rate=0.1, batch_size=10)
    )
    states = [state for state in kept if state]
    assert len(states) == 2
    for before_it, after_it in zip(states, looked[-2:], strict=True):
        the_same(before_it, after_it)
        assert any("running_mean" in key for key in before_it)


def test_the_size_of_an_expanded_network():
    net = learner("der_expand").net
    sizes = []
    for number in range(3):
        net.grow(2, torch.Generator().manual_seed(number))
        head = sum(one.numel() for one in net.head.parameters())
        sizes.append(head)
    assert sizes == [2 * 8 + 2, 4 * 16 + 4, 6 * 24 + 6]
    assert sum(one.numel() for one in net.auxiliary.parameters()) == 3 * 8 + 3


def test_only_the_balanced_stage_of_podnet_leaves_the_body_alone():
    learned = learn("podnet", {**FAST["podnet"], "balanced_epochs": 3}, epochs=1)
    plain = learn("podnet", {**FAST["podnet"], "balanced_epochs": 0}, epochs=1)
    first, second = weights(learned), weights(plain)
    assert not first["head.weight"].equal(second["head.weight"])
    assert any(one.requires_grad for one in learned.learner.net.backbone.parameters())


def test_task_balanced_normalisation_in_any_exemplar_method():
    for name in ("er", "ssil", "der_expand"):
        learned = learn(name, change=convert_task_balanced, memory_batch_size=2)
        layers = [one for one in learned.learner.net.modules() if isinstance(one, TaskBalancedBatchNorm2d)]
        assert layers
        assert all(layer.partition is None for layer in layers)
        plain = learn(name, memory_batch_size=2)
        first = learned.matrix()[0, 0]
        assert first == plain.matrix()[0, 0]  # the first task has nothing to balance
        assert not all(value.equal(weights(plain)[key]) for key, value in weights(learned).items())


def test_accumulation_and_augmentation_and_schedules():
    for options in (
        {"accumulate": 3},
        {"padding": 1, "flip": True},
        {"schedule": "step"},
        {"schedule": "onecycle", "nesterov": True},
        {"schedule": "constant", "max_grad_norm": 1.0},
        {"precision": "bf16"},
    ):
        learned = learn("er", epochs=4, **options)
        assert learning_accuracy(learned.matrix()) > 0.3


def test_validation_is_held_out_and_measured():
    learned = learn("er", scenario=stream(validation=0.25), epochs=3)
    assert [len(record.validation) for record in learned.records] == [1, 2, 3]
    held = {name for task in stream(validation=0.25) for name in task.validation.names}
    names = stream().train.names
    assert not held & {names[place] for place in learned.memory.indices().tolist()}


def test_the_callers_randomness_is_left_alone():
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    learn("er", epochs=1)
    assert torch.rand(1).equal(want)


def fit(name, memory, scenario=None, **options):
    check_fit(learner(name), stream() if scenario is None else scenario, memory, train_settings(name, **options))


def test_what_does_not_go_together():
    some = ExemplarMemory(total=12)
    for name in (name for name, method in METHODS.items() if method.needs_memory):
        with pytest.raises(ValueError, match="needs an exemplar memory"):
            fit(name, ExemplarMemory(total=0))
    with pytest.raises(ValueError, match="a memory of 5 is less than one exemplar for each of 6 classes"):
        fit("er", ExemplarMemory(total=5))
    with pytest.raises(ValueError, match="'reservoir' does not guarantee"):
        fit("icarl", ExemplarMemory(total=12, selection="reservoir"))
    with pytest.raises(ValueError, match="give its 'total'"):
        fit("dark_er", ExemplarMemory(per_class=2))
    with pytest.raises(ValueError, match="needs 'memory_batch_size'"):
        fit("dark_er", some, memory_batch_size=None)
    with pytest.raises(ValueError, match="between 1 and 9, got 10"):
        fit("er", some, memory_batch_size=10)
    with pytest.raises(ValueError, match="not from a data-incremental one"):
        fit("er", some, data_incremental(stream().train, 2))
    every = images()
    # One sample of one class: BiC used to fail after the first task, with "there is nothing to learn from".
    few = every.subset([place for place in range(len(every)) if every.labels[place] or place == 0])
    single = class_incremental(few, 2, 2, test=images(8, seed=1))
    with pytest.raises(ValueError, match="method 'bic' needs 2 training samples of each class, 'a' has 1"):
        fit("bic", some, single)
    fit("icarl", some, single)
    untested = class_incremental(images(), 2, 2)
    with pytest.raises(ValueError, match="needs test samples"):
        fit("er", some, untested)
    with pytest.raises(ValueError, match="unknown method 'ers'; did you mean 'er'"):
        build_learner("ers", None, lambda seed: None)
    with pytest.raises(ValueError, match="'lwf' has no setting 'weigth'; did you mean 'weight'"):
        check_settings("lwf", {"weigth": 1})


def test_training_that_diverges_says_so():
    with pytest.raises(DivergedError, match="diverged in task 1; lower the learning rate"):
        learn("er", learning_rate=1e25, schedule="constant")


def places(numbers):
    return torch.tensor(list(numbers), dtype=torch.long)


def batches_of(current, memory, **options):
    everything = stream().train
    settings = {"size": 10, "memory_size": None, "augmentation": Augmentation(), "seed": 0, **options}
    return ReplayBatches(everything.images, everything.labels, places(current), places(memory), **settings)


def test_batches_mixed_and_apart():
    mixed = list(batches_of(range(40), range(40, 60))(0))
    assert len(mixed) == 6
    drawn = torch.cat([batch.indices for batch in mixed])
    assert sorted(drawn.tolist()) == list(range(60))
    for batch in mixed:
        assert (batch.indices[: batch.n_current] < 40).all()
        assert (batch.indices[batch.n_current :] >= 40).all()
        assert batch.labels.equal(stream().train.labels[batch.indices])
    apart = list(batches_of(range(40), range(40, 46), memory_size=4)(0))
    assert len(apart) == 6
    assert {batch.n_current for batch in apart} == {6}
    remembered = torch.cat([batch.indices[6:] for batch in apart])
    assert torch.bincount(remembered, minlength=46)[40:].tolist() == [4] * 6
    again = batches_of(range(40), range(40, 46), memory_size=4)
    assert [batch.indices.tolist() for batch in again(0)] == [batch.indices.tolist() for batch in apart]
    assert [batch.indices.tolist() for batch in again(1)] != [batch.indices.tolist() for batch in apart]
    small = list(batches_of(range(3), [], memory_size=4)(0))
    assert [batch.n_current for batch in small] == [3]
    with pytest.raises(ValueError, match="no training samples"):
        batches_of([], [1])
    with pytest.raises(ValueError, match="leaves none of 3 current"):
        batches_of(range(3), [5], size=4, memory_size=4)


def test_checkpoints_of_a_finished_stream_are_its_last(tmp_path):
    learn("er", epochs=1, checkpoints=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["after-2"]


def test_images_are_counted_once_with_accumulation():
    plain, accumulated = learn("er", epochs=2), learn("er", epochs=2, accumulate=3)
    assert [one.images for one in plain.records] == [one.images for one in accumulated.records] == [80, 100, 100]
    assert [one.steps for one in accumulated.records] == [4, 4, 4]


@pytest.mark.parametrize("freeze", [True, False])
def test_old_vectors_of_lucir_keep_their_direction(freeze):
    found = []

    class Watched(METHODS["lucir"]):
        def after_task(self, task):
            found.append(functional.normalize(self.net.head.weight.detach(), dim=1).clone())

    settings = check_settings("lucir", {**FAST["lucir"], "freeze_old": freeze})
    watched = Watched(settings, learner("lucir")._make_backbone, 0)
    learn_classes(watched, stream(), ExemplarMemory(total=12), train_settings("lucir"))
    for before, after in itertools.pairwise(found):
        moved = (after[: len(before)] - before).abs().max()
        assert (moved < 1e-5) == freeze
