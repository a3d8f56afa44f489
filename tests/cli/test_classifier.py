"""`unlearn-classifier` and `audit classifier`, end to end on tiny images."""

import datetime
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from myosotis.engine.config import load_config
from myosotis.engine.run import Run
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, load_classifier, save_classifier
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.report_verdict import next_steps
from myosotis.unlearning.classifier.job.result import ClassifierResult

CLASSES = ("ash", "birch", "cedar")


def picture(label, stream):
    """Noise with a bright quarter that tells the class."""
    pixels = torch.randint(0, 200, (8, 8), generator=stream, dtype=torch.uint8)
    row, column = divmod(label, 2)
    pixels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 55
    return Image.fromarray(pixels.numpy())


def write_folder(place, count, seed):
    stream = torch.Generator().manual_seed(seed)
    for label, name in enumerate(CLASSES):
        (place / name).mkdir(parents=True)
        for number in range(count):
            picture(label, stream).save(place / name / f"{number:02d}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory with images and a configuration."""
    folder = tmp_path_factory.mktemp("world")
    write_folder(folder / "train", 16, 0)
    write_folder(folder / "test", 8, 1)
    config = {
        "job": "unlearn-classifier",
        "name": "tiny",
        "model": {"architecture": "small-resnet", "options": {"widths": [8, 8], "blocks": [1, 1]}},
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}, "forget": {"count": 4}},
        "train": {"epochs": 6, "batch_size": 16},
        "reference": "retrain",
        "method": {"name": "adv_imp", "eps": 0.5, "step_size": 0.2, "steps": 4, "copies": 3, "forget_loss": "margin"},
        "training": {"batch_size": 8, "epochs": 20, "learning_rate": 0.01},
        "audit": {"relearning": {"steps": 3}},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def unlearn(invoke):
    def unlearn(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *options)

    return unlearn


