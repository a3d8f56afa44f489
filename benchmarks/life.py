"""A whole life, signed: learn, forget, learn on, audit, destroy, and prove it to others. Ends with ``verified``.

Two learners of handwritten digits live side by side, each on a branch of one ledger. The first has a frozen body and
forgets 20 photos exactly; the second is trained, and forgets 20 others by the preset ``recommended``. Both learn four
further digits afterwards. An auditor with a key of their own checks both, old models are destroyed, receipts are
written for the photos, and a person checks one. Every command is printed as it is run, and they are those of the guide.

    python benchmarks/life.py --out runs/life
"""

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from PIL import Image

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


def make_photos(out):
    """Folders of PNG files: training and test images, two requests of 20, and what is left after the first."""
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
    shutil.copytree(out / "photos" / "train", out / "photos" / "left")
    for path in (out / "photos" / "request-1").glob("*/*"):
        (out / "photos" / "left" / path.parent.name / path.name).unlink()
    for name in LATER:
        shutil.rmtree(out / "photos" / "left" / name)


class Life:
    """Runs commands in a folder and prints them."""

    def __init__(self, out):
        self.out = out

    def write(self, name, content):
        (self.out / f"{name}.yaml").write_text(yaml.safe_dump({"name": name, **content}, sort_keys=False))

    def run(self, *words, key="life.key"):
        print(f"\n$ myosotis {' '.join(words)}", flush=True)
        environment = {**os.environ, "MYOSOTIS_LEDGER_KEY": key}
        command = [sys.executable, "-m", "myosotis", *words]
        subprocess.run(command, check=True, cwd=self.out, env=environment)  # noqa: S603 - our own commands

    def job(self, words, name, content, *options):
        self.write(name, content)
        self.run(*words, f"{name}.yaml", "--out", name, *options)


def data(classes):
    return {"train": {"folder": "photos/train"}, "test": {"folder": "photos/test"}, "only": classes}


def first(learner):
    return {**learner, "data": data(BEGIN), "scenario": {"first": 3, "per_task": 3, "class_order": BEGIN}}


def further(learner, run):
    return {
        **learner,
        "data": data(BEGIN + LATER),
        "scenario": {"first": 2, "per_task": 2, "class_order": LATER},
        "continue_from": run,
        "forgotten": "drop",
        "watch": {"folder": f"photos/{run}"},
    }


def request(learner, number, how):
    return {
        "model": {"learner": learner},
        "data": {
            "forget": {"folder": f"photos/request-{number}"},
            "train": {"folder": "photos/train"},
            "test": {"folder": "photos/test"},
        },
        "request": {"id": str(number), "received": "2026-11-02"},
        **how,
    }


def live(out):
    life = Life(out)
    learn, unlearn = ("learn", "classes"), ("unlearn", "classifier")
    life.run("ledger", "init", "life")
    life.run("ledger", "make-key", "auditor.key")
    life.run("ledger", "key", "life", "auditor.pub")

    life.job(learn, "frozen", first(SUMS), "--ledger", "life")
    life.job(unlearn, "request-1", request("frozen", 1, {"method": "exact"}))
    receipts = ("--records", "photos/request-1", "--receipts", "receipts-1")
    life.run("ledger", "add", "life", "request-1", *receipts)
    life.run("audit", "classifier", "request-1", "--against", "photos/left")
    life.run("ledger", "add", "life", "request-1", "--audit", key="auditor.key")
    life.job(learn, "frozen-later", further(SUMS, "request-1"), "--ledger", "life")

    life.job(learn, "trained", first(TRAINED))
    life.run("ledger", "add", "life", "trained", "--branch", "trained")
    life.job(unlearn, "request-2", request("trained", 2, {"preset": "recommended"}))
    life.run("ledger", "add", "life", "request-2", "--branch", "trained")
    life.run("audit", "classifier", "request-2")
    life.run("ledger", "add", "life", "request-2", "--audit", "--branch", "trained", key="auditor.key")
    life.job(learn, "trained-later", further(TRAINED, "request-2"))
    life.run("ledger", "add", "life", "trained-later", "--branch", "trained")

    photo = sorted((out / "photos" / "request-1").glob("*/*.png"))[0].relative_to(out / "photos" / "request-1")
    shutil.copy(out / "photos" / "request-1" / photo, out / "mine.png")
    life.run("ledger", "destroy", "life", "frozen", "trained", "photos/request-1", "photos/request-2")
    life.run("ledger", "log", "life", "--html", "life.html")
    life.run("ledger", "certificate", "life", "2", "--out", "request-1.html")
    shutil.copy(out / "life" / "keys" / "operator.pub", out / "operator.pub")
    keys = ("--key", "operator.pub", "--key", "auditor.pub")
    proof = ("--record", "mine.png", "--receipt", f"receipts-1/{photo}.receipt.json")
    life.run("ledger", "verify", "life", *keys, "--model", "trained-later", *proof)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder, which must not exist")
    out = parser.parse_args().out.resolve()
    if out.exists():
        parser.error(f"{out}: exists already")
    make_photos(out)
    live(out)


if __name__ == "__main__":
    main()
