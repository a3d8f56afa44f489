"""Learn classes task by task: methods, sizes of the memory, normalisations, and several seeds, side by side.

Every row is one run; rows that are in ``--out`` already are not computed again. A seed draws the part of the data, the
order of classes, the weights and the batches. Settings were chosen on seed 100, which is in no table.

    python benchmarks/class_incremental.py --idx DIRECTORY --out rows-fashion
    python benchmarks/class_incremental.py --folder DIRECTORY --epochs 10 --padding 4 --flip --out rows-cifar
    python benchmarks/class_incremental.py --idx DIRECTORY --methods er ssil lucir podnet --norms bn tbbn cn gn \\
        --memories 500 --memory-batch 16 --seeds 0 1 2 3 4 5 6 7 8 9 --out rows-norm
"""

import argparse
import itertools
import json
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import torch

from myosotis.continual.classification.config import NormConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.outcome import confusion, figures, old_and_new_errors
from myosotis.continual.classification.saved import LearnerSpec, make_learner
from myosotis.continual.classification.settings import TrainSettings
from myosotis.continual.classification.training import learn_classes
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import class_incremental
from myosotis.data.image_archives import read_idx
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import pixel_statistics
from myosotis.engine.files import write_json
from myosotis.evaluation.intervals import t_interval
from myosotis.models.image_classifier import ClassifierSpec

SHORT = {
    "podnet": {"margin": 0.1, "scale": 10.0, "exclude_true": False, "balanced_epochs": 5},
    "lucir": {"scale": 10.0},
    "eeil": {"balanced_epochs": 5},
}
"""What the papers' settings, made for 90 to 200 epochs and large first tasks, become in a short training."""

RATES = {"er": 0.02, "icarl": 0.02, "lucir": 0.02, "lwf": 0.02, "podnet": 0.02, "bic": 0.05, "ssil": 0.05}
"""The best of 0.02, 0.05 and 0.1 for Fashion-MNIST on seed 100, by average accuracy; 0.1 for all others.

Seed 100 draws another part of the training set and another order of classes, but is measured on the same test images.
"""

SPLIT = ("ssil", "dark_er")
"""Methods whose batches have a fixed share of exemplars in their papers."""

MEASURES = {
    "average_incremental_accuracy": "average",
    "final_accuracy": "final",
    "learning_accuracy": "learning",
    "forgetting": "forgetting",
    "final_task_aware_accuracy": "final, task known",
}


ERRORS = ("old_as_old", "old_as_new", "new_as_old", "new_as_new")


def data(arguments, seed):
    if arguments["idx"] is not None:
        train, test = (read_idx(Path(arguments["idx"]), split) for split in ("train", "test"))
    else:
        train, test = (read_image_folder(Path(arguments["folder"]) / split) for split in ("train", "test"))
    limit = arguments["limit"]
    if limit is not None and limit < len(train):
        train = train.subset(sorted(train.shuffled(seed, "limit")[:limit]))
    return train, test


def run(task):
    arguments, method, memory, norm, seed = task
    place = Path(arguments["out"]) / f"{method}-{memory}-{norm}-{seed}.json"
    if place.is_file():
        return
    torch.set_num_threads(arguments["threads"])
    train, test = data(arguments, seed)
    stream = class_incremental(train, arguments["first"], arguments["per_task"], test=test, order_seed=seed, seed=seed)
    mean, std = pixel_statistics(stream[0].train.samples())
    widths = arguments["widths"]
    options = {"widths": widths, "blocks": [arguments["blocks"]] * len(widths), "stem_stride": 2}
    body = ClassifierSpec("small-resnet", 0, train.images.shape[1], mean, std, options, stream.classes)
    kind, _, mode = norm.partition("-")
    config = NormConfig(kind=kind, **({"mode": mode} if mode else {}))
    sizes = tuple(len(one.classes) for one in stream)
    learner = make_learner(LearnerSpec(method, SHORT.get(method, {}), body, config, sizes, seed))
    fixed = arguments["memory_batch"]
    if fixed is None and method in SPLIT:
        fixed = arguments["batch"] // 4
    settings = TrainSettings(
        epochs=arguments["epochs"],
        learning_rate=arguments["learning_rate"] or RATES.get(method, 0.1),
        batch_size=arguments["batch"],
        memory_batch_size=fixed if memory else None,
        padding=arguments["padding"],
        flip=arguments["flip"],
    )
    selection = "reservoir" if METHODS[method].own_memory else "herding"
    started = time.perf_counter()
    found = learn_classes(
        learner, stream, ExemplarMemory(total=memory, selection=selection, seed=seed), settings, seed=seed
    )
    assert stream.test is not None
    table = confusion(found, stream.test)
    row = {
        **figures(found),
        **old_and_new_errors(table, sizes[-1]),
        "matrix": [record.accuracy for record in found.records],
        "seconds": time.perf_counter() - started,
        "train_seconds": sum(record.seconds for record in found.records),
        "images": sum(record.images for record in found.records),
        "parameters": found.records[-1].parameters["inference"],
    }
    assert abs(sum(row[key] for key in ERRORS) - (1 - row["final_accuracy"])) < 1e-6
    write_json(place, row)


def shown(values, digits=1):
    numbers = [100 * value for value in values]
    spread = f" ± {statistics.stdev(numbers):.{digits}f}" if len(numbers) > 1 else ""
    return f"{statistics.mean(numbers):.{digits}f}{spread}"


