"""Class-incremental segmentation: methods under scenarios that differ in whether images come back.

Arms: ``overlapped``; ``partitioned``; ``matched``, overlapped with as many images a task as partitioned. Of each arm,
seed and partition all methods that begin alike share the network of the first task. Rows that are in ``--out`` already
are not computed again. ``--tune`` runs one development seed, on scenes of its own or on CamVid's validation frames.

    python benchmarks/segmentation.py scenes --idx DIRECTORY --first 2 --later 2 2 2 2 --out rows --workers 2
    python benchmarks/segmentation.py scenes --idx DIRECTORY --first 6 --later 1 1 1 1 --out rows-6-1 --workers 2
    python benchmarks/segmentation.py camvid --place DIRECTORY --first 7 --later 2 2 --out rows-camvid --workers 2
"""

import argparse
import json
import shutil
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import torch

from myosotis.continual.segmentation.inputs import mask_statistics
from myosotis.continual.segmentation.memory import SegmentationMemory
from myosotis.continual.segmentation.methods import METHODS, build_learner
from myosotis.continual.segmentation.metrics import channel_iou, forgetting, group_figures
from myosotis.continual.segmentation.scenario import class_incremental_segmentation
from myosotis.continual.segmentation.settings import SegmentationSettings
from myosotis.continual.segmentation.training import learn_segments
from myosotis.data.image_archives import read_idx
from myosotis.data.mask_sources import MaskSourceConfig, read_masks
from myosotis.data.masks import MaskedImages
from myosotis.data.scenes import make_scenes
from myosotis.engine.files import write_json
from myosotis.evaluation.intervals import t_interval
from myosotis.models.segmenter import SegmenterSpec, build_segmenter

VARIANTS = {
    "finetune": ("finetune", {}),
    "pseudo_labels": ("finetune", {"pseudo_labels": True}),
    "mib": ("mib", {}),
    "mib_m": ("mib_m", {}),
    "mib_augm": ("mib_augm", {}),
    "mib_augm_stored": ("mib_augm", {"scope": "stored"}),
    # Its released weights belong to larger maps; these were the best of seven pairs on the development seed.
    "plop": ("plop", {"features": 0.001, "logits": 0.0001}),
    "ewf": ("ewf", {}),
    "ssul_m": ("ssul_m", {}),
    "dkd_m": ("dkd_m", {}),
    # Steps of all tasks add up, so that it is trained as long as the others.
    "joint": ("joint", {"from_scratch": False}),
}
COMPARED = ("finetune", "pseudo_labels", "mib", "mib_m", "mib_augm", "mib_augm_stored", "plop")
OWN_START = ("ssul_m", "dkd_m", "joint")
ARMS = {"overlapped": ("overlapped", False), "partitioned": ("partitioned", False), "matched": ("overlapped", True)}
PAIRS = (("mib_m", "mib"), ("mib_augm", "mib_m"), ("mib_augm", "mib"), ("mib_augm_stored", "mib_augm"))
DEVELOPMENT = 100


