"""Every method on a tiny stream."""

import math

import pytest
import torch

from myosotis.continual.segmentation.methods import METHODS
from myosotis.continual.segmentation.metrics import channel_iou
from myosotis.engine.fingerprint import weights_hash


@pytest.mark.parametrize("name", METHODS)
def test_every_method_learns_a_stream(name, learn, learner):
    given = learner(name)
    hashes = []
    before = given.before_task

    def watched(task):
        before(task)
        if given.teacher is not None:
            hashes.append((given.teacher, weights_hash(given.teacher)))
            assert not given.teacher.training

    given.before_task = watched
    outcome = learn(name, given=given)
    assert [len(record.confusion) for record in outcome.records] == [3, 5, 6]
    assert outcome.records[0].pseudo_labels is None
    assert outcome.records[1].pseudo_labels.seen.images == 0
    assert sorted(outcome.panels) == [f"task-{task}-{at}" for task in (1, 2, 3) for at in (0, 1)]
    assert all(record.memory.leaks == 0 for record in outcome.records)
    assert (outcome.records[-1].memory.images == 8) == given.reads_memory
    # Old networks stay as they were, buffers too.
    assert len(hashes) == (0 if name == "joint" else 2)
    assert all(weights_hash(teacher) == known for teacher, known in hashes)
    again = learn(name)
    assert again.records[-1].confusion == outcome.records[-1].confusion
    assert weights_hash(again.learner.net) == weights_hash(outcome.learner.net)


def test_a_first_task_is_learnt_and_fine_tuning_forgets_it(learn):
    found = learn("finetune", iterations=60).records
    assert channel_iou(found[0].confusion)[1:3].mean() > 0.8
    assert channel_iou(found[-1].confusion)[1:3].mean() < 0.1
    joint = learn("joint", {"from_scratch": False}, iterations=150).records[-1]
    assert channel_iou(joint.confusion).mean() > 0.8


def test_nothing_differs_while_there_is_nothing_to_forget(learn):
    found = {}
    for name in ("finetune", "mib", "mib_m", "mib_augm", "plop", "ewf"):
        learn(name, iterations=3, on_task=lambda task, one, name=name: found.setdefault(name, weights_hash(one.net)))
    assert len(set(found.values())) == 1


@pytest.mark.parametrize("name", ["mib", "ssul_m"])
def test_old_classes_are_kept(name, learn):
    own = {"mib": {"distillation": 3.0}}.get(name)
    first = channel_iou(learn("finetune", iterations=60).records[-1].confusion)[1:3].mean()
    assert channel_iou(learn(name, own, iterations=60).records[-1].confusion)[1:3].mean() > first + 0.3


@pytest.mark.parametrize("name", METHODS)
def test_a_stream_that_stopped_in_the_middle_of_a_task_goes_on(name, tmp_path, learn, learner):
    whole = learn(name, checkpoints=tmp_path / "whole")
    given = learner(name)
    calls, plain = [0], given.loss

    def stops(*arguments):
        calls[0] += 1
        if calls[0] == 12 + 9:  # in the second task, after its first checkpoint
            raise KeyboardInterrupt
        return plain(*arguments)

    given.loss = stops
    with pytest.raises(KeyboardInterrupt):
        learn(name, given=given, checkpoints=tmp_path / "stopped")
    assert (tmp_path / "stopped" / "after-0").is_dir()
    resumed = learn(name, checkpoints=tmp_path / "stopped")
    assert [record.confusion for record in resumed.records] == [record.confusion for record in whole.records]
    assert weights_hash(resumed.learner.net) == weights_hash(whole.learner.net)
    assert resumed.records[1].seconds is None
    assert torch.equal(resumed.panels["task-1-0"], whole.panels["task-1-0"])


def test_first_and_later_tasks_may_differ_in_length(learn, stream):
    records = learn("finetune", first_iterations=20).records
    assert [record.steps for record in records] == [20, 12, 12]
    # Of the eight images of a step half are new where there is a memory.
    sizes = [len(task.train) for task in stream().tasks]
    found = learn("mib_m", {}, iterations=None, epochs=2).records
    assert [record.steps for record in found] == [
        2 * math.ceil(sizes[0] / 8),
        2 * math.ceil(sizes[1] / 4),
        2 * math.ceil(sizes[2] / 4),
    ]
