"""Every method on a stream of three tasks."""

import itertools
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from myosotis.continual import stream as stream_module
from myosotis.continual.classification.methods import METHODS, build_learner
from myosotis.continual.classification.norm import TaskBalancedBatchNorm2d, convert_task_balanced
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.metrics import average_incremental_accuracy, final_accuracy, learning_accuracy
from myosotis.engine.artifact import read_weights
from myosotis.engine.errors import DivergedError
from myosotis.models.backbone import build_backbone

FAST = {
    "eeil": {"balanced_epochs": 2},
    "podnet": {"balanced_epochs": 2, "scale": 5.0, "proxies": 3},
    "lucir": {"scale": 5.0},
    "ewc": {"samples": 10},
}


def weights(learned):
    found = learned.learner if hasattr(learned, "learner") else learned
    return {**found.net.state_dict(), **{f"state.{key}": value for key, value in found.end_state().items()}}


NAMES = sorted(name for name, method in METHODS.items() if method.trains)


REPLAYING = sorted(name for name, method in METHODS.items() if method.reads_memory and not method.own_memory)


def the_same(one, other):
    assert list(one) == list(other)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0, equal_nan=True, msg=name)


@pytest.mark.parametrize("name", NAMES)
def test_each_method_learns_and_says_what_it_cost(name, learn, stream):
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
def test_the_seed_decides_everything(name, learn):
    the_same(weights(learn(name, epochs=1)), weights(learn(name, epochs=1)))
    other = weights(learn(name, epochs=1, seed=1))
    assert any(not value.equal(other[key]) for key, value in weights(learn(name, epochs=1)).items() if key in other)


@pytest.mark.parametrize("name", NAMES)
def test_cut_off_anywhere_it_ends_with_the_same_weights(name, tmp_path, monkeypatch, learn):
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


@pytest.mark.parametrize("name", REPLAYING)
def test_an_old_task_is_forgotten_less_than_by_fine_tuning(name, learn):
    kept = learn(name, memory=60, epochs=8, **({"memory_batch_size": 5} if name == "dark_er" else {}))
    lost = learn("finetune", epochs=8)
    assert kept.records[-1].accuracy[0] > lost.records[-1].accuracy[0]


def test_replay_without_memory_is_fine_tuning(learn):
    the_same(weights(learn("er", memory=0)), weights(learn("finetune", memory=0)))


def test_replay_of_everything_is_joint_training(learn, stream):
    scenario = stream()
    every = learn("er", memory=ExemplarMemory(per_class=100, selection="random"), scenario=scenario, epochs=1)
    joint = learn("joint", {"from_scratch": False}, scenario=scenario, epochs=1)
    for key, value in weights(joint).items():
        # The order within a batch differs, and so does the rounding of its sums.
        torch.testing.assert_close(weights(every)[key], value, atol=2e-4, rtol=1e-3)


def test_joint_training_is_not_worse(learn):
    score = {name: average_incremental_accuracy(learn(name, epochs=8).matrix()) for name in ("joint", "er", "finetune")}
    assert score["joint"] >= score["er"] >= score["finetune"]


@pytest.mark.parametrize("name", ["der_expand", "foster"])
def test_frozen_parts_stay_to_the_bit(name, learner, stream):
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
    watched = kind(METHODS.settings(name, {}), found._make_backbone, 0)
    learn_classes(
        watched, scenario, ExemplarMemory(total=12), TrainSettings(epochs=2, learning_rate=0.1, batch_size=10)
    )
    states = [state for state in kept if state]
    assert len(states) == 2
    for before_it, after_it in zip(states, looked[-2:], strict=True):
        the_same(before_it, after_it)
        assert any("running_mean" in key for key in before_it)


@pytest.mark.parametrize("name", ["er", "der_expand"])
@pytest.mark.parametrize(("widths", "changed"), [([16, 16], True), ([8, 16], False)])
def test_convolutions_lie_channels_last_in_training_and_as_usual_in_files(
    name, widths, changed, stream, spec, train_settings, tmp_path
):
    """What grows with a later task too: der_expand adds a body for each."""
    wide = replace(spec, options={**spec.options, "widths": widths})
    learned = learn_classes(
        build_learner(name, None, lambda number: build_backbone(wide, seed=number), 0),
        stream(),
        ExemplarMemory(total=12, seed=0),
        train_settings(name),
        checkpoints=tmp_path,
    )
    layers = [weight for weight in learned.learner.net.parameters() if weight.ndim == 4 and min(weight.shape[1:3]) > 1]
    assert layers
    assert {weight.is_contiguous(memory_format=torch.channels_last) for weight in layers} == {changed}
    stored = read_weights(next(tmp_path.glob("after-*")) / "net.safetensors")
    same = {name: value for name, value in learned.learner.net.state_dict().items() if value.ndim == 4}
    assert all(torch.equal(stored[name], value) for name, value in same.items())
    assert all(stored[name].is_contiguous() for name in same)


