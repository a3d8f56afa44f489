"""A life in four steps: learn six classes of CIFAR-10, forget 50 photos, learn two more classes, and two more.

Does what was forgotten come back when the model learns on? All learners begin with the weights of EfficientNet-Lite0:
RanPAC on the frozen body, which forgets exactly, and experience replay, which trains it. ``story`` runs the command
line for every way to forget, for learners that never had the photos, and for ones that forget nothing; ``streams``
learns ten classes in five tasks by the methods that begin with the same body. ``probes`` learns the same by fewer of
them, and fits a linear probe to the body after each task. ``table`` prints Markdown. What ``--out``
holds already is not done again.

    python benchmarks/lifelong.py story   --data FOLDER --out OUT --seeds 0 1 2
    python benchmarks/lifelong.py streams --data FOLDER --out OUT --seeds 0 1 2
    python benchmarks/lifelong.py probes  --data FOLDER --out OUT --seeds 0 1 2
    python benchmarks/lifelong.py table   --out OUT
"""

import argparse
import json
import random
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

import torch
import yaml

import myosotis
from myosotis.data.image_folders import read_image_folder
from myosotis.evaluation.membership import roc_auc, shortfall

PER_CLASS, TESTS, FORGOTTEN = 150, 100, 50
REPLAY = {
    "method": {"name": "er"},
    "memory": {"total": 300},
    "training": {"epochs": 5, "learning_rate": 0.01, "batch_size": 64, "flip": True, "padding": 4},
}
SUMS = {"method": {"name": "ranpac", "projection": 2000}}
WAYS = {
    "RanPAC, exact": (SUMS, {"job": "unlearn-exact"}),
    "RanPAC, nothing forgotten": (SUMS, None),
    "RanPAC, never had them": (SUMS, "rest"),
    "ER, `recommended`": (REPLAY, {"job": "unlearn-learner", "preset": "recommended"}),
    "ER, SCRUB": (
        REPLAY,
        {"job": "unlearn-learner", "method": {"name": "scrub"}, "training": {"epochs": 5, "batch_size": 64}},
    ),
    "ER, nothing forgotten": (REPLAY, None),
    "ER, never had them": (REPLAY, "rest"),
}
"""Learner, and how it forgets: the settings, None for not at all, or the folder that it learns instead."""
STREAMS = {
    "simplecil": {"method": {"name": "simplecil"}},
    "ranpac": SUMS,
    "fecam": {"method": {"name": "fecam"}},
    "finetune": {**REPLAY, "method": {"name": "finetune"}, "memory": {"total": 0}},
    "er": REPLAY,
    "icarl": {**REPLAY, "method": {"name": "icarl"}},
    "der_expand": {**REPLAY, "method": {"name": "der_expand"}},
}


def prepare(arguments, seed):
    """Folders of the photos that are learnt, forgotten and left, by seed, and of the test images."""
    world = arguments.out / f"data-{seed}"
    names = sorted(path.name for path in (arguments.data / "train").iterdir())
    order = random.Random(f"order {seed}").sample(names, len(names))
    if not world.is_dir():
        draft = world.with_suffix(".part")
        shutil.rmtree(draft, ignore_errors=True)
        draw = random.Random(f"photos {seed}")
        for name in names:
            photos = draw.sample(sorted((arguments.data / "train" / name).iterdir()), PER_CLASS)
            copy(photos, draft / "train" / name)
            tests = sorted((arguments.data / "test" / name).iterdir())
            copy(random.Random("tests").sample(tests, TESTS), draft / "test" / name)
        learnt = sorted(path for name in order[:6] for path in (draft / "train" / name).iterdir())
        forgotten = draw.sample(learnt, FORGOTTEN)
        shutil.copytree(draft / "train", draft / "rest")
        for path in forgotten:
            copy([path], draft / "forget" / path.parent.name)
            (draft / "rest" / path.parent.name / path.name).unlink()
        draft.rename(world)
    return world, order


def copy(paths, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for path in paths:
        shutil.copy(path, folder / path.name)


def run(arguments, content, name):
    """Run a job once; what is finished stays."""
    out = arguments.out / name
    if (out / "result.json").is_file():
        return out
    arguments.out.mkdir(parents=True, exist_ok=True)
    file = arguments.out / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"name": name, **content}))
    command = [sys.executable, "-m", "myosotis", "run", str(file), "--out", str(out)]
    subprocess.run([*command, *(["--overwrite"] if out.exists() else [])], check=True)  # noqa: S603 - our own command
    return out