def read(arguments, seed):
    """Training and test images."""
    if arguments["data"] == "scenes":
        # A development seed composes scenes of its own, of training items alone.
        own = DEVELOPMENT if seed >= DEVELOPMENT else 0
        items = read_idx(Path(arguments["idx"]), "train")
        test = items if own else read_idx(Path(arguments["idx"]), "test")
        train = make_scenes(items, arguments["count"], side=arguments["side"], seed=own)
        return train, make_scenes(test, arguments["test_count"], side=arguments["side"], seed=own, purpose="test")
    size = (arguments["side"] * 3 // 4, arguments["side"])
    test = "val" if seed >= DEVELOPMENT else "test"
    found = [
        read_masks(MaskSourceConfig(camvid=arguments["place"], split=split, size=size)) for split in ("train", test)
    ]
    return tuple(kept_in_memory(one) for one in found)


def kept_in_memory(images):
    """The same, decoded."""
    return MaskedImages(
        list(images.images), list(images.masks), images.names, images.classes, images.areas, images.sizes
    )


_READ = {}


def prepared(arguments, arm, seed, partition):
    """The stream and what a body is made of."""
    key = seed >= DEVELOPMENT
    if key not in _READ:
        _READ[key] = read(arguments, seed)
    train, test = _READ[key]
    kind, match = ARMS[arm]
    stream = class_incremental_segmentation(
        train,
        test,
        arguments["first"],
        arguments["later"],
        kind=kind,
        order_seed=seed,
        seed=partition,
        match_sizes=match,
    )
    mean, std = mask_statistics(train, torch.arange(len(train)))
    return stream, SegmenterSpec("own", "small-segmenter", train.channels, mean, std, {"widths": arguments["widths"]})


def row(task):
    """One method on one stream; returns what took no time if it was there."""
    arguments, arm, seed, partition, variant = task
    torch.set_num_threads(1)
    place = Path(arguments["out"]) / f"{arm}-{seed}-{partition}-{variant}.json"
    if place.is_file():
        return
    stream, spec = prepared(arguments, arm, seed, partition)
    settings = SegmentationSettings(
        iterations=arguments["iterations"],
        first_iterations=arguments["first_iterations"],
        learning_rate=arguments["rate"],
        later_rate=arguments["later_rate"],
        optimizer="adamw",
        schedule="onecycle",
        batch_size=arguments["batch"],
        flip=arguments["data"] == "camvid",
    )
    name, own = VARIANTS[variant]
    own = {
        **own,
        **({"distillation": arguments["distillation"]} if name in ("mib", "mib_m", "mib_augm", "ewf") else {}),
    }
    learner = build_learner(name, own, lambda number: build_segmenter(spec, seed=number), seed)
    checkpoints = place.with_suffix(".partial")
    shutil.rmtree(checkpoints, ignore_errors=True)
    if variant not in OWN_START:
        checkpoints.mkdir()
        shutil.copytree(first_task(arguments, stream, spec, arm, seed, partition, settings), checkpoints / "after-0")
    memory = SegmentationMemory(arguments["memory"] if METHODS[name].reads_memory else 0, seed)
    started = time.monotonic()
    outcome = learn_segments(learner, stream, memory, settings, seed=seed, checkpoints=checkpoints)
    seconds = time.monotonic() - started
    shutil.rmtree(checkpoints)
    history = [channel_iou(record.confusion) for record in outcome.records]
    lost = [value for value in forgetting(history)[1:] if value is not None]
    write_json(
        place,
        {
            "figures": [group_figures(iou, stream.sizes[: at + 1]).model_dump() for at, iou in enumerate(history)],
            "forgetting": statistics.mean(lost) if lost else None,
            "pseudo_labels": [record.pseudo_labels and record.pseudo_labels.model_dump() for record in outcome.records],
            "images": stream.reappearance.images,
            "seen_images": stream.reappearance.seen_images,
            "memory": outcome.records[-1].memory.model_dump(mode="json"),
            "seconds": seconds,
        },
    )


def first_task(arguments, stream, spec, arm, seed, partition, settings):
    """Where the network of the first task is kept; trained by whoever comes first."""
    place = Path(arguments["out"]) / f"{arm}-{seed}-{partition}-base"
    if not (place / "after-0").is_dir():
        learner = build_learner("finetune", {}, lambda number: build_segmenter(spec, seed=number), seed)
        one = replace(stream, tasks=stream.tasks[:1])
        learn_segments(learner, one, SegmentationMemory(), settings, seed=seed, checkpoints=place)
    return place / "after-0"


def stream_rows(task):
    """All methods on one stream, so that its first task is learnt once."""
    arguments, arm, seed, partition = task
    for variant in arguments["methods"]:
        row((arguments, arm, seed, partition, variant))


def told(values):
    """Mean and half-width of a 95 % t interval, in points."""
    interval = t_interval([100 * value for value in values])
    wide = "" if interval.low is None else f" ± {interval.mean - interval.low:.1f}"
    return f"{interval.mean:.1f}{wide}"


def show(arguments, rows):
    """Three tables: final figures, differences between methods, differences between arms."""
    print("| method | arm | all | first task | later tasks | harmonic | forgetting | runs |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for variant in arguments.methods:
        for arm in arguments.arms:
            some = rows[variant, arm]
            last = [one["figures"][-1] for one in some.values()]
            cells = [told([one[key] for one in last]) for key in ("all", "base", "new", "harmonic")]
            cells.append(told([one["forgetting"] for one in some.values()]))
            print(f"| `{variant}` | {arm} | {' | '.join(cells)} | {len(some)} |")
    print("\n| difference, points of all / later tasks | " + " | ".join(arguments.arms) + " |")
    print("| --- |" + " --- |" * len(arguments.arms))
    for one, other in PAIRS:
        if one in arguments.methods and other in arguments.methods:
            cells = []
            for arm in arguments.arms:
                parts = []
                for key in ("all", "new"):
                    pairs = rows[one, arm], rows[other, arm]
                    final = [{run: found["figures"][-1][key] for run, found in some.items()} for some in pairs]
                    parts.append(told([value - final[1][run] for run, value in final[0].items()]))
                cells.append(" / ".join(parts))
            print(f"| `{one}` less `{other}` | {' | '.join(cells)} |")
    others = [arm for arm in arguments.arms if arm != "partitioned"]
    if "partitioned" in arguments.arms and others:
        print("\n| points of all, less partitioned | " + " | ".join(others) + " |")
        print("| --- |" + " --- |" * len(others))
        for variant in arguments.methods:
            base = rows[variant, "partitioned"]
            cells = [
                told(
                    [
                        found["figures"][-1]["all"] - base[run]["figures"][-1]["all"]
                        for run, found in rows[variant, arm].items()
                    ]
                )
                for arm in others
            ]
            print(f"| `{variant}` | {' | '.join(cells)} |")
    print("\n| pseudo-labels before the second task, `finetune` | " + " | ".join(arguments.arms) + " |")
    print("| --- |" + " --- |" * len(arguments.arms))
    some = rows[arguments.methods[0], arguments.arms[0]]
    for which in ("seen", "unseen"):
        for key, label in (("right", "old pixels right"), ("taken_for_old", "others taken for old")):
            cells = []
            for arm in arguments.arms:
                found = [one["pseudo_labels"][1][which][key] for one in rows[arguments.methods[0], arm].values()]
                found = [value for value in found if value is not None]
                cells.append(told(found) if found else "-")
            print(f"| images {which}: {label} | {' | '.join(cells)} |")
    for arm in arguments.arms:
        some = rows[arguments.methods[0], arm]
        sizes = [
            round(statistics.mean(column)) for column in zip(*(one["images"] for one in some.values()), strict=True)
        ]
        again = [100 * statistics.mean(one["seen_images"][1:]) for one in some.values()]
        print(f"\n{arm}: images a task {sizes}; seen before in later tasks {statistics.mean(again):.1f} %", end="")
    print(f"\n\nseconds in all: {sum(one['seconds'] for some in rows.values() for one in some.values()):.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=("scenes", "camvid"))
    parser.add_argument("--idx", help="directory of idx files, e.g. those of Fashion-MNIST")
    parser.add_argument("--place", help="directory of CamVid")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--later", type=int, nargs="+", required=True)
    parser.add_argument("--methods", nargs="+", default=list(COMPARED), choices=VARIANTS)
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--partitions", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--tune", action="store_true", help="one development seed and partition")
    parser.add_argument("--count", type=int, default=2400)
    parser.add_argument("--test-count", type=int, default=400)
    parser.add_argument("--side", type=int, default=32)
    parser.add_argument("--widths", type=int, nargs=3, default=[24, 48, 48])
    parser.add_argument("--first-iterations", type=int, default=400)
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--later-rate", type=float, default=0.01)
    parser.add_argument("--distillation", type=float, default=10.0)
    parser.add_argument("--memory", type=int, default=40)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.tune:
        arguments.seeds, arguments.partitions = [DEVELOPMENT], [DEVELOPMENT]
    arguments.out.mkdir(parents=True, exist_ok=True)
    plain = {**vars(arguments), "out": str(arguments.out)}
    runs = [(seed, partition) for seed in arguments.seeds for partition in arguments.partitions]
    tasks = [(plain, arm, *run) for run in runs for arm in arguments.arms]
    started = time.monotonic()
    if arguments.workers > 1:
        with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
            list(pool.map(stream_rows, tasks))
    else:
        for task in tasks:
            stream_rows(task)
    rows = {
        (variant, arm): {
            run: json.loads((arguments.out / f"{arm}-{run[0]}-{run[1]}-{variant}.json").read_text()) for run in runs
        }
        for variant in arguments.methods
        for arm in arguments.arms
    }
    show(arguments, rows)
    print(f"wall time of this call: {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
