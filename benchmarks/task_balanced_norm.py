"""Task-balanced batch normalisation against a literal one that repeats and reshapes, and against nn.BatchNorm2d.

Images a second of a training step of a small residual network, each kind in turn, the best of several rounds; and the
largest difference between the two versions in float64.

    python benchmarks/task_balanced_norm.py
"""

import argparse
import json
import time
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


def literal(layer):
    if type(layer) is not nn.BatchNorm2d:
        return layer
    made = LiteralNorm2d(layer.num_features)
    made.load_state_dict(layer.state_dict())
    return made


KINDS = {
    "batch": lambda model: model,
    "task-balanced, exact": convert_task_balanced,
    "task-balanced, weighted": lambda model: convert_task_balanced(model, mode="weighted"),
    "task-balanced, literal": lambda model: replace_layers(model, literal),
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
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--contiguous", action="store_true", help="channels before pixels, as learners had it on a CPU")
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
        if arguments.only is None or name in arguments.only
    }
    best = dict.fromkeys(models, float("inf"))
    for _ in range(arguments.rounds):
        for name, model in models.items():
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
            set_task_balance(model, Partition(N_CURRENT, LiteralNorm2d.tasks))
            started = time.perf_counter()
            for _ in range(arguments.steps):
                nn.functional.cross_entropy(model(x), labels).backward()
                optimizer.step()
                optimizer.zero_grad()
            if x.is_cuda:
                torch.cuda.synchronize()
            best[name] = min(best[name], (time.perf_counter() - started) / arguments.steps)
    for name, seconds in best.items():
        result[f"{name}: images/s"] = len(x) / seconds
    exact = best["task-balanced, exact"]
    result["exact over literal"] = best["task-balanced, literal"] / exact
    result["exact over batch"] = best["batch"] / exact
    show(result)
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