def stream(arguments, world, folder, classes, seed, learner, scenario):
    return {
        "job": "learn-classes",
        "seed": seed,
        "data": {
            "train": {"folder": str(world / folder)},
            "test": {"folder": str(world / "test")},
            "only": sorted(classes),
        },
        "scenario": scenario,
        "model": {"architecture": "efficientnet-lite0", "pretrained": True, "image_size": arguments.size},
        **learner,
    }


def slug(text):
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower()).replace("--", "-").strip("-")


def story(arguments):
    for seed in arguments.seeds:
        world, order = prepare(arguments, seed)
        for way, (learner, how) in WAYS.items():
            folder = how if isinstance(how, str) else "train"
            begin = {"first": 6, "per_task": 2, "class_order": order[:6]}
            kind = learner["method"]["name"]
            first = run(
                arguments,
                stream(arguments, world, folder, order[:6], seed, learner, begin),
                f"{kind}-{folder}-{seed}",
            )
            before, forgotten = first, None
            if isinstance(how, dict):
                data = {
                    "forget": {"folder": str(world / "forget")},
                    "train": {"folder": str(world / "train")},
                    "test": {"folder": str(world / "test")},
                }
                job = {"seed": seed, "model": {"learner": str(first)}, "data": data, **how}
                forgotten = before = run(arguments, job, f"forget-{slug(way)}-{seed}")
            go_on = {
                **stream(arguments, world, folder, order, seed, learner, {"first": 2, "per_task": 2}),
                "continue_from": str(before),
                "watch": {"folder": str(world / "forget")},
                **({} if forgotten is None else {"forgotten": "drop"}),
            }
            go_on["scenario"]["class_order"] = order[6:]
            after = run(arguments, go_on, f"after-{slug(way)}-{seed}")
            note(arguments, way, seed, world, (first, forgotten, after))


def note(arguments, way, seed, world, runs):
    """Append what a life showed: accuracy and membership of the photos, and accuracy on test images, at each step."""
    path = arguments.out / "story.jsonl"
    if any((row["way"], row["seed"]) == (way, seed) for row in read(path)):
        return
    first, forgotten, after = runs
    result = json.loads((after / "result.json").read_text())
    steps = {"six classes": looked_at(first, world)}
    steps["forgotten"] = looked_at(forgotten, world) if forgotten is not None else None
    for number, task in enumerate(result["tasks_in_detail"][1:], start=2):
        steps[f"{6 + 2 * (number - 1)} classes"] = {
            "photos": task["watched"],
            "auc": task["watched_membership"]["auc"],
            "test": result["metrics"]["accuracy_curve"][number - 1],
        }
    cost = None
    if forgotten is not None:
        told = json.loads((forgotten / "result.json").read_text())
        seconds = told["cost"]["seconds"]
        cost = told["unlearning"]["seconds"] if "unlearning" in told else sum(seconds.values())
    with path.open("a") as file:
        row = {"way": way, "seed": seed, "size": arguments.size, "steps": steps, "seconds": cost}
        file.write(json.dumps(row) + "\n")


def looked_at(run, world):
    """The same figures of a learner in a run."""
    model = myosotis.load(run)
    values = {}
    for name in ("forget", "test"):
        images = read_image_folder(world / name)
        known = [index for index, label in enumerate(images.labels) if images.classes[label] in model.classes]
        images = images.subset(known)
        labels = torch.tensor([model.classes.index(images.classes[label]) for label in images.labels])
        scores = torch.cat([torch.as_tensor(model.scores(part)) for part in images.pixels().split(200)])
        values[name] = (scores, labels)
    photos, tests = values["forget"], values["test"]
    return {
        "photos": (photos[0].argmax(1) == photos[1]).float().mean().item(),
        "auc": roc_auc(shortfall(*photos), shortfall(*tests)),
        "test": (tests[0].argmax(1) == tests[1]).float().mean().item(),
    }


