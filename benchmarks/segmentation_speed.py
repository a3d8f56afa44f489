"""Speed of what class-incremental segmentation does to every pixel.

python benchmarks/segmentation_speed.py
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch.nn import functional

from myosotis.continual.segmentation.losses import group_cross_entropy, unbiased_distillation
from myosotis.continual.segmentation.scenario import remap_table

SHAPE = (8, 21, 128, 128)
KNOWN = 16
TIMES = 24  # as many images where memory is measured, so that it outweighs what a process needs anyway


def seconds(function, repeats=20):
    """Median of one call, in seconds."""
    function()
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        found.append(time.perf_counter() - started)
    return statistics.median(found)


def inputs():
    """Logits, target, and rows of labelled classes: all, the new ones, and mixed ones of several tasks."""
    stream = torch.Generator().manual_seed(0)
    logits = torch.randn(SHAPE, generator=stream).requires_grad_()
    target = torch.randint(SHAPE[1], (SHAPE[0], *SHAPE[2:]), generator=stream)
    target[torch.rand(target.shape, generator=stream) < 0.05] = 255
    rows = {name: torch.zeros(SHAPE[:2], dtype=torch.bool) for name in ("all", "new", "halves")}
    rows["all"][:, 1:] = True
    rows["new"][:, KNOWN:] = True
    rows["halves"][: SHAPE[0] // 2, KNOWN:] = True
    for image in range(SHAPE[0] // 2, SHAPE[0]):
        rows["halves"][image, 1 + 3 * (image - SHAPE[0] // 2) :][:3] = True
    return logits, target, rows


def step(logits, loss):
    """Forward and backward pass."""
    logits.grad = None
    loss().backward()


def peak(kind):
    """What one pass adds to the peak of a process, in sizes of the logits; their gradient is one."""
    command = [sys.executable, __file__, "--peak", kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - this file
    return float(done.stdout)


def peak_here(kind):
    """The same, of this process."""
    logits, target, rows = inputs()
    small = logits[:1, :, :8, :8].detach().requires_grad_()
    functional.cross_entropy(small, target[:1, :8, :8], ignore_index=255).backward()
    group_cross_entropy(small, target[:1, :8, :8], rows["new"][:1]).backward()
    logits = logits.detach().repeat(TIMES, 1, 1, 1).requires_grad_()
    target, rows = target.repeat(TIMES, 1, 1), {name: row.repeat(TIMES, 1) for name, row in rows.items()}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if kind == "torch":
        functional.cross_entropy(logits, target, ignore_index=255).backward()
    else:
        group_cross_entropy(logits, target, rows[kind]).backward()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (4 * logits.numel())


def per_pixel(mask, mapping):
    """What a loop over pixels does."""
    found = mask.clone()
    found.apply_(lambda value: mapping.get(value, 0))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peak", choices=("torch", "all", "new", "halves"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    if arguments.peak:
        print(peak_here(arguments.peak))
        return
    logits, target, rows = inputs()
    size = logits.numel() * 4 / 2**20
    print(f"logits {' x '.join(map(str, SHAPE))}, {size:.1f} MiB; forward and backward pass, two threads")
    theirs = seconds(lambda: step(logits, lambda: functional.cross_entropy(logits, target, ignore_index=255)))
    print(f"torch cross_entropy            {theirs * 1e3:6.1f} ms        peak +{peak('torch'):.2f} logits")
    for name, row in rows.items():
        own = seconds(lambda row=row: step(logits, lambda: group_cross_entropy(logits, target, row)))
        print(f"group_cross_entropy, {name:8}  {own * 1e3:6.1f} ms {own / theirs:4.2f}x  peak +{peak(name):.2f} logits")
    old = torch.randn(SHAPE[0], KNOWN, *SHAPE[2:])
    own = seconds(lambda: step(logits, lambda: unbiased_distillation(logits, old)))
    print(f"unbiased_distillation          {own * 1e3:6.1f} ms")
    mask = torch.randint(21, (512, 512), dtype=torch.uint8)
    table = remap_table({label: label for label in range(1, 21)}, set(range(KNOWN, 21)))
    fast = seconds(lambda: table[mask.long()])
    mapping = {label: label for label in range(KNOWN, 21)} | {255: 255}
    slow = seconds(lambda: per_pixel(mask, mapping), 5)
    same = torch.equal(table[mask.long()], per_pixel(mask, mapping))
    print(
        f"remapping a mask of 512 x 512: table {fast * 1e3:.2f} ms, per pixel {slow * 1e3:.1f} ms, {slow / fast:.0f}x"
        + ("" if same else ": DIFFERENT")
    )


if __name__ == "__main__":
    main()
