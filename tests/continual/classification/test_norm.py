"""Task-balanced batch normalisation: the numbers and properties of its specification, against a literal version."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from myosotis.continual.classification.norm import (
    ContinualNorm2d,
    Partition,
    TaskBalancedBatchNorm1d,
    TaskBalancedBatchNorm2d,
    TaskBalancedBatchNorm3d,
    convert_continual,
    convert_group,
    convert_task_balanced,
    reshape_factor,
    revert_task_balanced,
    task_balance,
)
from myosotis.continual.classification.norm.moments import _matrices, matrices_on
from myosotis.models.resnet import SmallResNet


def literal(layer, x, n_current, r):
    """Reshape, repeat, normalise, reshape back: the method as it is told, with its running statistics."""
    c, space = x.shape[1], x.shape[2:]
    n_memory = len(x) - n_current
    current = x[:n_current].reshape(n_current // r, r * c, *space)
    memory = x[n_current:].repeat(1, r, *[1] * len(space))
    z = torch.cat([current, memory])
    dims = [0, *range(2, x.ndim)]
    mean, var = z.mean(dims), z.var(dims, unbiased=False)
    shape = (1, r * c, *[1] * len(space))
    y = (z - mean.view(shape)) / (var.view(shape) + layer.eps).sqrt()
    if layer.affine:
        y = y * layer.weight.repeat(r).view(shape) + layer.bias.repeat(r).view(shape)
    rows = n_current // r
    out = torch.cat(
        [y[:rows].reshape(n_current, c, *space), y[rows:].reshape(n_memory, r, c, *space).mean(1)],
    )
    n = z.numel() / (r * c)
    m = layer.momentum
    running_mean = (1 - m) * layer.running_mean + m * mean.view(r, c).mean(0)
    running_var = (1 - m) * layer.running_var + m * var.view(r, c).mean(0) * n / (n - 1)
    return out, running_mean, running_var


def layer_2d(channels, dtype=torch.float64, **options):
    torch.manual_seed(channels)
    layer = TaskBalancedBatchNorm2d(channels, **options).to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(channels))
        layer.bias.copy_(torch.randn(channels))
    return layer


def run(layer, x, n_current, tasks, upstream=None):
    x = x.clone().requires_grad_()
    with task_balance(layer, n_current=n_current, n_past_tasks=tasks):
        y = layer(x)
    if upstream is None:
        return y.detach()
    y.backward(upstream)
    return y.detach(), x.grad, layer.weight.grad, layer.bias.grad


def column(values):
    return torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1)


X, G = [0, 2, 4, 6, 10, 20], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]


def tiny(**options):
    return TaskBalancedBatchNorm2d(1, eps=1e-12, **options).double()


def test_the_worked_example():
    layer = tiny()
    y, dx, dgamma, dbeta = run(layer, column(X), 4, 1, column(G))
    want = [-1.1283296, -1.1211526, -0.5973510, -0.5232046, 0.1369303, 1.5480887]
    torch.testing.assert_close(y.flatten(), torch.tensor(want, dtype=torch.float64), atol=1e-7, rtol=0)
    assert layer.running_mean.item() == pytest.approx(0.9)
    assert layer.running_var.item() == pytest.approx(7.6666667)
    assert dgamma.item() == pytest.approx(2.7176771, abs=1e-7)
    assert dbeta.item() == pytest.approx(21)
    want = [-0.1017514, -0.1073133, 0.1257273, 0.1791339, -0.0552844, -0.0405121]
    torch.testing.assert_close(dx.flatten(), torch.tensor(want, dtype=torch.float64), atol=1e-7, rtol=0)


def test_splits_are_interleaved_not_halves():
    layer = tiny()
    y = run(layer, column([0, 4, 2, 6, 10, 20]), 4, 1)
    assert layer.running_var.item() == pytest.approx(7.5666667)
    assert layer.running_mean.item() == pytest.approx(0.9)
    assert y.flatten()[0].item() == pytest.approx(-1.0160010, abs=1e-7)


def test_without_a_partition_it_is_batch_normalisation():
    layer = tiny()
    y = layer(column(X)).flatten()
    want = [-1.0593099, -0.7566499, -0.4539899, -0.1513300, 0.4539899, 1.9672898]
    torch.testing.assert_close(y.detach(), torch.tensor(want, dtype=torch.float64), atol=1e-7, rtol=0)
    assert (layer.running_mean.item(), layer.running_var.item()) == (pytest.approx(0.7), pytest.approx(6.14))


def test_the_weighted_mode_is_another_method():
    layer = tiny(mode="weighted")
    y = run(layer, column(X), 4, 1)
    want = [-1.2602521, -0.9801961, -0.7001400, -0.4200840, 0.1400280, 1.5403081]
    torch.testing.assert_close(y.flatten(), torch.tensor(want, dtype=torch.float64), atol=1e-7, rtol=0)
    assert (layer.running_mean.item(), layer.running_var.item()) == (pytest.approx(0.9), pytest.approx(7.7))


@pytest.mark.parametrize(
    ("batch", "both", "current"),
    [
        ((48, 16), [2, 4, 8, 8, 8, 16, 16, 16, 16], [3, 6, 8, 12, 12, 16, 16, 24, 24]),
        ((64, 16), [4, 8, 8, 16, 16, 16, 16, 16, 16], [4, 8, 8, 16, 16, 16, 16, 32, 32]),
        ((54, 10), [2] * 9, [3, 9, 9, 18, 27, 27, 27, 27, 27]),
    ],
)
def test_the_table_of_reshape_factors(batch, both, current):
    assert [reshape_factor(*batch, tasks) for tasks in range(1, 10)] == both
    assert [reshape_factor(*batch, tasks, divisor_of="current") for tasks in range(1, 10)] == current
    assert reshape_factor(*batch, 0) == 1


SHAPES = [(48, 16, 3, 5, 6), (48, 16, 1, 4, 4), (64, 16, 4, 1, 1), (8, 8, 2, 3, 3), (4, 2, 3, 2, 2), (16, 16, 5, 1, 3)]


@pytest.mark.parametrize(("n_current", "n_memory", "channels", "height", "width"), SHAPES)
@pytest.mark.parametrize("tasks", [1, 2, 3, 7, 40])
def test_equal_to_the_literal_version(n_current, n_memory, channels, height, width, tasks):
    layer = layer_2d(channels, divisor_of="current")
    x = torch.randn(n_current + n_memory, channels, height, width, dtype=torch.float64) * 3 + 2
    upstream = torch.randn_like(x)
    r = reshape_factor(n_current, n_memory, tasks, divisor_of="current")
    reference = copy.deepcopy(layer)
    mirrored = x.clone().requires_grad_()
    want, running_mean, running_var = literal(reference, mirrored, n_current, r)
    want.backward(upstream)
    y, dx, dgamma, dbeta = run(layer, x, n_current, tasks, upstream)
    for found, wanted in (
        (y, want),
        (dx, mirrored.grad),
        (dgamma, reference.weight.grad),
        (dbeta, reference.bias.grad),
        (layer.running_mean, running_mean),
        (layer.running_var, running_var),
    ):
        torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("shape", [(3,), (3, 5), (3, 2, 3, 4)])
def test_one_and_three_dimensions(shape):
    kind = {1: TaskBalancedBatchNorm1d, 2: TaskBalancedBatchNorm1d, 4: TaskBalancedBatchNorm3d}[len(shape)]
    layer = kind(3).double()
    x = torch.randn(12, *shape, dtype=torch.float64)
    want, running_mean, _ = literal(layer, x, 8, reshape_factor(8, 4, 2))
    torch.testing.assert_close(run(layer, x, 8, 2), want)
    torch.testing.assert_close(layer.running_mean, running_mean)


@pytest.mark.parametrize("mode", ["exact", "weighted"])
def test_gradients_by_finite_differences(mode):
    layer = layer_2d(2, mode=mode)
    layer.track_running_stats = False
    x = torch.randn(6, 2, 2, 2, dtype=torch.float64, requires_grad=True)

    def forward(x, weight, bias):
        with task_balance(layer, n_current=4, n_past_tasks=1):
            return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    assert torch.autograd.gradcheck(forward, (x, layer.weight, layer.bias))


def test_identical_groups_are_batch_normalisation_of_one_group():
    group, memory = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2)
    layer, plain = TaskBalancedBatchNorm2d(3), nn.BatchNorm2d(3)
    y = run(layer, torch.cat([group.repeat_interleave(2, 0), memory]), 8, 1)
    want = plain(torch.cat([group, memory]))
    torch.testing.assert_close(y[::2][:4], want[:4], atol=5e-7, rtol=0)
    torch.testing.assert_close(y[8:], want[4:], atol=5e-7, rtol=0)
    torch.testing.assert_close(layer.running_mean, plain.running_mean)
    torch.testing.assert_close(layer.running_var, plain.running_var)


def test_evaluation_and_state_are_those_of_batch_normalisation():
    layer, plain = TaskBalancedBatchNorm2d(3), nn.BatchNorm2d(3)
    run(layer, torch.randn(12, 3, 4, 4), 8, 2)
    assert list(layer.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(layer.state_dict(), strict=True)
    layer.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(5, 3, 4, 4)
    layer.partition = Partition(2, 2)
    assert layer.eval()(x).equal(plain.eval()(x))


def test_running_statistics_against_the_weighted_ones():
    x = torch.randn(64, 4, 3, 3, dtype=torch.float64)
    exact, weighted = layer_2d(4), layer_2d(4, mode="weighted")
    r = reshape_factor(48, 16, 3)
    means = torch.stack([torch.cat([x[k:48:r], x[48:]]).mean((0, 2, 3)) for k in range(r)])
    n = (48 // r + 16) * 9
    run(exact, x, 48, 3)
    run(weighted, x, 48, 3)
    pooled_mean = (x[:48].mean((2, 3)).sum(0) / r + x[48:].mean((2, 3)).sum(0)) / (48 / r + 16)
    torch.testing.assert_close(exact.running_mean, 0.1 * pooled_mean)
    second = (x[:48].square().mean((2, 3)).sum(0) / r + x[48:].square().mean((2, 3)).sum(0)) / (48 / r + 16)
    pooled_var = (second - pooled_mean.square()) * n / (n - 1)
    between = means.var(0, unbiased=False) * n / (n - 1)
    torch.testing.assert_close(exact.running_var + 0.1 * between, 0.9 + 0.1 * pooled_var)
    # Balance asks for r = 9 here; the weighted mode has it, the exact one the next divisor, 8.
    share = 16 / (48 * 3)
    values = (48 * share + 16) * 9
    mean = (share * x[:48].mean((2, 3)).sum(0) + x[48:].mean((2, 3)).sum(0)) / (48 * share + 16)
    spread = share * (x[:48] - mean.view(1, -1, 1, 1)).square().mean((2, 3)).sum(0)
    spread = spread + (x[48:] - mean.view(1, -1, 1, 1)).square().mean((2, 3)).sum(0)
    torch.testing.assert_close(weighted.running_mean, 0.1 * mean)
    variance = spread / (48 * share + 16) * values / (values - 1)
    torch.testing.assert_close(weighted.running_var, 0.9 + 0.1 * variance)


def test_symmetries():
    layer = layer_2d(3)
    layer.track_running_stats = False
    x = torch.randn(64, 3, 2, 2, dtype=torch.float64)
    y = run(layer, x, 48, 3)
    r = reshape_factor(48, 16, 3)
    memory = torch.cat([torch.arange(48), 48 + torch.randperm(16)])
    torch.testing.assert_close(run(layer, x[memory], 48, 3), y[memory])
    grid = torch.arange(48).view(48 // r, r)[torch.randperm(48 // r)][:, torch.randperm(r)].flatten()
    grid = torch.cat([grid, torch.arange(48, 64)])
    torch.testing.assert_close(run(layer, x[grid], 48, 3), y[grid])
    swapped = torch.arange(64)
    swapped[0], swapped[1] = 1, 0
    assert (run(layer, x[swapped], 48, 3) - y[swapped]).abs().max() > 1e-3


def test_splits_of_current_samples_do_not_see_each_other():
    layer = layer_2d(2)
    layer.track_running_stats = False
    x = torch.randn(64, 2, 2, 2, dtype=torch.float64)
    moved = x.clone()
    moved[0] += 1
    r = reshape_factor(48, 16, 3)
    changed = (run(layer, x, 48, 3) != run(layer, moved, 48, 3)).flatten(1).any(1)
    assert changed.tolist() == [i % r == 0 for i in range(48)] + [True] * 16


@given(st.integers(1, 40), st.integers(1, 20), st.integers(0, 12))
@settings(max_examples=40, deadline=None)
def test_the_gradient_of_beta_is_that_of_batch_normalisation(n_current, n_memory, tasks):
    layer = layer_2d(2)
    plain = nn.BatchNorm2d(2).double()
    x = torch.randn(n_current + n_memory, 2, 2, 1, dtype=torch.float64)
    upstream = torch.randn_like(x)
    *_, dbeta = run(layer, x, n_current, tasks, upstream)
    plain(x).backward(upstream)
    torch.testing.assert_close(dbeta, plain.bias.grad)


@pytest.mark.parametrize("offset", [0.0, 30.0, 1000.0])
def test_a_large_mean_costs_no_more_than_in_batch_normalisation(offset):
    x = torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(0)) + offset
    upstream = torch.randn(24, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    errors = {}
    for tasks in (0, 3):  # without past tasks it is nn.BatchNorm2d
        results = []
        for kind in (torch.float64, torch.float32):
            layer = layer_2d(3).to(kind)
            y, dx, dgamma, _ = run(layer, x.to(kind), 16, tasks, upstream.to(kind))
            results.append([y, dx, dgamma, layer.running_var])
        errors[tasks] = [
            ((own - exact).abs().max() / exact.abs().max()).item() for exact, own in zip(*results, strict=True)
        ]
    for balanced, plain in zip(errors[3], errors[0], strict=True):
        assert balanced < 5 * plain + 1e-6 + 2e-7 * offset


@pytest.mark.parametrize("mode", [torch.inference_mode, FakeTensorMode])
def test_a_first_call_in_another_mode_leaves_nothing_behind(mode):
    _matrices.cache_clear()
    x = torch.randn(24, 3, 4, 4)
    want = run(layer_2d(3).float(), x, 16, 3, torch.ones_like(x))
    _matrices.cache_clear()
    with mode():
        other = TaskBalancedBatchNorm2d(3)
        with task_balance(other, n_current=16, n_past_tasks=3):
            other(torch.randn(24, 3, 4, 4))
    found = run(layer_2d(3).float(), x, 16, 3, torch.ones_like(x))
    assert torch.equal(found[1], want[1])


def test_sums_over_samples_are_not_rounded_to_half_precision():
    layer, x = layer_2d(3), torch.randn(24, 3, 4, 4)
    want = run(layer.float(), x, 16, 3, torch.ones_like(x))
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with torch.autocast("cpu", torch.bfloat16):
            found = run(layer, x, 16, 3, torch.ones_like(x))
    finally:
        torch.set_float32_matmul_precision(precision)
    assert torch.equal(found[0], want[0])
    assert torch.equal(found[1], want[1])


def test_half_precision_and_channels_last():
    layer = TaskBalancedBatchNorm2d(3)
    x = torch.randn(12, 3, 4, 4)
    want = run(layer, x, 8, 2)
    half = run(layer, x.bfloat16(), 8, 2)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), want, atol=0.05, rtol=0.05)
    last = run(layer, x.contiguous(memory_format=torch.channels_last), 8, 2)
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, want)
    grown = x.bfloat16().requires_grad_()
    with task_balance(layer, n_current=8, n_past_tasks=2):
        layer(grown).float().square().sum().backward()
    assert grown.grad.dtype == torch.bfloat16


def test_counting_and_the_cumulative_mean():
    layer = TaskBalancedBatchNorm2d(1, momentum=None)
    means = []
    for seed in range(2):
        x = torch.randn(12, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            run(layer, x, 8, 1)
        r = reshape_factor(8, 4, 1)
        means.append(torch.stack([torch.cat([x[k:8:r], x[8:]]).mean() for k in range(r)]).mean())
    assert layer.num_batches_tracked.item() == 2
    torch.testing.assert_close(layer.running_mean[0], torch.stack(means).mean())


def test_ragged_and_unmixed_batches():
    layer, plain = TaskBalancedBatchNorm2d(2), nn.BatchNorm2d(2)
    x = torch.randn(7, 2, 3, 3)
    assert run(layer, x, 7, 3).equal(plain(x))
    assert run(layer, x, 0, 3).equal(plain(x))
    run(layer, x, 4, 3)
    with pytest.raises(ValueError, match="names 8 current samples, but the batch has 7"):
        run(layer, x, 8, 3)
    with pytest.raises(ValueError, match="Expected more than 1 value"):
        run(layer, x[:1, :, :1, :1], 1, 3)


def test_conversion_there_and_back():
    model = SmallResNet(1, 4, widths=(4, 8), blocks=(1, 1)).eval()
    names, owners = list(model.state_dict()), {name: id(value) for name, value in model.named_parameters()}
    kinds = [type(layer) for layer in model.modules()]
    buffers = {name: id(value) for name, value in model.named_buffers()}
    convert_task_balanced(model, mode="weighted")
    once = [layer for layer in model.modules() if isinstance(layer, TaskBalancedBatchNorm2d)]
    assert len(once) == 6
    assert not any(layer.training for layer in once)
    convert_task_balanced(model)
    assert [layer for layer in model.modules() if isinstance(layer, TaskBalancedBatchNorm2d)] == once
    assert {layer.mode for layer in once} == {"exact"}
    assert list(model.state_dict()) == names
    revert_task_balanced(model)
    assert [type(layer) for layer in model.modules()] == kinds
    assert {name: id(value) for name, value in model.named_parameters()} == owners
    assert {name: id(value) for name, value in model.named_buffers()} == buffers
    assert isinstance(convert_task_balanced(nn.BatchNorm1d(3)), TaskBalancedBatchNorm1d)


def test_what_cannot_be_converted():
    from timm.layers import BatchNormAct2d

    with pytest.raises(ValueError, match="SyncBatchNorm; sync=True"):
        convert_task_balanced(nn.Sequential(nn.SyncBatchNorm(3)))
    converted = convert_task_balanced(nn.Sequential(nn.SyncBatchNorm(3)), sync=True)
    assert isinstance(converted[0], TaskBalancedBatchNorm2d)
    # It used to stay as it was, and to become a plain layer later.
    lazy = nn.Sequential(nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match="LazyBatchNorm2d has no size yet; run a batch through the module"):
        convert_task_balanced(lazy)
    lazy(torch.rand(2, 3, 4, 4))
    assert isinstance(convert_task_balanced(lazy)[0], TaskBalancedBatchNorm2d)
    with pytest.raises(ValueError, match="BatchNormAct2d extends nn.BatchNorm2d"):
        convert_task_balanced(nn.Sequential(BatchNormAct2d(3)))
    lost = nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(TaskBalancedBatchNorm2d(3)))
    with (
        pytest.raises(ValueError, match="no task-balanced layer"),
        task_balance(lost, n_current=2, n_past_tasks=1),
    ):
        pass
    with pytest.raises(ValueError, match="must not be negative"):
        Partition(-1, 0)


def test_continual_and_group_normalisation():
    x = torch.randn(6, 8, 4, 4) * 3
    model = nn.Sequential(nn.BatchNorm2d(8))
    plain = copy.deepcopy(model[0])
    names = list(model.state_dict())
    convert_continual(model, groups=4)
    assert isinstance(model[0], ContinualNorm2d)
    assert list(model.state_dict()) == names
    torch.testing.assert_close(model(x), plain(nn.functional.group_norm(x, 4)))
    grouped = convert_group(nn.Sequential(nn.BatchNorm2d(8)), groups=2)
    torch.testing.assert_close(grouped(x), nn.functional.group_norm(x, 2))
    with pytest.raises(ValueError, match="8 channels are not a multiple of 3 groups"):
        convert_continual(nn.Sequential(nn.BatchNorm2d(8)), groups=3)
    with pytest.raises(ValueError, match="8 channels are not a multiple of 3 groups"):
        convert_group(nn.Sequential(nn.BatchNorm2d(8)), groups=3)


COMPILED = """
import torch
from myosotis.continual.classification.norm import Partition, TaskBalancedBatchNorm2d, set_task_balance