def test_the_size_of_an_expanded_network(learner):
    net = learner("der_expand").net
    sizes = []
    for number in range(3):
        net.grow(2, torch.Generator().manual_seed(number))
        head = sum(one.numel() for one in net.head.parameters())
        sizes.append(head)
    assert sizes == [2 * 8 + 2, 4 * 16 + 4, 6 * 24 + 6]
    assert sum(one.numel() for one in net.auxiliary.parameters()) == 3 * 8 + 3


def test_only_the_balanced_stage_of_podnet_leaves_the_body_alone(learn):
    learned = learn("podnet", {**FAST["podnet"], "balanced_epochs": 3}, epochs=1)
    plain = learn("podnet", {**FAST["podnet"], "balanced_epochs": 0}, epochs=1)
    first, second = weights(learned), weights(plain)
    assert not first["head.weight"].equal(second["head.weight"])
    assert any(one.requires_grad for one in learned.learner.net.backbone.parameters())


def test_task_balanced_normalisation_in_any_exemplar_method(learn):
    for name in ("er", "ssil", "der_expand"):
        learned = learn(name, change=convert_task_balanced, memory_batch_size=2)
        layers = [one for one in learned.learner.net.modules() if isinstance(one, TaskBalancedBatchNorm2d)]
        assert layers
        assert all(layer.partition is None for layer in layers)
        plain = learn(name, memory_batch_size=2)
        first = learned.matrix()[0, 0]
        assert first == plain.matrix()[0, 0]  # the first task has nothing to balance
        assert not all(value.equal(weights(plain)[key]) for key, value in weights(learned).items())


def test_accumulation_and_augmentation_and_schedules(learn):
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


def test_validation_is_held_out_and_measured(learn, stream):
    learned = learn("er", scenario=stream(validation=0.25), epochs=3)
    assert [len(record.validation) for record in learned.records] == [1, 2, 3]
    held = {name for task in stream(validation=0.25) for name in task.validation.names}
    names = stream().train.names
    assert not held & {names[place] for place in learned.memory.indices().tolist()}


def test_the_callers_randomness_is_left_alone(learn):
    torch.manual_seed(3)
    want = torch.rand(1)
    torch.manual_seed(3)
    learn("er", epochs=1)
    assert torch.rand(1).equal(want)


def test_training_that_diverges_says_so(learn):
    with pytest.raises(DivergedError, match="diverged in task 1; lower the learning rate"):
        learn("er", learning_rate=1e25, schedule="constant")


def test_checkpoints_of_a_finished_stream_are_its_last(tmp_path, learn):
    learn("er", epochs=1, checkpoints=tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["after-2"]


def test_images_are_counted_once_with_accumulation(learn):
    plain, accumulated = learn("er", epochs=2), learn("er", epochs=2, accumulate=3)
    assert [one.images for one in plain.records] == [one.images for one in accumulated.records] == [80, 100, 100]
    assert [one.steps for one in accumulated.records] == [4, 4, 4]


@pytest.mark.parametrize("freeze", [True, False])
def test_old_vectors_of_lucir_keep_their_direction(freeze, learner, stream, train_settings):
    found = []

    class Watched(METHODS["lucir"]):
        def after_task(self, task):
            found.append(functional.normalize(self.net.head.weight.detach(), dim=1).clone())

    settings = METHODS.settings("lucir", {**FAST["lucir"], "freeze_old": freeze})
    watched = Watched(settings, learner("lucir")._make_backbone, 0)
    learn_classes(watched, stream(), ExemplarMemory(total=12), train_settings("lucir"))
    for before, after in itertools.pairwise(found):
        moved = (after[: len(before)] - before).abs().max()
        assert (moved < 1e-5) == freeze


@pytest.mark.processes
@pytest.mark.parametrize(("side", "widths"), [(64, [8, 16]), (96, [8, 16, 32])])
def test_a_job_on_larger_images_does_not_die(side, widths, tiny_jobs, tmp_path):
    """It ended by signal 11: oneDNN wrote a weight gradient out of bounds, see ``use_channels_last``."""
    for name, count, seed in (("train", 9, 0), ("test", 5, 1)):
        tiny_jobs.photos(tmp_path / name, count, seed)
    config = tiny_jobs.written(
        tmp_path,
        "classes",
        data={name: {"folder": name, "size": side} for name in ("train", "test")},
        model={"options": {"widths": widths, "blocks": [1] * len(widths)}},
    )
    command = [sys.executable, "-m", "myosotis", "run", str(config), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