def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory, unlearn):
    """A finished run that compares methods, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    compare = "compare=[{method: {name: neggrad}}, {method: {name: relabel}, goal: relabel}, {method: {name: ssd}}]"
    outcome = unlearn(world, out, "--set", compare, "--set", "audit.shadow=3")
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_every_no_and_every_undecided_of_photos_has_a_next_step(finished):
    out, _ = finished
    run = Run.read(out)
    outcome, config = run.result_as(ClassifierResult), run.settings()
    whole = {"known": True, "forgotten": True, "kept": True, "as_unseen": True, "over_forgotten": False}

    def next_settings(changed=(), **answers):
        verdict = outcome.verdict.model_copy(update={**whole, **answers})
        unlearning = outcome.unlearning.model_copy(update={"stop_reason": "epochs"})
        changes = {"verdict": verdict, "unlearning": unlearning}
        return [own.settings for own in next_steps(outcome.model_copy(update=changes), config | dict(changed))]

    assert next_settings() == []
    assert next_settings({"reference": None}, known=None) == [["reference=retrain"]]
    assert next_settings(known=None) == [[]]
    assert next_settings(forgotten=False) == [["training.epochs=40"]]
    assert next_settings({"reference": None}, forgotten=None) == [["reference=retrain"]]
    for answer in ({"kept": False}, {"as_unseen": False}, {"over_forgotten": True}):
        assert next_settings(**answer) == [()]
    assert next_settings({"preset": "as_unseen"}, kept=False) == [()]
    assert next_settings(kept=None) == [()]
    for settings in ("training.epochs=40", "reference=retrain"):
        load_config(out / "config.yaml", ClassifierUnlearningConfig, [settings])


def test_what_a_run_leaves(finished, world):
    out, outcome = finished
    found = result(out)
    assert found["kind"] == "unlearn-classifier"
    assert found["schema_version"] == 4
    assert set(found["metrics"]) == {"before", "after", "reference"}
    assert found["images"]["forget"] == 4
    assert found["images"]["remaining"] == 44
    assert sum(found["images"]["by_class"].values()) == 4
    instances = found["unlearning"]["instances"]
    assert [one["fingerprint"] for one in instances] == found["lineage"]["data"]["forget"]
    accuracy = sum(one["answer_after"] == one["label"] for one in instances) / 4
    assert accuracy == found["metrics"]["after"]["forget"]["accuracy"]["mean"]
    assert found["unlearning"]["converged"]
    # Four images of a model that hardly remembers any: the test is about to show it, or not.
    verdict = found["verdict"]
    assert (verdict["known"] is True) == (verdict["control"]["p_value"] <= 0.05)
    assert (verdict["reasons"].get("forgotten") == "not_known") == (verdict["known"] is not True)
    assert found["images"]["audited"] == {"forget": 4, "remaining": 33, "held_remaining": 11, "test": 24}
    assert {row["name"] for row in found["verdict"]["keeping"]} == {"remaining", "held_remaining", "test"}
    assert found["verdict"]["control"]["against_of"] == "the same on test images of the same classes"
    assert [row["name"] for row in found["verdict"]["forgetting"]] == ["copies_log_odds"]
    assert found["verdict"]["worst_kept"]["subject"] in CLASSES
    assert [one["method"] for one in found["variants"]] == ["neggrad", "relabel", "ssd"]
    assert found["shadow"]["pairs"] == 3
    assert found["shadow"]["u_lira"]["trials"] == 3 * 4 * 2
    assert set(found["stress"]["copies"]) == {"before", "after", "reference"}
    assert len(found["stress"]["relearning"]["curves"]["after"]) == 4
    assert set(found["cka"]["similarity"]) == {"forget", "remaining", "held_remaining", "test"}
    assert found["cost"]["share_of_retraining"] > 0
    method = yaml.safe_load((out / "config.yaml").read_text())["method"]
    assert (method["strength"], method["norm"], method["hold"]) == (1.0, "l2", "target")
    model, spec = load_classifier(out / "model")
    assert spec.classes == CLASSES
    assert not model.training
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events] == list(range(1, found["unlearning"]["steps"] + 1))
    assert set(events[0]) >= {"forget", "adversarial", "importance", "forget_accuracy"}
    page = (out / "report.html").read_text()
    for title in ("Is it forgotten?", "Methods side by side", "U-LiRA", "Stress", "What this does not show"):
        assert title in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Is the rest kept?" in outcome.output
    assert not (out / "checkpoints" / "target").exists()


def test_no_image_unless_asked_for(finished, world, tmp_path, unlearn):
    out, _ = finished
    assert not (out / "samples.json").exists()
    assert "data:image/png" not in (out / "report.html").read_text()
    outcome = unlearn(world, tmp_path / "shown", "--show-samples", "--set", "reference=null")
    assert outcome.exit_code == 0, outcome.output
    assert len(json.loads((tmp_path / "shown" / "samples.json").read_text())) == 4
    assert (tmp_path / "shown" / "report.html").read_text().count("data:image/png") == 4


def test_equal_jobs_give_equal_models(finished, world, tmp_path, unlearn):
    assert unlearn(world, tmp_path / "again").exit_code == 0
    one, other = result(finished[0]), result(tmp_path / "again")
    assert one["lineage"]["model_out"] == other["lineage"]["model_out"]
    assert one["metrics"] == other["metrics"]
    assert one["lineage"]["data"]["forget"] != other["lineage"]["data"]["forget"]


def test_audit_again(finished, tmp_path, invoke):
    out, _ = finished
    outcome = invoke("audit", "classifier", out, "--shadow", 4)
    assert outcome.exit_code == 0, outcome.output
    found = json.loads((out / "audit.json").read_text())
    assert found["model_matches"]
    assert found["data_matches"]
    assert found["reproduced"]
    assert found["shadow"]["pairs"] == 4
    assert outcome.output.count("shadow pair") == 1


def test_an_audit_sees_another_model(world, tmp_path, invoke, unlearn):
    out = tmp_path / "run"
    assert unlearn(world, out, "--set", "audit.cka=false").exit_code == 0
    model, spec = load_classifier(out / "model")
    with torch.no_grad():
        model.classifier.head.bias[0] += 10
    save_classifier(model, spec, out / "model")
    outcome = invoke("audit", "classifier", out)
    assert outcome.exit_code == 1
    assert not json.loads((out / "audit.json").read_text())["model_matches"]


def test_requests_in_sequence(world, tmp_path, invoke, unlearn):
    out = tmp_path / "sequence"
    outcome = unlearn(world, out, "--set", "requests=2", "--set", "reference=null", "--set", "stop.margin=0.1")
    assert outcome.exit_code == 0, outcome.output
    found = result(out)["unlearning"]
    assert [len(one["forget_accuracy"]) for one in found["requests"]] == [1, 2]
    assert sum(one["instances"] for one in found["requests"]) == 4 == len(found["instances"])
    accuracy = sum(one["answer_after"] == one["label"] for one in found["instances"]) / 4
    assert accuracy == result(out)["metrics"]["after"]["forget"]["accuracy"]["mean"]
    assert "Requests one after another" in (out / "report.html").read_text()
    refused = invoke("audit", "classifier", out, "--shadow", 3)
    assert refused.exit_code == 2
    assert "cannot repeat several requests" in refused.stderr
    assert not (out / "audit.json").exists()
    replayed = tmp_path / "replayed"
    assert unlearn(world, replayed, "--set", "requests=2", "--set", "replay=true").exit_code == 0
    found = result(replayed)["unlearning"]
    assert [one["instances"] for one in found["requests"]] == [2, 4]
    assert len(found["instances"]) == 4


def test_several_lists_are_requests_in_sequence(world, tmp_path, unlearn):
    (world / "first.txt").write_text("ash/00.png\nbirch/01.png\n")
    (world / "second.txt").write_text("cedar/02.png\n")
    options = ["--set", "data.forget={list: [first.txt, second.txt]}", "--set", "reference=null"]
    outcome = unlearn(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")["unlearning"]
    assert [one["instances"] for one in found["requests"]] == [2, 1]
    assert [one["label"] for one in found["instances"]] == [0, 1, 2]
    (world / "second.txt").write_text("ash/00.png\n")
    outcome = unlearn(world, tmp_path / "other", *options)
    assert outcome.exit_code == 2
    assert "two lists name ash/00.png" in outcome.stderr


def test_training_that_diverges_is_said_to(world, tmp_path, unlearn):
    outcome = unlearn(world, tmp_path / "run", "--set", "train.learning_rate=1e9")
    assert outcome.exit_code == 1
    assert "lower train.learning_rate" in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "checkpoints" / "target").exists()


def test_half_precision_and_a_method_of_its_own_precision(world, tmp_path, unlearn):
    outcome = unlearn(world, tmp_path / "run", "--set", "train.precision=bf16", "--set", "reference=null")
    assert outcome.exit_code == 0, outcome.output


def test_a_single_photo_cannot_be_judged(world, tmp_path, unlearn):
    outcome = unlearn(world, tmp_path / "run", "--set", "data.forget.count=1", "--set", "reference=null")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "run" / "report.html").read_text()
    verdict = page[page.index("Is it as if it had never been seen?") :]
    assert not verdict[: verdict.index("</div>")].count("Yes")


def test_a_stop_at_the_reference(world, tmp_path, unlearn):
    options = ["--set", "stop.at=reference", "--set", "method={name: neggrad}"]
    assert unlearn(world, tmp_path / "run", *options).exit_code == 0
    found = result(tmp_path / "run")
    assert found["unlearning"]["stop_reason"] == "reference"
    before, after, level = (
        found["metrics"][name]["forget"]["accuracy"]["mean"] for name in ("before", "after", "reference")
    )
    assert after <= level + 0.2 * (before - level) < before
    assert [row["name"] for row in found["verdict"]["forgetting"]] == ["forget_accuracy", "copies_log_odds"]


def test_photos_are_answered_as_unseen(finished, world, tmp_path, unlearn):
    options = ("--set", "goal=as_unseen", "--set", "method={name: ignorant_teacher, teacher_steps: 2}")
    outcome = unlearn(world, tmp_path / "run", *options, "--set", "training.max_steps=2")
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "run")["verdict"]["by_goal"] is False
    caution = "is not a model that never saw it"
    pages = [(run / "report.html").read_text() for run in (finished[0], tmp_path / "run")]
    assert [caution in page for page in pages] == [True, False]


def test_with_nothing_but_the_model_and_the_photos(finished, world, tmp_path, unlearn):
    photos = tmp_path / "photos" / "birch"
    photos.mkdir(parents=True)
    for name in ("00.png", "01.png"):
        (photos / name).write_bytes((world / "train" / "birch" / name).read_bytes())
    job = {
        "job": "unlearn-classifier",
        "name": "photos",
        "model": {"path": str(finished[0] / "model")},
        "data": {"forget": {"folder": "photos"}},
        "goal": "relabel",
        "method": {"name": "relabel"},
        "training": {"epochs": 50, "learning_rate": 0.01},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    outcome = unlearn(tmp_path, tmp_path / "run")
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")
    assert all(one["label"] == 1 for one in found["unlearning"]["instances"])
    assert found["verdict"]["kept"] is None
    assert {name for name, figures in found["metrics"]["after"].items() if figures} == {"forget"}
    assert "no images that the unlearning did not train on" in outcome.output


@pytest.mark.processes
def test_two_processes_unlearn_as_one(finished, world, tmp_path, unlearn):
    out, _ = finished
    options = ["--set", f"model={{path: {out / 'model'}}}", "--set", "train=null", "--set", "reference=null"]
    options += ["--set", "goal=relabel", "--set", "method.hold=outputs", "--set", "seed=3"]
    outcome = unlearn(world, tmp_path / "one", *options)
    assert outcome.exit_code == 0, outcome.output
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += [
        "-m",
        "myosotis",
        "run",
        str(world / "job.yaml"),
        "--out",
        str(tmp_path / "two"),
        *options,
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    one, two = result(tmp_path / "one"), result(tmp_path / "two")
    assert one["unlearning"]["steps"] == two["unlearning"]["steps"] > 0
    # The number of threads decides how sums are rounded.
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)


def test_nothing_but_photos_and_weights_whose_classes_are_named(finished, world, tmp_path, invoke):
    out, _ = finished
    _, spec = load_classifier(out / "model")
    (tmp_path / "photos").mkdir()
    write_folder(tmp_path / "photos", 2, 7)
    config = {
        "job": "unlearn-classifier",
        "name": "plain",
        "model": {
            "architecture": "small-resnet", "options": spec.options,
            "weights": str(out / "model" / "model.safetensors"),
            "mean": list(spec.mean), "std": list(spec.std), "classes": list(spec.classes),
        },
        "data": {"forget": {"folder": "photos"}},
        "preset": "recommended",
        "training": {"max_steps": 3},
        "request": {"received": datetime.date(2026, 11, 1), "deadline": datetime.date(2026, 12, 1)},
        "audit": {"relearning": None},
    }  # fmt: skip
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    job = ("run", tmp_path / "job.yaml", "--out", tmp_path / "run")
    outcome = invoke(*job)
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")
    assert found["classes"] == list(spec.classes)
    assert found["request"]["received"] == "2026-11-01"
    assert found["unlearning"]["steps"] <= 3
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["preset_changes"] == ["training.max_steps"]
    assert (written["training"]["max_steps"], written["training"]["epochs"]) == (3, 300)
    # What was written says the same when it is read again.
    assert "is already finished" in invoke(*job, "--resume").output
    again = load_config(tmp_path / "run" / "config.yaml", ClassifierUnlearningConfig)
    assert again.model_dump(mode="json") == written


def test_photos_of_the_training_set_are_not_what_remains(world, tmp_path, unlearn):
    photos = world / "photos" / "ash"
    photos.mkdir(parents=True, exist_ok=True)
    (photos / "mine.png").write_bytes((world / "train" / "ash" / "03.png").read_bytes())
    outcome = unlearn(world, tmp_path / "run", "--set", "data.forget={folder: photos}", "--set", "audit.cka=false")
    assert outcome.exit_code == 0, outcome.output
    images = result(tmp_path / "run")["images"]
    assert images["remaining"] == 47
    assert images["duplicates"]["same"] == 0


def test_new_labels_from_a_file(world, tmp_path, unlearn):
    (world / "list.txt").write_text("ash/00.png\nbirch/01.png  # asked by letter\n")
    (world / "labels.tsv").write_text("ash/00.png\tcedar\nbirch/01.png\tash\n")
    options = ["--set", "data.forget={list: list.txt}", "--set", "goal=relabel", "--set", "new_labels=labels.tsv"]
    outcome = unlearn(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    assert [one["new_label"] for one in result(tmp_path / "run")["unlearning"]["instances"]] == [2, 0]


def test_reports_again_and_side_by_side(finished, world, tmp_path, invoke, unlearn):
    out, _ = finished
    page = (out / "report.html").read_text()
    assert invoke("report", out).exit_code == 0
    assert (out / "report.html").read_text() == page
    other = tmp_path / "relabelled"
    assert unlearn(world, other, "--set", "goal=relabel", "--set", "name=relabelled").exit_code == 0
    assert invoke("report", out, other, "--out", tmp_path / "both.html").exit_code == 0
    page = (tmp_path / "both.html").read_text()
    assert "goal" in page
    assert page.count("How sure are we?</h3>") == 2


WEIGHTS = (
    "train=null",
    "reference=null",
    "model.options={widths: [8], blocks: [1]}",
    "model.mean=[0.5]",
    "model.std=[0.5]",
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.forget={count: 48}"], "the training set has 48 images"),
        (["data.forget={list: missing.txt}"], "no such instance list"),
        (["data.forget={list: wrong.txt}"], "line 2: no such image: ash/99.png"),
        (["data.forget={list: empty.txt}"], "names no image"),
        (["data.forget={folder: stranger}"], "the model has no class 'yew'"),
        (["data.forget={folder: large}"], "give a size"),
        (["data.train={folder: nowhere}"], "no such folder"),
        (["data.train={folder: train, size: 0}"], "greater than or equal to 1"),
        (["goal=relabel", "method={name: neggrad}"], "does not support the goal 'relabel'"),
        (["method.strenght=1"], "did you mean 'strength'?"),
        (["method.name=avd"], "did you mean 'adv'?"),
        (["model.architecture=small-resnett"], "did you mean 'small-resnet'?"),
        (["model.options={width: [8]}"], "architecture 'small-resnet'"),
        (["goal=relabel", "new_labels=own.tsv", "data.forget={list: right.txt}"], "line 1: ash is the true class"),
        (["goal=relabel", "new_labels=part.tsv", "data.forget={list: right.txt}"], "no new label for birch/01.png"),
        (["new_labels=own.tsv"], "'new_labels' has no effect"),
        (["new_labels=random"], "'new_labels' has no effect"),
        (["train=null"], "the model has no weights"),
        (["model={path: damaged}", "train=null", "reference=null"], "does not describe a classifier"),
        (["model={path: other}", "train=null", "reference=null"], "the model has no class"),
        (
            ["model={path: nan}", "train=null", "reference=null"],
            "1 of its weights hold infinity or NaN, classifier.stem",
        ),
        (["model={path: wide}", "train=null", "reference=null"], "takes images with 3 channels, these have 1"),
        (["model.weights=w.safetensors", "train=null", "reference=null"], "'model.mean' and 'model.std' are missing"),
        (["stop.at=reference", "reference=null"], "needs a 'reference'"),
        (["audit.shadow=2"], "at least 3"),
        (["audit.confidence=0.01"], "greater than or equal to 0.9"),
        (["audit.margin=0.6"], "less than or equal to 0.5"),
        (["requests=9"], "more 'requests' than instances"),
        (["requests=3", "data.forget={list: right.txt}"], "but only 2 images are to be forgotten"),
        (["requests=1"], "greater than or equal to 2"),
        (["preset=l2ul"], "unknown preset 'l2ul'"),
        (["preset=l2ul_official", "method={name: neggrad}"], "sets the method 'adv_imp'; leave out 'preset'"),
        (["model={path: nowhere}", "train=null", "reference=null"], "nowhere: no such directory"),
        (["model={path: right.txt}", "train=null", "reference=null"], "right.txt: is a file; expected a directory"),
        (["model={path: outer}", "train=null", "reference=null"], "outer/model?"),
        ([*WEIGHTS, "model.weights=torch.pt"], "torch.pt: its weights cannot be loaded"),
        ([*WEIGHTS, "model.weights=none.safetensors"], "none.safetensors: no such file of weights"),
        (
            [
                *WEIGHTS,
                "model.weights=other/model.safetensors",
                "model.classes=[ash, birch, cedar, yew]",
                "data.forget={folder: photos}",
                "data.train=null",
                "data.test=null",
            ],
            "the weights are of 3 classes, but 4 are named",
        ),
        (
            [
                *WEIGHTS,
                "model.weights=other/model.safetensors",
                "data.forget={folder: photos}",
                "data.train=null",
                "data.test=null",
            ],
            "name them in model.classes, in the order of the model's outputs",
        ),
        (["model.classes=[ash, ash]"], "'classes' names 'ash' twice"),
        (
            ["model={path: other, classes: [a, b]}", "train=null"],
            "'path' holds the whole description; leave out classes",
        ),
        (["training.lr=0.1"], "unknown key 'training.lr'"),
        (["audit.shadow=3", "data.test=null"], "and 'data.test'"),
        (["audit.shadow=3", "stop.at=reference"], "none of them has a reference"),
        (["requests=2", "compare=[{method: {name: neggrad}}]"], "several requests exclude"),
        (["goal=relabel", "method={name: scrub}"], "does not support the goal 'relabel'"),
        (["reference=turned"], "in this order"),
        (["data.forget={list: all.txt}"], "nothing remains"),
        (["data.forget={list: latin.txt}"], "not a text file in UTF-8"),
        (["model.options={widths: [8], blocks: [1, 1]}"], "architecture 'small-resnet'"),
        (["compare=[{method: {name: neggrad}}, {method: {name: neggrad}}]"], "have the same name"),
    ],
)
def test_bad_input_is_one_line_and_status_two_and_changes_nothing(options, message, world, tmp_path, unlearn):
    (world / "wrong.txt").write_text("ash/00.png\nash/99.png\n")
    (world / "right.txt").write_text("ash/00.png\nbirch/01.png\n")
    (world / "empty.txt").write_text("# nobody\n")
    (world / "own.tsv").write_text("ash/00.png\tash\n")
    (world / "part.tsv").write_text("ash/00.png\tbirch\n")
    for name, label, side in (("stranger", "yew", 8), ("large", "ash", 9)):
        (world / name / label).mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side)).save(world / name / label / "0.png")
    (world / "damaged").mkdir(exist_ok=True)
    (world / "damaged" / "classifier.json").write_text("{}")
    small = {"widths": [8], "blocks": [1]}
    (world / "all.txt").write_text("".join(f"{c}/{number:02d}.png\n" for c in CLASSES for number in range(16)))
    (world / "latin.txt").write_bytes("ash/é.png\n".encode("latin-1"))
    for name, classes, channels in (("other", ("x", "y", "z"), 1), ("wide", CLASSES, 3), ("turned", CLASSES[::-1], 1)):
        spec = ClassifierSpec("small-resnet", 3, channels, (0.5,) * channels, (0.5,) * channels, small, classes)
        save_classifier(build_classifier(spec, seed=0), spec, world / name)
    (world / "torch.pt").write_bytes(b"PK" + bytes(300))
    write_folder(world / "photos", 1, 5) if not (world / "photos").exists() else None
    spec = ClassifierSpec("small-resnet", 3, 1, (0.5,), (0.5,), small, CLASSES)
    save_classifier(build_classifier(spec, seed=0), spec, world / "outer" / "model")
    broken = build_classifier(spec, seed=0)
    next(broken.parameters()).data.view(-1)[0] = torch.nan
    save_classifier(broken, spec, world / "nan")
    before = sorted(path for path in world.rglob("*"))
    outcome = unlearn(world, tmp_path / "run", *(part for option in options for part in ("--set", option)))
    assert outcome.exit_code == 2, outcome.output
    lines = [line for line in outcome.stderr.splitlines() if not line.startswith("images:")]
    assert len(lines) == 1, outcome.stderr
    assert message in lines[0]
    assert not (tmp_path / "run").exists()
    assert sorted(path for path in world.rglob("*")) == before


def test_a_run_does_not_go_on_with_other_images(world, tmp_path, unlearn):
    out = tmp_path / "run"
    assert unlearn(world, out, "--set", "reference=null").exit_code == 0
    (out / "result.json").unlink()
    extra = world / "test" / "ash" / "zz.png"
    Image.new("L", (8, 8)).save(extra)
    try:
        outcome = unlearn(world, out, "--set", "reference=null", "--resume")
    finally:
        extra.unlink()
    assert outcome.exit_code == 2
    assert "other input: test changed since" in outcome.stderr


@pytest.mark.processes
@pytest.mark.parametrize("kill_at", ["checkpoints/train-target/step-6", "checkpoints/unlearned"])
def test_a_killed_run_resumes_to_the_same_weights(kill_at, finished, world, tmp_path, unlearn):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "myosotis", "run", str(world / "job.yaml"), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / kill_at).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    outcome = unlearn(world, out, "--resume")
    assert outcome.exit_code == 0, outcome.output
    whole, resumed = result(finished[0]), result(out)
    assert resumed["metrics"] == whole["metrics"]
    one, other = (load_file(place / "model" / "model.safetensors") for place in (finished[0], out))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    steps = [json.loads(line)["step"] for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, resumed["unlearning"]["steps"] + 1))