layer = TaskBalancedBatchNorm2d(3)
twin = TaskBalancedBatchNorm2d(3)
compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
x = torch.randn(12, 3, 4, 4)
for tasks in (2, 2, 0, 1):
    one, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    for module in (layer, twin):
        set_task_balance(module, Partition(8, tasks))
    compiled(one).square().sum().backward()
    twin(other).square().sum().backward()
    torch.testing.assert_close(one.grad, other.grad)
    torch.testing.assert_close(layer.running_var, twin.running_var)
print("the same")
"""


@pytest.mark.processes
def test_compiled_without_a_break(tmp_path):
    # In a process of its own, as the shape checks of the tests cannot be compiled.
    script = tmp_path / "compiled.py"
    script.write_text(COMPILED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the same" in done.stdout


TWO = """
import os

import torch
import torch.distributed as dist
from myosotis.continual.classification.norm import TaskBalancedBatchNorm2d, task_balance

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
x = torch.randn(12, 3, 2, 2, dtype=torch.float64)  # 8 current, 4 remembered
g = torch.randn_like(x)
# Ours first half of each, theirs the second: rows of the global batch stay rows.
mine = torch.cat([x[:8][rank * 4 : rank * 4 + 4], x[8:][rank * 2 : rank * 2 + 2]]).requires_grad_()
upstream = torch.cat([g[:8][rank * 4 : rank * 4 + 4], g[8:][rank * 2 : rank * 2 + 2]])
layer = TaskBalancedBatchNorm2d(3, sync=True).double()
with task_balance(layer, n_current=4, n_past_tasks=1):
    y = layer(mine)
