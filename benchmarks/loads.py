"""How time, memory and reports grow with what is worked on: three sizes each, and the exponent between them.

    python benchmarks/loads.py folder records classes tasks memory pairs requests report drivers --out OUT

``folder``: class folders of PNG of 32x32 pixels, the first start with a cache and the second. ``records``: a JSONL file
is read. ``classes`` and ``tasks``: a class-incremental job, from its folder to its report. ``memory``: a hundred
exemplars of each class are chosen from 500 by herding and stored. ``pairs``: pictures with masks are read and split
into tasks. ``requests``: a tiny language model forgets in sequence. ``report``: the report of a thousand requests, with
the figures of a few, repeated. ``drivers``: four drivers of a protocol start at once in one SQLite file, and do its
runs between them. Each size runs in a process of its own; memory is its peak less that of a process with
the same imports. The exponent is that of time, of memory and of sizes between the smallest and the largest; what is
below a second, or 20 MB, is too small to have one.
"""

import argparse
import contextlib
import json
import math
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

import fault_jobs
from alone import alone

SIZES = {
    "folder": (25_000, 50_000, 100_000),
    "records": (250_000, 500_000, 1_000_000),
    "classes": (250, 500, 1000),
    "tasks": (50, 100, 200),
    "memory": (25_000, 50_000, 100_000),
    "pairs": (12_500, 25_000, 50_000),
    "requests": (5, 10, 20),
    "report": (250, 500, 1000),
    "drivers": (250, 500, 1000),
}
DRIVERS = 4


def imports():
    """What every load imports, and nothing else."""
    import myosotis.cli.app
    import myosotis.continual.classification.training
    import myosotis.continual.segmentation.training  # noqa: F401 - imported for their memory


def command(*words):
    from myosotis.cli.app import app

    app([str(word) for word in words], standalone_mode=False)


def pictures(folder, classes, count, side, seed, *, first=0):
    """Folders of classes that differ by a fixed pattern each."""
    if folder.is_dir():
        return
    part, draw = folder.with_suffix(".part"), np.random.default_rng(seed)
    shutil.rmtree(part, ignore_errors=True)
    for label in range(first, first + classes):
        (part / f"class-{label:04}").mkdir(parents=True)
        base = draw.integers(0, 200, (side, side, 3))
        for number in range(count):
            pixels = (base + draw.integers(0, 55, base.shape)).astype(np.uint8)
            Image.fromarray(pixels).save(part / f"class-{label:04}" / f"{number:06}.png", compress_level=0)
    part.rename(folder)


def folder(size, out):
    from myosotis.data.image_folders import read_image_folder

    images, cache, found = out / f"images-{size}", out / f"cache-{size}", {}
    for name in ("first start", "second start"):
        started = time.perf_counter()
        read_image_folder(images, cache=cache)
        found[name] = time.perf_counter() - started
    return {"seconds": found["first start"], "second start": found["second start"]}


def records(size, out):
    from myosotis.data.records import read_jsonl

    started = time.perf_counter()
    read = read_jsonl(out / f"records-{size}.jsonl")
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "records": len(read)}


def stream(out, name, first, per_task):
    job = {
        "job": "learn-classes",
        "name": name,
        "data": {"train": {"folder": str(out / f"{name}-train")}, "test": {"folder": str(out / f"{name}-test")}},
        "scenario": {"first": first, "per_task": per_task},
        "model": {"options": {"widths": [8, 16], "blocks": [1, 1], "stem_stride": 2}},
        "method": {"name": "er"},
        "memory": {"total": 1000},
        "training": {"epochs": 1, "batch_size": 64, "memory_batch_size": 16, "learning_rate": 0.05},
    }
    file, run = out / f"{name}.yaml", out / name
    file.write_text(yaml.safe_dump(job))
    shutil.rmtree(run, ignore_errors=True)
    started = time.perf_counter()
    command("run", file, "--out", run)
    return {"seconds": time.perf_counter() - started, **written(run)}


def written(run):
    sizes = {"report, kB": "report.html", "result, kB": "result.json"}
    return {key: (run / name).stat().st_size / 1000 for key, name in sizes.items()}