def streams(arguments):
    for seed in arguments.seeds:
        world, order = prepare(arguments, seed)
        for name, learner in STREAMS.items():
            scenario = {"first": 2, "per_task": 2, "class_order": order}
            job = stream(arguments, world, "train", order, seed, learner, scenario)
            out = run(arguments, job, f"stream-{name}-{seed}")
            result = json.loads((out / "result.json").read_text())
            path = arguments.out / "streams.jsonl"
            if not any((row["method"], row["seed"]) == (name, seed) for row in read(path)):
                metrics, cost = result["metrics"], result["cost"]
                row = {
                    "method": name,
                    "seed": seed,
                    "final": metrics["accuracy_curve"][-1],
                    "average": statistics.mean(metrics["accuracy_curve"]),
                    "seconds": sum(cost["seconds"].values()),
                    "exemplars": cost["exemplars"],
                }
                with path.open("a") as file:
                    file.write(json.dumps(row) + "\n")


PROBED = ("simplecil", "finetune", "er")


def probes(arguments):
    for seed in arguments.seeds:
        world, order = prepare(arguments, seed)
        for name in PROBED:
            scenario = {"first": 2, "per_task": 2, "class_order": order}
            job = stream(arguments, world, "train", order, seed, STREAMS[name], scenario)
            out = run(arguments, {**job, "keep_learners": True}, f"probed-{name}-{seed}")
            if not (out / "probe.json").is_file():
                subprocess.run([sys.executable, "-m", "myosotis", "probe", str(out)], check=True)  # noqa: S603 - ours
            found = json.loads((out / "probe.json").read_text())
            path = arguments.out / "probes.jsonl"
            if not any((row["method"], row["seed"]) == (name, seed) for row in read(path)):
                with path.open("a") as file:
                    file.write(json.dumps({"method": name, "seed": seed, "probe": found["probe_all"]}) + "\n")


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def cell(values, digits=2):
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    spread = f" ± {statistics.stdev(known):.{digits}f}" if len(known) > 1 else ""
    return f"{statistics.mean(known):.{digits}f}{spread}"


def table(arguments):
    rows = read(arguments.out / "story.jsonl")
    steps = list(rows[0]["steps"]) if rows else []
    for key in ("photos", "auc", "test"):
        print(f"| {key} | {' | '.join(steps)} |\n|{' --- |' * (len(steps) + 1)}")
        for way in WAYS:
            own = [row for row in rows if row["way"] == way]
            if own:
                found = [cell([row["steps"][step] and row["steps"][step][key] for row in own]) for step in steps]
                print(f"| {way}, n = {len(own)} | {' | '.join(found)} |")
        print()
    for way in WAYS:
        seconds = [row["seconds"] for row in rows if row["way"] == way and row["seconds"] is not None]
        if seconds:
            print(f"{way}: {cell(seconds, 1)} s to forget")
    rows = read(arguments.out / "streams.jsonl")
    print("\n| method | final | average | exemplars | seconds |\n| --- | --- | --- | --- | --- |")
    for name in STREAMS:
        own = [row for row in rows if row["method"] == name]
        if own:
            figures = [cell([100 * row[key] for row in own], 1) for key in ("final", "average")]
            seconds = cell([row["seconds"] for row in own], 0)
            print(f"| `{name}`, n = {len(own)} | {' | '.join(figures)} | {own[0]['exemplars']} | {seconds} |")
    rows = read(arguments.out / "probes.jsonl")
    if rows:
        tasks = [f"task {number}" for number in range(1, 1 + len(rows[0]["probe"]))]
        print(f"\n| probe of ten classes | {' | '.join(tasks)} |\n|{' --- |' * (len(tasks) + 1)}")
    for name in PROBED:
        own = [row["probe"] for row in rows if row["method"] == name]
        if own:
            after = [cell([100 * accuracy for accuracy in values], 1) for values in zip(*own, strict=True)]
            print(f"| `{name}`, n = {len(own)} | {' | '.join(after)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("story", "streams", "probes", "table"))
    parser.add_argument("--data", type=Path, help="folder of CIFAR-10: train/<class>/*, test/<class>/*")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=32, help="pixels that images are scaled to")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.out = arguments.out.resolve()
    {"story": story, "streams": streams, "probes": probes, "table": table}[arguments.what](arguments)


if __name__ == "__main__":
    main()