y.backward(upstream)
whole = TaskBalancedBatchNorm2d(3).double()
every = x.clone().requires_grad_()
with task_balance(whole, n_current=8, n_past_tasks=1):
    want = whole(every)
want.backward(g)
where = [*range(rank * 4, rank * 4 + 4), *range(8 + rank * 2, 8 + rank * 2 + 2)]
torch.testing.assert_close(y, want[where])
torch.testing.assert_close(mine.grad, every.grad[where])
torch.testing.assert_close(layer.running_mean, whole.running_mean)
torch.testing.assert_close(layer.running_var, whole.running_var)
for ours, theirs in ((layer.weight.grad, whole.weight.grad), (layer.bias.grad, whole.bias.grad)):
    dist.all_reduce(ours)
    torch.testing.assert_close(ours, theirs)
# Without a partition: synchronised batch normalisation.
plain, single = TaskBalancedBatchNorm2d(3, sync=True).double(), torch.nn.BatchNorm2d(3).double()
torch.testing.assert_close(plain(mine.detach()), single(x)[where])
torch.testing.assert_close(plain.running_var, single.running_var)
print("the same", flush=True)
dist.barrier()
# Now and then gloo aborts a process that is torn down while its peer still talks to it.
os._exit(0)
"""


@pytest.mark.processes
def test_two_processes_normalise_together(tmp_path: Path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("the same") == 2


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize(("count", "n_current", "splits", "share"), [(10, 6, 3, 1.0), (7, 4, 4, 0.25), (5, 5, 1, 1.0)])
def test_weights_are_the_same_on_every_device(count, n_current, splits, share, kind):
    arrays = _matrices(count, n_current, splits, share, kind)
    for array, made in zip(
        arrays, matrices_on(torch.device("cpu"), count, n_current, splits, share, kind), strict=True
    ):
        torch.testing.assert_close(torch.from_numpy(array), made, rtol=0, atol=0)
