"""Forget instances from an image classifier: retain-free methods and presets, sizes of the forget set, several seeds.

For each seed a classifier is trained, and once more without the largest forget set for the time and the level of
retraining; then every method forgets the same instances from the same model. Rows already in ``--out`` are not computed
again. Nothing is chosen by these figures: settings were searched on a development seed, on its own draw of the data.

    python benchmarks/instance_unlearning.py --idx DIRECTORY --out rows --seeds 0 1 2 --sizes 16 64 128
    python benchmarks/instance_unlearning.py --folder DIRECTORY --epochs 30 --flip --out rows-cifar
"""

import argparse
import json
import time
from pathlib import Path

import torch

from myosotis.data.image_archives import read_idx
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import pixel_statistics
from myosotis.engine.files import write_json
from myosotis.evaluation.membership import roc_auc
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, load_classifier, save_classifier
from myosotis.unlearning.classifier.audit import losses, predict
from myosotis.unlearning.classifier.methods import build_method
from myosotis.unlearning.classifier.settings import PRESETS, UnlearnSettings
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier
from myosotis.unlearning.classifier.unlearner import unlearn_instances

ATTACK = {"copies": 20, "eps": 1.0, "step_size": 0.25, "steps": 12}
MARGIN = {"forget_loss": "margin"}

WAYS = {
    "misclassify, neggrad": ("misclassify", "neggrad", {}),
    "misclassify, adv": ("misclassify", "adv", ATTACK),
    "misclassify, adv, margin": ("misclassify", "adv", {**ATTACK, **MARGIN}),
    "misclassify, adv_imp": ("misclassify", "adv_imp", {**ATTACK, "strength": 0.1}),
    "misclassify, adv_imp, margin": ("misclassify", "adv_imp", {**ATTACK, **MARGIN, "strength": 0.1}),
    "relabel, random": ("relabel", "relabel", {}),
    "relabel, runner-up": ("relabel", "relabel", {}),
    "relabel, adv": ("relabel", "adv", ATTACK),
    "relabel, adv_imp": ("relabel", "adv_imp", {**ATTACK, "strength": 0.1}),
}
"""Goal, method and its settings, by what the table calls it; ``preset: NAME`` is a preset."""


def data(arguments, seed):
    if arguments.idx is not None:
        train, test = (read_idx(arguments.idx, split) for split in ("train", "test"))
    else:
        train, test = (read_image_folder(arguments.folder / split) for split in ("train", "test"))
    if arguments.limit < len(train):
        train = train.subset(sorted(train.shuffled(seed, "limit")[: arguments.limit]))
    return train, test


def trained(place, spec, images, settings, seed):
    """A classifier and the seconds that its training took; both kept."""
    if not (place / "seconds.json").is_file():
        model = build_classifier(spec, seed=seed)
        started = time.perf_counter()
        train_classifier(model, images.images, images.labels, settings, seed=seed)
        save_classifier(model, spec, place)
        write_json(place / "seconds.json", time.perf_counter() - started)
    return load_classifier(place)[0], json.loads((place / "seconds.json").read_text())


def figures(model, sets):
    logits = {name: predict(model, images) for name, images in sets.items()}
    found = {name: (logits[name].argmax(dim=1) == images.labels).float().mean().item() for name, images in sets.items()}
    loss = {name: losses(logits[name], images.labels) for name, images in sets.items()}
    return {**found, "auc": roc_auc(loss["forget"], loss["test"])}


def way(name):
    if name.startswith("preset: "):
        preset = PRESETS[name.removeprefix("preset: ")]
        return preset.goal, preset.method, preset.method_settings, preset.settings
    goal, method, settings = WAYS[name]
    # A step of ascent on few instances costs little, an adversarial one costs a batch.
    return goal, method, settings, UnlearnSettings(batch_size=128, epochs=1000, max_steps=300)


