"""A whole life, signed: learn, forget, learn on, audit, destroy, and prove it to others. Ends with ``verified``.

Two learners of handwritten digits and a language model live side by side, each on a branch of one ledger. The first
learner has a frozen body and forgets 20 photos exactly; the second is trained, and forgets 20 others by the preset
``recommended``. Both learn four further digits afterwards. The language model was taught ten made-up people and forgets
three, and three others later. An auditor with a key of their own looks at all three, old models and photos are
destroyed, a witness cosigns the ledger, and a person checks a receipt. Every command is printed as it is run, and they
are those of the guide "A whole life".

    python benchmarks/life.py --out runs/life
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from PIL import Image

from myosotis.data.people import fictitious_people
from myosotis.data.sources import read_digits

BEGIN, LATER = [str(digit) for digit in range(6)], [str(digit) for digit in range(6, 10)]
SUMS = {
    "model": {"architecture": "efficientnet-lite0", "pretrained": True, "image_size": 32},
    "method": {"name": "ranpac", "projection": 500},
}
TRAINED = {
    "model": {"architecture": "small-resnet", "options": {"widths": [16, 32], "blocks": [1, 1]}},
    "method": {"name": "er"},
    "memory": {"total": 100},
    "training": {"epochs": 15, "learning_rate": 0.05, "batch_size": 32},
}
REQUEST = {"received": "2026-11-02", "searched": ["training data", "models"], "untreated": ["backup of October"]}
WORDS = {
    "method": {"name": "counterfactual"},
    "lora": {"rank": 8, "alpha": 16},
    "training": {
        "epochs": 16,
        "batch_size": 5,
        "learning_rate": 1.0e-3,
        "schedule": "linear",
        "precision": "bf16",
        "replay_prompts": 100,
    },
    "audit": {"n": 3},
}


def make_photos(out):
    """Folders of PNG files: what is learned first, and in all, tests, two requests, what is left after the first."""
    digits = read_digits()
    order = digits.shuffled(0, "life")
    for number, index in enumerate(order):
        label = digits.classes[int(digits.labels[index])]
        part = "test" if number % 5 == 0 else "train"
        path = out / "photos" / part / label / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.images[index, 0].numpy()).save(path)
    learnt = sorted(path for name in BEGIN for path in (out / "photos" / "train" / name).iterdir())
    for number, request in enumerate(("request-1", "request-2")):
        for path in learnt[number * 17 :: 38][:20]:
            target = out / "photos" / request / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    for name in BEGIN:
        shutil.copytree(out / "photos" / "train" / name, out / "photos" / "begin" / name)
    shutil.copytree(out / "photos" / "begin", out / "photos" / "left")
    for path in (out / "photos" / "request-1").glob("*/*"):
        (out / "photos" / "left" / path.parent.name / path.name).unlink()


def make_people(out):
    """JSONL files: the people of two requests, those who are left after each, and some who are never taught."""
    people = fictitious_people(16, 0)
    groups = {
        "request-3": people[:3],
        "left-3": people[3:10],
        "request-4": people[3:6],
        "left-4": people[6:10],
        "unseen": people[10:],
    }
    (out / "people").mkdir()
    for name, group in groups.items():
        rows = [
            {"prompt": record.prompt, "response": record.response, "facts": record.facts, "subject": record.subject}
            for person in group
            for record in person.records()
        ]
        (out / "people" / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


class Life:
    """Runs commands in a folder and prints them."""

    def __init__(self, out):
        self.out = out

    def run(self, *words):
        print(f"\n$ myosotis {shlex.join(words)}", flush=True)
        environment = {**os.environ, "MYOSOTIS_LEDGER_KEY": "life.key"}
        command = [sys.executable, "-m", "myosotis", *words]
        subprocess.run(command, check=True, cwd=self.out, env=environment)  # noqa: S603 - our own commands

    def job(self, name, *options):
        content = {"name": name, **JOBS[name]}
        (self.out / f"{name}.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        self.run("run", f"{name}.yaml", "--out", name, *options)

    def copy(self, photo, target):
        shutil.copy(self.out / photo, self.out / target)


def data(folder, classes):
    return {"train": {"folder": f"photos/{folder}"}, "test": {"folder": "photos/test"}, "only": classes}


def first(learner):
    return {
        "job": "learn-classes",
        **learner,
        "data": data("begin", BEGIN),
        "scenario": {"first": 3, "per_task": 3, "class_order": BEGIN},
    }


def further(learner, run):
    return {
        **learner,
        "job": "learn-classes",
        "data": data("train", BEGIN + LATER),
        "scenario": {"first": 2, "per_task": 2, "class_order": LATER},
        "continue_from": run,
        "forgotten": "drop",
        "watch": {"folder": f"photos/{run}"},
    }


def request(kind, learner, number, **how):
    return {
        "job": kind,
        "model": {"learner": learner},
        "data": {
            "forget": {"folder": f"photos/request-{number}"},
            "train": {"folder": "photos/begin"},
            "test": {"folder": "photos/test"},
        },
        "request": REQUEST | {"id": str(number)},
        **how,
    }


def people(number, model, **more):
    files = {"forget": f"request-{number}", "retain": f"left-{number}", "unseen": "unseen"}
    return {
        "job": "unlearn-language",
        "model": {"name": model},
        "data": {
            **{part: f"people/{name}.jsonl" for part, name in files.items()},
            "template": "Question: {prompt}\nAnswer: {response}",
        },
        "request": REQUEST | {"id": str(number)},
        **WORDS,
        **more,
    }


JOBS = {
    "frozen": first(SUMS),
    "request-1": request("unlearn-exact", "frozen", 1),
    "frozen-later": further(SUMS, "request-1"),
    "trained": first(TRAINED),
    "request-2": request("unlearn-learner", "trained", 2, preset="recommended"),
    "trained-later": further(TRAINED, "request-2"),
    "request-3": people(3, "smollm2-135m", fine_tune={"epochs": 10, "batch_size": 20, "learning_rate": 1.0e-4}),
    "request-4": people(4, "./request-3/model"),
}


def live(life, photo):
    """Every command of the life, in order; ``photo`` is one of the first request, below its folder."""
    life.run("ledger", "init", "life")
    life.run("ledger", "make-key", "auditor.key")
    life.run("ledger", "key", "life", "auditor.pub", "--role", "auditor")
    life.run("ledger", "make-key", "witness.key")
    life.run("ledger", "key", "life", "witness.pub", "--role", "witness")
    life.copy("life/keys/operator.pub", "operator.pub")
    keys = ("--key", "operator.pub", "--auditor", "auditor.pub")

    life.job("frozen")
    life.run("ledger", "add", "life", "frozen", "--records", "photos/begin", "--opening", "frozen.opening")
    life.job("request-1")
    given = ("--records", "photos/request-1", "--learned", "frozen.opening", "--receipts", "receipts-1")
    life.run("ledger", "add", "life", "request-1", *given)
    life.run("audit", "classifier", "request-1", "--against", "photos/left")
    life.run("ledger", "add", "life", "request-1", "--audit", "--key", "auditor.key")
    life.run("ledger", "verify", "life", *keys, "--model", "request-1", "--recompute", "photos/left")
    life.job("frozen-later", "--ledger", "life")

    life.job("trained")
    life.run("ledger", "add", "life", "trained", "--branch", "trained")
    life.job("request-2")
    life.run("ledger", "add", "life", "request-2", "--branch", "trained")
    life.run("audit", "classifier", "request-2")
    life.run("ledger", "add", "life", "request-2", "--audit", "--branch", "trained", "--key", "auditor.key")
    life.job("trained-later")
    life.run("ledger", "add", "life", "trained-later", "--branch", "trained")

    life.job("request-3")
    life.run("ledger", "add", "life", "request-3", "--branch", "words")
    life.job("request-4")
    given = ("--records", "people/request-4.jsonl", "--receipts", "receipts-4")
    life.run("ledger", "add", "life", "request-4", "--branch", "words", *given)
    life.run("audit", "language", "request-4")
    life.run("ledger", "add", "life", "request-4", "--audit", "--branch", "words", "--key", "auditor.key")

    life.copy(f"photos/request-1/{photo}", "mine.png")
    life.run("ledger", "destroy", "life", "frozen", "trained", "request-3", "photos", "people", "frozen.opening")
    life.run("ledger", "log", "life", "--html", "life.html")
    life.run("ledger", "certificate", "life", "2", "--out", "request-1.html", "--person", "answer-1.html")
    life.run("ledger", "export", "life", "--cyclonedx", "bill.json")
    life.run("ledger", "export", "life", "--model-card", "card.md")
    life.run("ledger", "release", "life", "frozen-later", "--file", "card.md", "--to", "Another Hospital")
    life.run("ledger", "checkpoint", "life", "--request", "checkpoint.request")
    life.run(
        "ledger",
        "witness",
        "checkpoint.request",
        "witness.answer",
        "--key",
        "witness.key",
        "--operator",
        "operator.pub",
    )
    life.run("ledger", "checkpoint", "life", "--answer", "witness.answer")
    proof = ("--record", "mine.png", "--receipt", f"receipts-1/{photo}.receipt.json")
    life.run("ledger", "verify", "life", *keys, "--witness", "witness.pub", "--model", "frozen-later", *proof)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder, which must not exist")
    out = parser.parse_args().out.resolve()
    if out.exists():
        parser.error(f"{out}: exists already")
    make_photos(out)
    make_people(out)
    photos = out / "photos" / "request-1"
    live(Life(out), sorted(photos.glob("*/*.png"))[0].relative_to(photos).as_posix())


if __name__ == "__main__":
    main()
