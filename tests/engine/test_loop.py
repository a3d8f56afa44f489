import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.loop import train

X = torch.randn(12, 3, generator=torch.Generator().manual_seed(0))
Y = torch.randn(12, 1, generator=torch.Generator().manual_seed(1))


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def batches(size):
    def of(epoch):
        order = torch.randperm(12, generator=torch.Generator().manual_seed(epoch))
        return [(X[order[at : at + size]], Y[order[at : at + size]]) for at in range(0, 12, size)]

    return of


def squared(model, batch, step):
    return {"fit": (model(batch[0]) - batch[1]).square().mean(), "size": 0.1 * model.weight.square().sum()}


def fitted(model=None, *, epochs=4, size=4, **options):
    model = model or linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    end = train(model, optimizer, batches(size), squared, epochs=epochs, scheduler=scheduler, **options)
    return model, end


def by_hand(epochs=4):
    model = linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
    for epoch in range(epochs):
        for batch in batches(4)(epoch):
            optimizer.zero_grad()
            sum(squared(model, batch, 0).values()).backward()
            optimizer.step()
            scheduler.step()
    return model


def test_it_is_the_loop_that_one_would_write():
    model, end = fitted()
    assert weights_hash(model) == weights_hash(by_hand())
    assert (end.steps, end.epochs, end.stop_reason) == (12, 4, None)


def test_gradients_left_by_the_caller_do_not_count():
    model = linear()
    model(X).sum().backward()
    assert weights_hash(fitted(model)[0]) == weights_hash(by_hand())


def test_accumulated_batches_are_one_batch():
    whole, _ = fitted(size=4)
    parts, end = fitted(size=2, accumulate=2)
    torch.testing.assert_close(parts.weight, whole.weight)
    assert end.steps == 12
    # Three batches by two: the last step of an epoch has one.
    _, end = fitted(size=4, accumulate=2)
    assert end.steps == 8


def test_trainings_of_one_process_may_differ_in_precision():
    model = linear()
    seen = []

    def watched(model, batch, step):
        prediction = model(batch[0])
        seen.append(prediction.dtype)
        return {"fit": (prediction.float() - batch[1]).square().mean()}

    for precision in ("no", "bf16", "no"):
        train(model, torch.optim.SGD(model.parameters(), 0.1), batches(12), watched, epochs=1, precision=precision)
    assert seen == [torch.float32, torch.bfloat16, torch.float32]


def test_clipping():
    model = linear()
    start = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    train(model, optimizer, batches(12), squared, epochs=1, max_grad_norm=0.01)
    moved = torch.cat([(model.weight - start).flatten()])
    assert moved.norm().item() <= 0.01 + 1e-6


def test_reasons_to_stop():
    seen = []

    def after_step(step, terms):
        seen.append((step, sorted(terms)))
        return "enough" if step == 5 else None

    _, end = fitted(after_step=after_step)
    assert (end.steps, end.epochs, end.stop_reason) == (5, 1, "enough")
    assert seen[-1] == (5, ["fit", "size"])
    _, end = fitted(after_epoch=lambda epoch, step: "half" if epoch == 2 else None)
    assert (end.steps, end.epochs, end.stop_reason) == (6, 2, "half")


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 4, 8, 11])
def test_a_killed_run_goes_on_to_the_same_weights(at, tmp_path):
    def kill(step, terms):
        if step == at:
            raise KilledError
        return

    with pytest.raises(KilledError):
        fitted(checkpoints=tmp_path, after_step=kill)
    model, end = fitted(checkpoints=tmp_path)
    assert weights_hash(model) == weights_hash(by_hand())
    assert end.steps == 12
    # A third call finds nothing left to do.
    again, end = fitted(checkpoints=tmp_path)
    assert weights_hash(again) == weights_hash(model)
    assert end.steps == 12
    assert len(list(tmp_path.glob("step-*"))) == 1


def test_a_reason_is_remembered(tmp_path):
    _, end = fitted(checkpoints=tmp_path, after_epoch=lambda epoch, step: "half" if epoch == 2 else None)
    _, again = fitted(checkpoints=tmp_path)
    assert again == end


TWO = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_loop import linear, squared, batches
from myosotis.engine.loop import train
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.processes import is_main_process
is_main_process()
rank = torch.distributed.get_rank()
model = linear()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 3, 0.5)
share = lambda epoch: [(x[rank::2], y[rank::2]) for x, y in batches(4)(epoch)]
def loss(wrapped, batch, step):
    return {"fit": (wrapped(batch[0]) - batch[1]).square().mean(), "size": 0.1 * model.weight.square().sum()}
train(model, optimizer, share, loss, epochs=4, scheduler=scheduler)
if rank == 0:
    torch.save(model.weight.detach(), sys.argv[2])
"""


STATISTICS = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_loop import X, normalised, error
from myosotis.engine.loop import train
from myosotis.engine.processes import is_main_process
is_main_process()
rank = torch.distributed.get_rank()
model = normalised()
starts = []
def batches(epoch):
    starts.append(model[0].running_mean.clone())
    return [X[rank::2]]
train(model, torch.optim.SGD(model.parameters(), lr=0.1), batches, error, epochs=2)
torch.save([*starts, model[0].running_mean], f"{sys.argv[2]}{rank}")
"""


def normalised():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))


def error(model, batch, step):
    return {"error": model(batch).square().mean()}


def in_processes(script, *arguments, folder):
    path = folder / "two.py"
    path.write_text(script)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(path)]
    subprocess.run(
        [*command, str(Path(__file__).parent), *map(str, arguments)], check=True, capture_output=True, timeout=240
    )


@pytest.mark.processes
def test_two_processes_are_one_with_twice_the_batch(tmp_path):
    found = tmp_path / "weight.pt"
    in_processes(TWO, found, folder=tmp_path)
    torch.testing.assert_close(torch.load(found, weights_only=True), by_hand().weight)


@pytest.mark.processes
def test_after_an_epoch_all_processes_have_the_running_statistics_of_the_first(tmp_path):
    in_processes(STATISTICS, tmp_path / "statistics", folder=tmp_path)
    first, second = (torch.load(tmp_path / f"statistics{rank}", weights_only=True) for rank in (0, 1))
    expected = torch.zeros(3)
    for found, same in zip(first, second, strict=True):
        torch.testing.assert_close(found, expected)
        assert torch.equal(found, same)
        functional.batch_norm(X[::2], expected, torch.ones(3), training=True)