def one_seed(arguments, seed):
    train, test = data(arguments, seed)
    order = train.shuffled(seed, "forget")
    largest = max(arguments.sizes)
    settings = TrainSettings(
        epochs=arguments.epochs, flip=arguments.flip, padding=arguments.padding, learning_rate=arguments.learning_rate
    )
    mean, deviation = pixel_statistics(train)
    options = {"widths": arguments.widths, "blocks": [arguments.blocks] * len(arguments.widths)}
    options["stem_stride"] = arguments.stem_stride
    spec = ClassifierSpec(
        "small-resnet", len(train.classes), train.images.shape[1], mean, deviation, options, train.classes
    )
    model, _ = trained(arguments.out / f"target-{seed}", spec, train, settings, seed)
    rest = train.subset(sorted(order[largest:]))
    reference, retraining = trained(arguments.out / f"reference-{seed}", spec, rest, settings, seed)
    looked_at = train.subset(order[largest : largest + arguments.looked_at])
    others = train.subset(sorted(order[largest + arguments.looked_at :]))
    for size in arguments.sizes:
        forget = train.subset(order[:size])
        sets = {"forget": forget, "remaining": looked_at, "test": test}
        for name in ("before", "reference", *arguments.ways):
            place = arguments.out / f"{seed}-{size}-{name.replace(', ', '-').replace(': ', '-')}.json"
            if place.is_file():
                continue
            row = {"seed": seed, "size": size, "way": name, "retraining_seconds": retraining}
            if name in ("before", "reference"):
                row |= figures(model if name == "before" else reference, sets)
            else:
                goal, method, method_settings, training = way(name)
                reads = build_method(method, method_settings).reads_retain
                result = unlearn_instances(
                    model,
                    (forget.pixels(), forget.labels),
                    goal=goal,
                    method=method,
                    method_settings=method_settings,
                    settings=training,
                    new_labels="random" if "random" in name else "runner_up",
                    retain=(others.pixels(), others.labels) if reads else None,
                    seed=seed,
                )
                row |= figures(result.model, sets)
                row |= {"converged": result.converged, "steps": result.steps, "seconds": result.seconds}
                row["drift"] = result.batch_norm_drift
            write_json(place, row)
            print(json.dumps(row), flush=True)


def cell(rows, key):
    values = torch.tensor([row[key] for row in rows if row.get(key) is not None])
    if not len(values):
        return "-"
    return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")


def table(rows, names):
    """Mean and standard deviation over seeds."""
    print(
        "\n| k | goal, method | converged | forget | remaining | test | loss AUC | seconds | of retraining |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for size in sorted({row["size"] for row in rows}):
        for name in ("before", "reference", *names):
            own = [row for row in rows if row["size"] == size and row["way"] == name]
            if not own:
                continue
            trains = "seconds" in own[0]
            converged = f"{sum(row['converged'] for row in own)} of {len(own)}" if trains else "-"
            cells = [cell(own, key) for key in ("forget", "remaining", "test", "auc")]
            seconds = [f"{sum(row['seconds'] for row in own) / len(own):.1f}"] if trains else ["-"]
            share = sum(row["seconds"] / row["retraining_seconds"] for row in own) / len(own) if trains else None
            cells += [*seconds, "-" if share is None else f"{share:.1%}"]
            print(f"| {size} | {name} | {converged} | {' | '.join(cells)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--idx", type=Path, help="a directory of idx files")
    source.add_argument("--folder", type=Path, help="a directory with train/ and test/, a folder for each class")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sizes", nargs="+", type=int, default=[16, 64, 128])
    parser.add_argument("--ways", nargs="+", default=[*WAYS, "preset: recommended", "preset: as_unseen"])
    parser.add_argument("--limit", type=int, default=20000)
    parser.add_argument("--looked-at", type=int, default=5000, help="remaining images that are looked at")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=0.1)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--padding", type=int, default=0)
    parser.add_argument("--widths", nargs="+", type=int, default=[32, 64, 128])
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--stem-stride", type=int, default=2)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed in arguments.seeds:
        one_seed(arguments, seed)
    rows = [json.loads(path.read_text()) for path in sorted(arguments.out.glob("*.json"))]
    table(rows, arguments.ways)


if __name__ == "__main__":
    main()
