"""An epoch of experience replay against the network's bare forward and backward passes on the same batches.

The bare passes are the limit: no order is drawn, no image is cut from the data set or scaled, no weight changes. Both
use the same network in the same memory layout; one epoch of each in turn, medians of the ratios. ``--layouts`` also
times the bare passes in both memory layouts: what ``use_channels_last`` gains for ``--body``, or costs where it leaves
one as it is (widths below 16; keep images small then, as oneDNN fails on large ones). The seconds are the processor's,
or with ``--wall`` those of the clock. Several processes that change the weights together average gradients after each
batch, so a third epoch is the bare passes of torch's ``DistributedDataParallel``.

    python benchmarks/replay_speed.py --threads 1
    torchrun --nproc-per-node 2 benchmarks/replay_speed.py --threads 1 --wall
"""

import argparse
import copy
import json
import statistics
import time
from pathlib import Path

import torch
from torch import nn

from alone import show
from myosotis.continual.classification.batches import Augmentation, ReplayBatches
from myosotis.continual.classification.methods import build_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental
from myosotis.data.images import ImageSet
from myosotis.engine.processes import is_main_process, share
from myosotis.models.backbone import build_backbone
from myosotis.models.image_classifier import ClassifierSpec


def pictures(count, channels, side):
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, side, side), generator=draw, dtype=torch.uint8)
    names, classes = (tuple(map(str, range(number))) for number in (count, 10))
    return ImageSet(images, torch.arange(count) % 10, names, classes)


def layout(net, name):
    return net.to(memory_format=getattr(torch, name))


class Epochs:
    """Epochs of replay in the second task of a stream, and the same batches through the bare network."""

    def __init__(self, arguments):
        images = pictures(arguments.images, arguments.channels, arguments.side)
        self.arguments, self.clock = arguments, time.perf_counter if arguments.wall else time.process_time
        small = {"widths": arguments.widths, "blocks": [1] * len(arguments.widths), "stem_stride": arguments.stride}
        self.spec = ClassifierSpec(
            arguments.body,
            0,
            arguments.channels,
            (0.5,) * arguments.channels,
            (0.25,) * arguments.channels,
            small if arguments.body == "small-resnet" else {},
        )
        self.scenario = class_incremental(images, 5, 5, test=images.subset(range(100)))
        self.settings = TrainSettings(
            epochs=1, learning_rate=0.01, batch_size=64, memory_batch_size=16, schedule="constant"
        )

    def ours(self):
        """Seconds of an epoch of the second task, from its first batch to the last change of the weights."""
        learner = build_learner("er", {}, lambda number: build_backbone(self.spec, seed=number), 0)
        marks = []

        def timed(batches):
            marks.append(self.clock())
            yield from batches
            marks.append(self.clock())

        original = ReplayBatches.__call__
        ReplayBatches.__call__ = lambda batches, epoch: timed(original(batches, epoch))
        try:
            memory = ExemplarMemory(total=500, selection="random", seed=0)
            learned = learn_classes(learner, self.scenario, memory, self.settings)
        finally:
            ReplayBatches.__call__ = original
        return marks[3] - marks[2], learned.learner

    def batches(self):
        task, labels = self.scenario[1], self.scenario.train.labels
        batches = ReplayBatches(
            self.scenario.train.images,
            labels,
            task.train.indices,
            self.scenario[0].train.indices[:500],
            size=64,
            memory_size=16,
            augmentation=Augmentation(),
            seed=0,
        )
        return [(batch.images, batch.labels) for batch in batches(0)]

    def bare(self, net, batches):
        started = self.clock()
        for images, labels in batches:
            nn.functional.cross_entropy(net(images).logits, labels).backward()
            net.zero_grad()
        return self.clock() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8000)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--body", default="small-resnet")
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64])
    parser.add_argument("--stride", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--layouts", action="store_true")
    parser.add_argument("--wall", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    epochs = Epochs(arguments)
    _, learner = epochs.ours()
    batches = epochs.batches()
    nets = {"ours": learner.net.train()}
    if arguments.layouts:
        nets |= {name: layout(copy.deepcopy(learner.net), name) for name in ("contiguous_format", "channels_last")}
    processes = share()[1]
    if processes > 1:
        nets["averaged"] = nn.parallel.DistributedDataParallel(copy.deepcopy(learner.net))
    rows = [
        {"epoch": epochs.ours()[0], **{name: epochs.bare(net, batches) for name, net in nets.items()}}
        for _ in range(arguments.rounds)
    ]
    body = next(weight for weight in learner.net.parameters() if weight.ndim == 4 and weight.shape[1] > 1)
    result = {
        "processes": processes,
        "channels last": body.is_contiguous(memory_format=torch.channels_last),
        "epoch of replay, s": min(row["epoch"] for row in rows),
        "bare passes, s": min(row["ours"] for row in rows),
        "bare over epoch": statistics.median(row["ours"] / row["epoch"] for row in rows),
    }
    if processes > 1:
        ratios = [row["averaged"] / row["epoch"] for row in rows]
        result["bare passes with averaged gradients over epoch"] = statistics.median(ratios)
    if arguments.layouts:
        ratios = [row["contiguous_format"] / row["channels_last"] for row in rows]
        result["contiguous over channels_last"] = statistics.median(ratios)
    if is_main_process():
        show(result)
        if arguments.json:
            arguments.json.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