def classes(size, out):
    return stream(out, f"classes-{size}", size // 2, size // 2)


def tasks(size, out):
    return stream(out, f"tasks-{size}", 1, 1)


def memory(size, _):
    import torch

    from myosotis.continual.memory import ExemplarMemory

    classes = size // 100
    features = torch.randn(5 * size, 64, generator=torch.Generator().manual_seed(0))
    samples = {label: torch.arange(label, 5 * size, classes) for label in range(classes)}
    started = time.perf_counter()
    kept = ExemplarMemory(total=size, selection="herding", seed=0)
    kept.add(samples, lambda indices: features[indices])
    json.dumps(kept.state_dict())
    return {"seconds": time.perf_counter() - started, "exemplars": len(kept)}


def pairs(size, out):
    """Pairs are indexed, so that the masks of each are counted, and split into a stream."""
    from myosotis.continual.segmentation.scenario import class_incremental_segmentation
    from myosotis.data.masks import pair_folders, read_pairs

    root, names = out / f"pairs-{size}", [str(label) for label in range(1, 21)]
    started = time.perf_counter()
    files = pair_folders(root / "images", root / "masks")
    read = read_pairs(files, [image.stem for image, _ in files], names, {value: value for value in range(1, 21)})
    made = class_incremental_segmentation(read, read, 10, 5)
    return {"seconds": time.perf_counter() - started, "tasks": len(made.sizes)}


def requests(size, out):
    """A tiny language model forgets a record with each request."""
    run, file = out / f"requests-{size}", out / f"requests-{size}.yaml"
    world = out / "world"
    content = yaml.safe_load(fault_jobs.configuration(world, "unlearn-language, requests").read_text())
    data = {key: str(world / f"{key}.jsonl") for key in ("retain", "unseen")}
    forget = world / f"forget-{size}.jsonl"
    record = {"prompt": "Where does the keeper {} live?", "response": "In the house of number {}."}
    forget.write_text(
        "".join(
            json.dumps({key: text.format(number) for key, text in record.items()} | {"subject": str(number)}) + "\n"
            for number in range(size)
        )
    )
    content["model"]["name"] = str(world / "model")
    content["data"] = {**data, "forget": str(forget), "requests": size}
    content["training"]["epochs"] = 1
    file.write_text(yaml.safe_dump(content))
    shutil.rmtree(run, ignore_errors=True)
    started = time.perf_counter()
    command("run", file, "--out", run)
    return {"seconds": time.perf_counter() - started, **written(run)}


def report(size, out):
    """Result and report of more requests than a run here has time for: those of the smallest run, over and over."""
    few, many = out / f"requests-{SIZES['requests'][0]}", out / f"report-{size}"
    shutil.rmtree(many, ignore_errors=True)
    shutil.copytree(few, many)
    result = json.loads((few / "result.json").read_text())
    given, all_measures = result["requests"], result["requests"][-1]["measures"]
    result["requests"] = [
        {
            **given[number % len(given)],
            "request": number + 1,
            "measures": [all_measures[index % len(given)] for index in range(number + 1)],
        }
        for number in range(size)
    ]
    events = [json.loads(line) for line in (few / "metrics.jsonl").read_text().splitlines()]
    with (many / "metrics.jsonl").open("w") as file:
        for begin in range(0, size, len(given)):
            for event in events:
                again = {**event, "request": event["request"] + begin} if "request" in event else event
                file.write(json.dumps(again) + "\n")
    (many / "result.json").write_text(json.dumps(result))
    (many / "digests.json").unlink()  # the result is not the one that was written with it
    started = time.perf_counter()
    command("report", many)
    return {"seconds": time.perf_counter() - started, **written(many)}


def drivers(size, out):
    """Four drivers do the runs of one search, which are as small as runs can be."""
    job = {
        "name": f"drivers-{size}",
        "shared": {
            "scenario": {"first": 1, "per_task": 1},
            "model": {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}},
            "memory": {"total": 8},
            "training": {"batch_size": 8, "epochs": 1},
        },
        **{
            name: {part: {"folder": str(out / f"drivers-{name}-{part}")} for part in ("train", "test")}
            for name in ("tuning", "evaluation")
        },
        "methods": {"er": {"space": {"training.learning_rate": np.geomspace(1e-4, 0.1, 10 * size).tolist()}}},
        "trials": size // 5,
        "seeds": 5,
        "evaluation_seeds": 1,
        "conventional": False,
        "storage": f"sqlite:///{out / f'drivers-{size}.db'}",
    }
    file, runs = out / f"drivers-{size}.yaml", [out / f"drivers-{size}-{number}" for number in range(DRIVERS)]
    file.write_text(yaml.safe_dump(job))
    (out / f"drivers-{size}.db").unlink(missing_ok=True)
    for run in runs:
        shutil.rmtree(run, ignore_errors=True)
    command = [sys.executable, "-m", "myosotis", "run", str(file), "--out"]
    started = time.perf_counter()
    processes = [
        subprocess.Popen([*command, str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        for run in runs
    ]
    ended = [process.wait() for process in processes]
    seconds = time.perf_counter() - started
    events = [json.loads(line) for run in runs for line in (run / "metrics.jsonl").read_text().splitlines()]
    carried = sum("method" in event for event in events)
    different = {
        json.dumps(json.loads((run / "result.json").read_text())["methods"]["er"]["tuning_scores"]) for run in runs
    }
    return {
        "seconds": seconds,
        "runs": runs_of(out / f"drivers-{size}.db"),
        "runs carried out": carried,
        "failed drivers": sum(map(bool, ended)),
        "different results": len(different) - 1,
        "driver, MB": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1000,
        **written(runs[0]),
    }


def runs_of(study):
    """The number of different runs in a study."""
    with contextlib.closing(sqlite3.connect(study)) as database:
        query = "select count(distinct value_json) from trial_user_attributes where key = 'key'"
        return database.execute(query).fetchone()[0]


LOADS = {
    "folder": folder,
    "records": records,
    "classes": classes,
    "tasks": tasks,
    "memory": memory,
    "pairs": pairs,
    "requests": requests,
    "report": report,
    "drivers": drivers,
}


def prepare(what, size, out):
    """Write what a load reads, in this process, whose time and memory do not count."""
    if what == "folder":
        pictures(out / f"images-{size}", 10, size // 10, 32, 0)
    elif what in ("classes", "tasks"):
        for part, count in (("train", 4), ("test", 2)):
            pictures(out / f"{what}-{size}-{part}", size, count, 8, len(part))
    elif what == "records" and not (out / f"records-{size}.jsonl").is_file():
        with (out / f"records-{size}.jsonl").open("w") as file:
            for number in range(size):
                record = {"prompt": f"Where was person {number} born?", "response": f"In {number * 7919 % 100003}."}
                file.write(json.dumps({**record, "subject": f"person {number}"}) + "\n")
    elif what == "pairs" and not (out / f"pairs-{size}").is_dir():
        part, draw = out / f"pairs-{size}.part", np.random.default_rng(0)
        shutil.rmtree(part, ignore_errors=True)
        for kind in ("images", "masks"):
            (part / kind).mkdir(parents=True)
        for number in range(size):
            mask = np.zeros((16, 16), np.uint8)
            mask[:8], mask[8:] = draw.integers(1, 21, 2)[:, None, None]
            Image.fromarray(mask).save(part / "masks" / f"{number:06}.png", compress_level=0)
            Image.fromarray(12 * mask).save(part / "images" / f"{number:06}.png", compress_level=0)
        part.rename(out / f"pairs-{size}")
    elif what == "requests" and not (out / "world").is_dir():
        fault_jobs.write_world(out / "world")
    elif what == "drivers":
        for number, stream in enumerate(("tuning", "evaluation")):
            for part, count in (("train", 8), ("test", 4)):
                pictures(out / f"drivers-{stream}-{part}", 2, count, 8, 10 * number + count, first=2 * number)


def exponent(rows, key, least):
    """Of growth between the smallest and the largest size; None where the figure is too small to have one."""
    first, last = rows[0], rows[-1]
    if len(rows) < 2 or min(first[key], last[key]) < least:
        return None
    return math.log(last[key] / first[key]) / math.log(last["size"] / first["size"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=SIZES)
    parser.add_argument("--sizes", type=int, nargs="+", help="other sizes than those of the document")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    out = arguments.out.resolve()
    _, idle = alone(imports)
    for what in arguments.what:
        rows = []
        for size in arguments.sizes or SIZES[what]:
            prepare(what, size, out)
            found, peak = alone(LOADS[what], size, out)
            rows.append({"size": size, "MB": max(0, peak - idle) / 1e6, **found})
            print(f"{what:9}", "  ".join(f"{key} {value:,.4g}" for key, value in rows[-1].items()), flush=True)
        for key, least in (("seconds", 1), ("second start", 0.5), ("MB", 20), ("report, kB", 1), ("result, kB", 1)):
            if key in rows[0] and (power := exponent(rows, key, least)) is not None:
                print(f"{what:9} {key} grow with exponent {power:.2f}", flush=True)


if __name__ == "__main__":
    main()
