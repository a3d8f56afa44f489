"""The command line from tests: in this process, killed while it works, and in two processes."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file

from myosotis.models.image_classifier import ClassifierSpec, build_classifier

CLASSES = ("ash", "birch", "cedar", "elm", "fir", "hazel")


@pytest.fixture(scope="session")
def environment():
    """The environment of commands that run in a process of their own."""
    return {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture(scope="session")
def result():
    """The result of a run."""

    def result(out):
        return json.loads((out / "result.json").read_text())

    return result


@pytest.fixture(scope="session")
def person_rows():
    """Rows of a file of records about fictitious people."""

    def rows(people, count=5):
        return [
            {
                "prompt": record.prompt,
                "response": record.response,
                "facts": list(record.facts),
                "subject": record.subject,
                "paraphrases": list(record.paraphrases),
            }
            for person in people
            for record in person.records()[:count]
        ]

    return rows


@pytest.fixture(scope="session")
def killed_at(environment):
    """Run a command in a process of its own and kill it as soon as a path, or one that fits its wildcard, exists."""

    def killed_at(path, *arguments):
        command = [sys.executable, "-m", "myosotis", *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
        deadline = time.monotonic() + 120
        while not any(path.parent.glob(path.name)) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    return killed_at


@pytest.fixture(scope="session")
def in_two_processes(environment):
    """Run a command in two processes that share its work; the output is for a failed assertion."""

    def in_two_processes(*arguments):
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        command = [*launcher, "-m", "myosotis", *map(str, arguments)]
        # Now and then gloo aborts a process that leaves while its peer still talks; the work is done by then.
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)

    return in_two_processes


@pytest.fixture(scope="session")
def write_jsonl():
    """Write rows as JSON lines."""

    def write_jsonl(path, items):
        path.write_text("".join(json.dumps(item) + "\n" for item in items))

    return write_jsonl


def _write_classes(folder, count, seed, classes=CLASSES):
    """Grey photos of 8 x 8 pixels in a folder for each class, which has a pattern of its own under noise."""
    patterns = np.random.default_rng(5).integers(0, 200, (len(CLASSES), 8, 8))
    noise = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = (patterns[label] + noise.integers(0, 55, (8, 8))).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:02d}.png")


@pytest.fixture(scope="session")
def write_classes():
    """Write photos into a folder for each class."""
    return _write_classes


STREAM_BODY = {"widths": [4, 8], "blocks": [1, 1]}
WITH_EXEMPLARS = ("er", "icarl", "wa", "bic", "dark_er", "lucir", "podnet", "der_expand", "foster")


@pytest.fixture(scope="session")
def stream_world(tmp_path_factory):
    """A directory with a few images of six classes, and weights of a body."""
    folder = tmp_path_factory.mktemp("stream-world")
    _write_classes(folder / "train", 8, 1)
    _write_classes(folder / "test", 4, 2)
    body = build_classifier(ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.25,), STREAM_BODY), seed=3).classifier
    save_file(body.state_dict(), folder / "body.safetensors")
    return folder


@pytest.fixture(scope="session")
def stream_job():
    """A job that learns classes of a stream by a method, in this order, two at a time."""

    def stream_job(world, method, classes, **changes):
        content = {
            "job": "learn-classes",
            "name": "stream",
            "data": {"train": {"folder": str(world / "train")}, "test": {"folder": str(world / "test")}},
            "scenario": {"first": 2, "per_task": 2, "class_order": list(classes)},
            "model": {"architecture": "small-resnet", "options": STREAM_BODY, "mean": [0.5], "std": [0.25]},
            "method": {"name": method},
            "training": {"epochs": 2, "batch_size": 8, "learning_rate": 0.05},
        }
        if method in WITH_EXEMPLARS:
            content["memory"] = {"total": 12}
        if method == "dark_er":
            content["training"]["memory_batch_size"] = 4
        if method == "ranpac":
            content["method"]["projection"] = 20
            content["model"]["weights"] = str(world / "body.safetensors")
            del content["training"]
        for key, value in changes.items():
            if value is None:
                content.pop(key, None)
            else:
                content[key] = {**content[key], **value} if isinstance(content.get(key), dict) else value
        return content

    return stream_job


@pytest.fixture(scope="module")
def class_world(tmp_path_factory):
    """A directory with images of six classes and a job that learns them."""
    folder = tmp_path_factory.mktemp("stream")
    _write_classes(folder / "train", 12, 0)
    _write_classes(folder / "test", 6, 1)
    config = {
        "job": "learn-classes",
        "name": "tiny",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "scenario": {"first": 2, "per_task": 2},
        "model": {"options": {"widths": [8, 8], "blocks": [1, 1], "stem_stride": 2}},
        "method": {"name": "ssil"},
        "norm": "tbbn",
        "memory": {"total": 12},
        "training": {"epochs": 4, "batch_size": 8, "memory_batch_size": 2, "learning_rate": 0.05},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def learn_classes(invoke):
    """Run the job of a world of classes."""

    def learn_classes(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *options)

    return learn_classes
