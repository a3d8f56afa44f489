"""Task-balanced batch normalisation against a literal one that repeats and reshapes, and against nn.BatchNorm2d.

Images a second of a training step of a small residual network, each kind in turn, the best of several rounds; medians
of the rounds' ratios; and the largest difference between the two versions in float64. ``--compiled`` adds the formula
in plain operations, fused by ``torch.compile``, which takes a C++ compiler and half a minute for these three shapes.

    python benchmarks/task_balanced_norm.py
"""

import argparse
import json
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

from alone import show
from myosotis.continual.classification.norm import (
    TaskBalancedBatchNorm2d,
    convert_continual,
    convert_group,
    convert_task_balanced,
    reshape_factor,
    set_task_balance,
)
from myosotis.continual.classification.norm.convert import replace_layers
from myosotis.continual.classification.norm.partition import Partition
from myosotis.models.resnet import SmallResNet

N_CURRENT, N_MEMORY = 64, 16


class LiteralNorm2d(nn.BatchNorm2d):
    """The method as it is told: regroup the current samples, repeat the memory, normalise by torch, undo both."""

    tasks = 4

    def forward(self, x):
        r = reshape_factor(N_CURRENT, N_MEMORY, self.tasks)
        if not self.training or r == 1:
            return super().forward(x)
        c, space = x.shape[1], x.shape[2:]
        z = torch.cat([x[:N_CURRENT].reshape(N_CURRENT // r, r * c, *space), x[N_CURRENT:].repeat(1, r, 1, 1)])
        # The library's own layer on the repeated channels, once for each of the r blocks of running statistics.
        mean, var = self.running_mean.repeat(r), self.running_var.repeat(r)
        y = nn.functional.batch_norm(
            z, mean, var, self.weight.repeat(r), self.bias.repeat(r), True, self.momentum, self.eps
        )
        with torch.no_grad():
            self.running_mean.copy_(mean.view(r, c).mean(0))
            self.running_var.copy_(var.view(r, c).mean(0))
        rows = N_CURRENT // r
        return torch.cat([y[:rows].reshape(N_CURRENT, c, *space), y[rows:].view(N_MEMORY, r, c, *space).mean(1)])


def formula(x, weight, bias, n_current, splits, eps):
    """The method as a row of operations over whole samples, from which torch derives the gradient."""
    mean = x.mean((2, 3))
    spread = (x - mean[:, :, None, None]).square().mean((2, 3))
    rows, memory = mean[:n_current].unflatten(0, (-1, splits)), mean[n_current:]
    count = len(rows) + len(memory)
    centre = (rows.sum(0) + memory.sum(0)) / count
    of_rows = spread[:n_current].unflatten(0, (-1, splits)) + (rows - centre).square()
    of_memory = spread[n_current:, None] + (memory[:, None] - centre).square()
    scale = weight * ((of_rows.sum(0) + of_memory.sum(0)) / count + eps).rsqrt()
    shift = bias - centre * scale
    maps = [
        torch.cat([part.expand(rows.shape).flatten(0, 1), part.mean(0).expand(memory.shape)]) for part in (scale, shift)
    ]
    return x * maps[0][:, :, None, None] + maps[1][:, :, None, None]


fused = torch.compile(formula, dynamic=False)


class FusedNorm2d(LiteralNorm2d):
    """The fused formula, without running statistics."""

    def forward(self, x):
        r = reshape_factor(N_CURRENT, N_MEMORY, self.tasks)
        return fused(x, self.weight, self.bias, N_CURRENT, r, self.eps)


def literal(layer, kind=LiteralNorm2d):
    if type(layer) is not nn.BatchNorm2d:
        return layer
    made = kind(layer.num_features)
    made.load_state_dict(layer.state_dict())
    return made


KINDS = {
    "batch": lambda model: model,
    "task-balanced, exact": convert_task_balanced,
    "task-balanced, weighted": lambda model: convert_task_balanced(model, mode="weighted"),
    "task-balanced, literal": lambda model: replace_layers(model, literal),
    "task-balanced, fused": lambda model: replace_layers(model, partial(literal, kind=FusedNorm2d)),
    "continual": convert_continual,
    "group": convert_group,
}


def network():
    torch.manual_seed(0)
    return SmallResNet(1, 10, widths=(16, 32, 64), blocks=(1, 1, 1))


def difference(tasks):
    """Of outputs, gradients and buffers, in float64."""
    x = torch.randn(N_CURRENT + N_MEMORY, 16, 7, 7, dtype=torch.float64)
    upstream = torch.randn_like(x)
    found = []
    for layer in (TaskBalancedBatchNorm2d(16).double(), LiteralNorm2d(16).double()):
        layer.tasks = tasks
        set_task_balance(layer, Partition(N_CURRENT, tasks))
        moved = x.clone().requires_grad_()
        y = layer(moved)
        y.backward(upstream)
        found.append([y, moved.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var])
    return max((one - other).abs().max().item() for one, other in zip(*found, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--contiguous", action="store_true", help="channels before pixels, as learners had it on a CPU")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", nargs="+", choices=KINDS)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    x = torch.rand(N_CURRENT + N_MEMORY, 1, 28, 28, device=arguments.device)
    labels = torch.arange(len(x), device=arguments.device) % 10
    result = {"largest difference in float64": max(difference(tasks) for tasks in (1, 2, 4, 9))}
    layout = torch.channels_last if x.device.type == "cpu" and not arguments.contiguous else torch.contiguous_format
    models = {
        name: convert(network()).to(arguments.device, memory_format=layout)
        for name, convert in KINDS.items()
        if (arguments.only is None or name in arguments.only) and (arguments.compiled or name != "task-balanced, fused")
    }
    seconds = {name: [] for name in models}
    clock = time.perf_counter if x.is_cuda else time.process_time
    for _ in range(arguments.rounds):
        for name, model in models.items():
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            set_task_balance(model, Partition(N_CURRENT, LiteralNorm2d.tasks))
            started = clock()
            for _ in range(arguments.steps):
                nn.functional.cross_entropy(model(x), labels).backward()
                optimizer.step()
                optimizer.zero_grad()
            if x.is_cuda:
                torch.cuda.synchronize()
            seconds[name].append((clock() - started) / arguments.steps)
    for name, rounds in seconds.items():
        result[f"{name}: images/s"] = len(x) / min(rounds)
    for own, other in (("exact", "task-balanced, literal"), ("exact", "batch"), ("fused", "batch")):
        pair = [seconds.get(name) for name in (f"task-balanced, {own}", other)]
        if all(pair):
            result[f"{own} over {other}"] = statistics.median(b / a for a, b in zip(*pair, strict=True))
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