def report(rows, arguments):
    """A table of means and deviations over seeds, in per cent; and paired differences where there are several norms."""
    groups = {}
    for (method, memory, norm, seed), row in rows.items():
        groups.setdefault((memory, method, norm), {})[seed] = row
    print(f"| memory | method | {' | '.join(MEASURES.values())} | seconds | parameters |")
    print("| --- " * (len(MEASURES) + 4) + "|")
    for (memory, method, norm), seeds in groups.items():
        cells = [shown([row[key] for row in seeds.values() if key in row]) for key in MEASURES]
        name = f"`{method}`" + (f", {norm}" if len(arguments.norms) > 1 else "")
        seconds = statistics.mean(row["seconds"] for row in seeds.values())
        parameters = next(iter(seeds.values()))["parameters"]
        print(f"| {memory or '-'} | {name} | {' | '.join(cells)} | {seconds:.0f} | {parameters:,} |")
    if len(arguments.norms) < 2:
        return
    base = arguments.norms[0]
    print(f"\nPaired difference from {base}, points, with 95 % intervals by Student's t")
    print(f"| memory | method | norm | {' | '.join(MEASURES.values())} | seeds |")
    print("| --- " * (len(MEASURES) + 4) + "|")
    for (memory, method, norm), seeds in groups.items():
        if norm == base:
            continue
        cells = []
        for key in MEASURES:
            other = groups[memory, method, base]
            pairs = [100 * (row[key] - other[seed][key]) for seed, row in seeds.items() if seed in other]
            interval = t_interval(pairs)
            ends = "" if interval.low is None else f" ({interval.low:+.1f} to {interval.high:+.1f})"
            cells.append(f"{interval.mean:+.1f}{ends}")
        print(f"| {memory or '-'} | `{method}` | {norm} | {' | '.join(cells)} | {len(seeds)} |")


def plot(rows, path):
    """Final accuracy of every group with its deviation over seeds, and the curves of the eight best."""
    import matplotlib.pyplot as plt

    groups = {}
    for (method, memory, norm, _), row in rows.items():
        label = f"{method}{'' if norm == 'bn' else f', {norm}'}{f', {memory}' if memory else ''}"
        groups.setdefault(label, []).append(row)
    ranked = sorted(groups, key=lambda label: -statistics.mean(row["final_accuracy"] for row in groups[label]))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, max(4, 0.26 * len(ranked))), layout="constrained")
    for place, label in enumerate(ranked):
        values = [100 * row["final_accuracy"] for row in groups[label]]
        spread = statistics.stdev(values) if len(values) > 1 else 0
        left.errorbar(statistics.mean(values), place, xerr=spread, fmt="o", color="#0072B2")
    left.set_yticks(range(len(ranked)), ranked)
    left.invert_yaxis()
    left.set_xlabel("final accuracy, %: mean and standard deviation over seeds")
    for place, label in enumerate(ranked[:8]):
        curves = [row["accuracy_curve"] for row in groups[label]]
        mean = [100 * statistics.mean(values) for values in zip(*curves, strict=True)]
        style = ("solid", "dashed", "dashdot", "dotted")[place % 4]
        right.plot(range(1, len(mean) + 1), mean, marker="os^Dv<>p"[place], linestyle=style, label=label)
    right.xaxis.set_major_locator(plt.MaxNLocator(integer=True))
    right.set_xlabel("tasks learnt")
    right.set_ylabel("accuracy on all classes so far, %")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idx", help="directory of idx files, e.g. those of Fashion-MNIST")
    parser.add_argument("--folder", help="directory with train/<class>/* and test/<class>/*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--norms", nargs="+", default=["bn"], help="bn, tbbn, tbbn-weighted, cn, gn")
    parser.add_argument("--memories", nargs="+", type=int, default=[200, 500])
    parser.add_argument("--memory-batch", type=int)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limit", type=int, default=10000)
    parser.add_argument("--first", type=int, default=2)
    parser.add_argument("--per-task", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--learning-rate", type=float, help="one for all methods; each its own unless given")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32, 64])
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--padding", type=int, default=0)
    parser.add_argument("--flip", action="store_true")
    parser.add_argument("--plot", type=Path, help="where a picture of the table goes")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    if (arguments.idx is None) == (arguments.folder is None):
        parser.error("give either --idx or --folder")
    arguments.out.mkdir(parents=True, exist_ok=True)
    plain = {**vars(arguments), "out": str(arguments.out)}
    chosen = ("methods", "norms", "memories", "seeds", "workers", "threads", "out", "plot")
    settings = {key: value for key, value in plain.items() if key not in chosen}
    settings |= {"short": SHORT, "rates": RATES}
    known = arguments.out / "settings.json"
    if known.is_file() and json.loads(known.read_text()) != settings:
        parser.error(f"{arguments.out} holds rows of other settings")
    write_json(known, settings)
    tasks = []
    for seed, memory, method, norm in itertools.product(
        arguments.seeds, arguments.memories, arguments.methods, arguments.norms
    ):
        kind = METHODS[method]
        # Without exemplars the memory makes no difference.
        size = memory if kind.reads_memory else 0
        task = (plain, method, size, norm, seed)
        if task not in tasks:
            tasks.append(task)
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(run, tasks))
    else:
        for task in tasks:
            run(task)
    rows = {}
    for _, method, memory, norm, seed in sorted(tasks, key=lambda task: (task[2], arguments.methods.index(task[1]))):
        content = (arguments.out / f"{method}-{memory}-{norm}-{seed}.json").read_text()
        rows[method, memory, norm, seed] = json.loads(content)
    report(rows, arguments)
    if arguments.plot is not None:
        plot(rows, arguments.plot)


if __name__ == "__main__":
    main()
