"""Every method over every base on a tiny stream."""

import math

import pytest
import torch

from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.selfsupervised.bases import BASES
from myosotis.continual.selfsupervised.measuring import ProbeSettings
from myosotis.continual.selfsupervised.methods import METHODS
from myosotis.continual.selfsupervised.momentum import MomentumCopy, momentum_at
from myosotis.continual.selfsupervised.training import check_ssl, learn_representations

PROBES = ProbeSettings(shares=(0.5,), drift_samples=24)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_over_every_base(method, base, learn, learner, weights):
    outcome = learn(method, base)
    assert len(outcome.records) == (1 if method == "joint" else 2)
    assert weights(outcome.learner).isfinite().all()
    last = outcome.records[-1]
    assert set(last.loss) <= {"ssl", "plasticity", "stability", "regulariser", "distillation", "replay", "penalty"}
    assert 0 <= last.measured.linear_all <= 1
    assert len(last.measured.linear) == 2
    assert last.exemplars == (12 if METHODS[method].reads_memory else 0)
    assert not torch.equal(weights(outcome.learner), weights(learner(method, base)))


def test_the_copy_moves_once_a_step_with_the_momentum_of_the_moment(monkeypatch, learn):
    seen = []
    monkeypatch.setattr(MomentumCopy, "follow", lambda _, __, ___, momentum: seen.append(momentum))
    learn("finetune", "moco", epochs=2)
    # Two tasks of 48 samples: three steps an epoch.
    expected = [momentum_at(step / 6, 0.99, 0.999) for step in range(6)]
    assert seen == pytest.approx(expected * 2)


@pytest.mark.parametrize(
    ("method", "base"),
    [
        ("pnr", "moco"),
        ("cassle", "byol"),
        ("lump", "barlow"),
        ("dark_er", "simclr"),
        ("ewc", "moco"),
        ("joint", "vicreg"),
    ],
)
def test_a_stream_that_stopped_in_the_middle_of_a_task_goes_on(
    method, base, tmp_path, learn, learner, weights, weights_of
):
    whole = learn(method, base, epochs=3)
    given, calls = learner(method, base), []
    plain = given.loss
    steps = 3 * (6 if method == "joint" else 3)
    last = steps // 3 + 1 if method == "joint" else steps + 4

    def loss(net, batch):
        calls.append(1)
        if len(calls) > last:
            raise KeyboardInterrupt
        return plain(net, batch)

    given.loss = loss
    with pytest.raises(KeyboardInterrupt):
        learn(method, base, given=given, epochs=3, checkpoints=tmp_path)
    resumed = learn(method, base, epochs=3, checkpoints=tmp_path)
    assert torch.equal(weights(whole.learner), weights(resumed.learner))
    assert [record.measured.linear for record in whole.records] == [
        record.measured.linear for record in resumed.records
    ]
    assert resumed.before == whole.before
    if whole.learner.past is not None:
        assert torch.equal(weights_of(whole.learner.past), weights_of(resumed.learner.past))
        assert not torch.equal(weights_of(whole.learner.past.encoder), weights_of(whole.learner.net.encoder))
    for name, value in whole.learner.end_state().items():
        assert torch.equal(value, resumed.learner.end_state()[name]), name
    assert all(torch.equal(whole.maps[name], resumed.maps[name]) for name in whole.maps)


@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_losses_of_a_task_outlive_a_stop_after_its_last_epoch(
    checkpoint_every, tmp_path, learner, stream, train_settings
):
    """Between the last epoch and the end of a task encoders are probed; a run killed there lost the task's losses."""

    def stop(number, _):
        if number == 1:
            raise KeyboardInterrupt

    arguments = (stream(), ExemplarMemory(total=0), train_settings(), PROBES)
    saved = {"checkpoints": tmp_path, "checkpoint_every": checkpoint_every}
    whole = learn_representations(learner(), *arguments)
    with pytest.raises(KeyboardInterrupt):
        learn_representations(learner(), *arguments, **saved, on_task=stop)
    resumed = learn_representations(learner(), *arguments, **saved)
    assert [record.loss for record in resumed.records] == [record.loss for record in whole.records]
    assert all(record.loss for record in resumed.records)


def test_seeds_and_optimisers(learn, weights):
    one, same, other = learn(), learn(), learn(seed=1)
    assert torch.equal(weights(one.learner), weights(same.learner))
    assert not torch.equal(weights(one.learner), weights(other.learner))
    for optimizer in ("lars", "adamw"):
        found = learn(optimizer=optimizer, warmup=1, accumulate=2, max_grad_norm=1.0, learning_rate=0.01)
        assert weights(found.learner).isfinite().all()
        assert found.records[0].steps == 2 * 2


def test_half_precision(learn):
    for base in BASES:
        found = learn("pnr", base, precision="bf16")
        assert all(math.isfinite(value) for value in found.records[-1].loss.values())


@pytest.mark.parametrize(
    ("method", "base", "own", "options", "memory", "message"),
    [
        ("er", "moco", {}, {}, 0, "'er' needs a 'memory'"),
        ("finetune", "moco", {}, {}, 4, "'finetune' reads no stored samples"),
        ("finetune", "moco", {}, {"memory_batch_size": 4}, 0, "leave 'memory_batch_size' out"),
        ("lump", "moco", {}, {"memory_batch_size": 4}, 4, "'lump' mixes each sample"),
        ("finetune", "moco", {}, {"batch_size": 40}, 0, "a queue of 32 is smaller than a batch of 40"),
        ("er", "moco", {}, {"batch_size": 20}, 4, "a queue of 32 is smaller than a batch of 40"),
        ("finetune", "simclr", {}, {"batch_size": 1}, 0, "batch_size"),
        ("finetune", "simclr", {}, {"batch_size": 64}, 0, "a task has 48 images, fewer than a batch of 64"),
        ("joint", "simclr", {}, {"batch_size": 128}, 0, "a task has 96 images, fewer than a batch of 128"),
        ("ewc", "simclr", {"group": 17}, {}, 0, "a batch of 16 is smaller than 'group', 17"),
        ("finetune", "simclr", {}, {"warmup": 2}, 0, "a warm-up of 2 epochs must be shorter than the training of 2"),
    ],
)
def test_what_does_not_go_together(method, base, own, options, memory, message, learner, stream, train_settings):
    with pytest.raises(ValueError, match=message):
        check_ssl(
            learner(method, base, own),
            stream(),
            ExemplarMemory(total=memory, selection="reservoir"),
            train_settings(**options),
        )


def test_lars_scales_without_weight_decay(learn, learner, weights_of):
    def change(decay):
        one = learner("finetune", "simclr")
        before = weights_of(one.net.projector)
        learn("finetune", "simclr", given=one, optimizer="lars", learning_rate=0.01, weight_decay=decay, epochs=1)
        return (weights_of(one.net.projector) - before).norm()

    assert change(0.0) == pytest.approx(float(change(1e-6)), rel=0.05)
