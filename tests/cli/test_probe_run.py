"""`myosotis probe`, end to end on tiny images."""

import json

import numpy as np
import pytest
from PIL import Image

from myosotis.continual.classification.saved import load_learner
from myosotis.engine.fingerprint import weights_hash


@pytest.fixture(scope="module")
def probed(class_world, tmp_path_factory, invoke, learn_classes, settings):
    """A run of experience replay and one of fine-tuning, both with their learners, the latter probed."""
    place = tmp_path_factory.mktemp("probed")
    kept = settings("keep_learners=true", "norm=bn", "training.memory_batch_size=null", "training.epochs=6")
    assert learn_classes(class_world, place / "er", *kept, *settings("method=er")).exit_code == 0
    assert (
        learn_classes(class_world, place / "naive", *kept, *settings("method=finetune", "memory.total=0")).exit_code
        == 0
    )
    outcome = invoke("probe", place / "naive")
    assert outcome.exit_code == 0, outcome.output
    return place


def other_data(place):
    for split, count in (("train", 6), ("test", 3)):
        for label, name in enumerate(("moon", "sun")):
            (place / split / name).mkdir(parents=True)
            for number in range(count):
                pixels = np.full((8, 8), 60 + 120 * label + number, np.uint8)
                Image.fromarray(pixels).save(place / split / name / f"{number}.png")


def test_what_a_probe_leaves(probed, tmp_path, invoke):
    other_data(tmp_path / "sky")
    before = {path.name for path in (probed / "er").iterdir()}
    outcome = invoke("probe", probed / "er", "--naive", probed / "naive", "--downstream", tmp_path / "sky")
    assert outcome.exit_code == 0, outcome.output
    assert {path.name for path in (probed / "er").iterdir()} - before == {"probe.json", "probe.html"}
    found = json.loads((probed / "er" / "probe.json").read_text())
    naive = json.loads((probed / "naive" / "probe.json").read_text())
    result = json.loads((probed / "er" / "result.json").read_text())
    assert found["unchanged"]
    assert len(found["probe_seen"]) == len(found["knn_seen"]) == 3
    assert [len(row) for row in found["probe_task"]] == [3, 3, 3]
    assert found["net_of_naive"] == pytest.approx(found["gain"] - naive["gain"])
    gaps = [probe - own for probe, own in zip(found["probe_seen"], result["metrics"]["accuracy_curve"], strict=True)]
    assert found["head_gap"] == pytest.approx(gaps)
    assert found["downstream"] == {"sky": found["downstream_mean"]}
    assert found["downstream_mean"][-1] > 0.9
    assert len(set(found["encoders"])) == 3
    learner, spec = load_learner(probed / "er" / "learners" / "task-2")
    assert spec.sizes == (2, 2)
    assert weights_hash(learner.net) == found["encoders"][1]
    assert -1 <= found["head_to_probe"][-1] <= 1
    page = (probed / "er" / "probe.html").read_text()
    for text in (
        "Has the representation improved since the first task?",
        "Does the head lose accuracy?",
        "above plain fine-tuning",
    ):
        assert text in page


def test_equal_probes_and_balanced_ones(probed, invoke):
    assert invoke("probe", probed / "naive").exit_code == 0
    first = (probed / "naive" / "probe.json").read_text()
    assert invoke("probe", probed / "naive").exit_code == 0
    assert (probed / "naive" / "probe.json").read_text() == first
    outcome = invoke("probe", probed / "er", "--mode", "balanced", "--per-class", 5)
    assert outcome.exit_code == 0, outcome.output
    found = json.loads((probed / "er" / "probe.json").read_text())
    assert (found["mode"], found["per_class"]) == ("balanced", 5)
    assert found["net_of_naive"] is None


def test_what_cannot_be_probed(class_world, probed, tmp_path, invoke, learn_classes):
    assert learn_classes(class_world, tmp_path / "plain").exit_code == 0
    other_data(tmp_path / "sky")
    (tmp_path / "sky" / "train" / "sun").rename(tmp_path / "sky" / "train" / "ash")
    (tmp_path / "sky" / "test" / "sun").rename(tmp_path / "sky" / "test" / "ash")
    extra = class_world / "test" / "ash" / "zz.png"
    for arguments, message in (
        ([tmp_path / "plain"], "saved no learners"),
        ([tmp_path / "nothing"], "is not a run directory"),
        ([probed / "er", "--naive", tmp_path / "plain"], "was not probed yet"),
        ([probed / "er", "--naive", probed / "naive", "--mode", "balanced"], "was probed in mode 'full'"),
        ([probed / "er", "--downstream", tmp_path / "sky"], "shares the class ash with the run"),
        ([probed / "er", "--downstream", tmp_path / "none"], "no such folder"),
        ([probed / "er", "--mode", "balanced", "--per-class", 50], "samples, expected 50"),
    ):
        outcome = invoke("probe", *arguments)
        assert outcome.exit_code == 2, outcome.output
        assert message in outcome.stderr.splitlines()[-1]
    Image.new("L", (8, 8)).save(extra)
    try:
        outcome = invoke("probe", probed / "er")
    finally:
        extra.unlink()
    assert outcome.exit_code == 2
    assert "images have changed since" in outcome.stderr
