"""Targeted adversarial examples for all copies of all instances together, against one instance at a time.

Both make the same examples, from the same starts; the largest difference is printed. Where the
adversarial-robustness-toolbox is installed, its targeted L2 attack makes as many with the same numbers of steps. Prints
a table and writes JSON.

    python benchmarks/pgd_attack.py --instances 16 --copies 20 --out benchmark-pgd.json
"""

import argparse
import json
import time
from pathlib import Path

import torch
from torch import nn

from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.unlearning.classifier.attack import attack_success, draw_targets, pgd_attack
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier


def taught(channels, side, classes, widths):
    """A classifier of noise with a bright patch: sharp enough for an attack to have something to do."""
    stream = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % classes
    images = torch.randint(0, 200, (600, channels, side, side), generator=stream, dtype=torch.uint8)
    for place, label in enumerate(labels.tolist()):
        row, column = divmod(label, 4)
        images[place, :, row * 7 : row * 7 + 7, column * 7 : column * 7 + 7] += 55
    options = {"widths": widths, "blocks": [1] * len(widths), "stem_stride": 2}
    spec = ClassifierSpec("small-resnet", classes, channels, (0.4,) * channels, (0.25,) * channels, options)
    model = build_classifier(spec, seed=0)
    train_classifier(model, images, labels, TrainSettings(epochs=3), seed=0)
    return model, images.float() / 255, labels


def batched(model, images, targets, settings):
    return pgd_attack(
        model, images, targets, generator=torch.Generator().manual_seed(1), batch_size=len(images), **settings
    )


def one_by_one(model, images, targets, settings):
    """What a user's loop does: each instance alone. The generator goes on from image to image."""
    stream = torch.Generator().manual_seed(1)
    return torch.cat(
        [
            pgd_attack(model, image.unsqueeze(0), target.unsqueeze(0), generator=stream, **settings)
            for image, target in zip(images, targets, strict=True)
        ]
    )


def toolbox(model, images, targets, settings, classes):
    """The attack of the adversarial-robustness-toolbox, or None where it is not installed."""
    try:
        from art.attacks.evasion import ProjectedGradientDescentPyTorch
        from art.estimators.classification import PyTorchClassifier
    except ImportError:
        return None
    wrapped = PyTorchClassifier(
        model.eval(), nn.CrossEntropyLoss(), tuple(images.shape[1:]), classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = ProjectedGradientDescentPyTorch(
        wrapped,
        norm=2,
        eps=settings["eps"],
        eps_step=settings["step_size"],
        max_iter=settings["steps"],
        targeted=True,
        num_random_init=1,
        batch_size=len(images),
        verbose=False,
    )
    return lambda: torch.from_numpy(
        attack.generate(images.numpy(), nn.functional.one_hot(targets, classes).float().numpy())
    )


def timed(make, repeats):
    make()
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = make()
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=16)
    parser.add_argument("--copies", type=int, default=20)
    parser.add_argument("--side", type=int, default=28)
    parser.add_argument("--channels", type=int, default=1)
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    classes = 10
    model, images, labels = taught(arguments.channels, arguments.side, classes, arguments.widths)
    images, labels = images[: arguments.instances], labels[: arguments.instances]
    targets = draw_targets(labels, classes, arguments.copies, torch.Generator().manual_seed(0)).flatten()
    images = images.repeat(arguments.copies, 1, 1, 1)
    settings = {"eps": 1.0, "step_size": 0.25, "steps": 12}
    together, ours = timed(lambda: batched(model, images, targets, settings), arguments.repeats)
    alone, theirs = timed(lambda: one_by_one(model, images, targets, settings), 1)
    rows = [
        {"way": "together", "seconds": together, "times": 1.0, "success": success(model, ours, targets)},
        {"way": "one by one", "seconds": alone, "times": alone / together, "success": success(model, theirs, targets)},
    ]
    peer = toolbox(model, images, targets, settings, classes)
    if peer is not None:
        seconds, found = timed(peer, arguments.repeats)
        rows.append(
            {
                "way": "adversarial-robustness-toolbox",
                "seconds": seconds,
                "times": seconds / together,
                "success": success(model, found, targets),
            }
        )
    difference = (ours - theirs).abs().max().item()
    print(f"\n{len(images)} examples of {settings['steps']} steps\n")
    print("| way | seconds | times ours | took the target |\n| --- | --- | --- | --- |")
    for row in rows:
        print(f"| {row['way']} | {row['seconds']:.2f} | {row['times']:.2f} | {row['success']:.3f} |")
    # Where a target is nearly certain, the direction of a float32 gradient is rounding.
    precise = [make(model.double(), images.double(), targets, settings) for make in (batched, one_by_one)]
    exact = (precise[0] - precise[1]).abs().max().item()
    apart = int(((ours - theirs).flatten(1).abs().amax(dim=1) > 1e-5).sum())
    print(
        f"\nlargest difference between the first two: {difference:.2g} in float32, with {apart} of {len(ours)} more "
        f"than 1e-5 apart; {exact:.2g} in float64"
    )
    if arguments.out is not None:
        arguments.out.write_text(
            json.dumps({"rows": rows, "largest_difference": difference, "in_float64": exact}, indent=2) + "\n"
        )


def success(model, images, targets):
    return attack_success(model, images, targets).mean().item()


if __name__ == "__main__":
    main()
