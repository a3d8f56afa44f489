"""`learn-classes`, end to end on tiny images."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.job import ClassLearningJob
from myosotis.continual.classification.saved import load_learner
from myosotis.continual.classification.training import predict
from myosotis.continual.stream import StreamTrainer
from myosotis.data.image_folders import read_image_folder
from myosotis.engine.artifact import read_weights
from myosotis.engine.config import load_config
from myosotis.engine.fingerprint import weights_hash

CLASSES = ("ash", "birch", "cedar", "elm", "fir", "hazel")


@pytest.fixture(scope="module")
def finished(class_world, tmp_path_factory, learn_classes):
    """A finished run, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = learn_classes(class_world, out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_what_a_run_leaves(finished, class_world, result):
    out, outcome = finished
    found = result(out)
    assert found["kind"] == "learn-classes"
    assert [len(classes) for classes in found["tasks"]] == [2, 2, 2]
    assert sorted(found["classes"]) == sorted(CLASSES)
    assert [len(row) for row in found["matrix"]] == [1, 2, 3]
    assert found["samples"]["test"] == [12, 12, 12]
    table = torch.tensor(found["confusion"])
    assert table.sum(dim=1).tolist() == [6] * 6
    assert table.diagonal().sum().item() / 36 == pytest.approx(found["metrics"]["final_accuracy"], abs=1e-6)
    interval = found["metrics"]["final_accuracy_interval"]
    assert interval["low"] < interval["mean"] < interval["high"]
    assert sum(found["metrics"]["errors"].values()) == pytest.approx(1 - found["metrics"]["final_accuracy"], abs=1e-6)
    assert found["cost"]["exemplars"] == 12
    assert found["cost"]["exemplar_bytes"] == 12 * 64
    # Four steps of eight in the first task, then four of six and two; four epochs of each.
    assert [one["steps"] for one in found["tasks_in_detail"]] == [12, 16, 16]
    assert found["cost"]["images"] == 8 * (12 + 16 + 16)
    method = yaml.safe_load((out / "config.yaml").read_text())["method"]
    assert method == {"name": "ssil", "weight": 1.0, "temperature": 2.0}
    learner, spec = load_learner(out / "model")
    test = read_image_folder(class_world / "test")
    answers = predict(learner, test.images, torch.arange(36)).argmax(1)
    names = [spec.backbone.classes[int(answer)] for answer in answers]
    right = sum(name == test.classes[int(label)] for name, label in zip(names, test.labels, strict=True))
    assert right / 36 == pytest.approx(found["metrics"]["final_accuracy"], abs=1e-6)
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    epochs = [(event["task"], event["epoch"]) for event in events if event["phase"] == "learn"]
    assert epochs == [(t, e) for t in range(3) for e in range(1, 5)]
    assert set(events[-2]) >= {"separated", "distillation"}
    ends = [event["accuracy"] for event in events if event["phase"] == "task"]
    assert ends == pytest.approx(found["metrics"]["accuracy_curve"], abs=1e-6)
    page = (out / "report.html").read_text()
    for title in ("Has it learnt?", "Has it kept?", "How sure are we?", "The accuracy matrix", "Four kinds of error"):
        assert title in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Has it kept?" in outcome.output
    assert not list((out / "checkpoints").glob("after-*"))
    assert not list((out / "checkpoints").glob("task-*"))


def test_what_was_learnt_can_be_unlearnt(finished, class_world, tmp_path, invoke):
    job = {
        "job": "unlearn-classifier",
        "name": "chain",
        "model": {"path": str(finished[0] / "model")},
        "data": {"train": {"folder": "train"}, "forget": {"count": 2}},
        "goal": "relabel",
        "method": {"name": "relabel"},
        "training": {"epochs": 30, "learning_rate": 0.01},
        "audit": {"cka": False},
    }
    (class_world / "unlearn.yaml").write_text(yaml.safe_dump(job))
    outcome = invoke("run", class_world / "unlearn.yaml", "--out", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.output


def test_equal_jobs_give_equal_models_and_seeds_do_not(finished, class_world, tmp_path, learn_classes, result):
    assert learn_classes(class_world, tmp_path / "again").exit_code == 0
    assert learn_classes(class_world, tmp_path / "other", "--set", "seed=1").exit_code == 0
    one, same, other = result(finished[0]), result(tmp_path / "again"), result(tmp_path / "other")
    assert one["lineage"]["model_out"] == same["lineage"]["model_out"]
    assert one["metrics"] == same["metrics"]
    assert one["classes"] != other["classes"]
    assert one["lineage"]["data"] != same["lineage"]["data"]  # salted


def test_runs_side_by_side(finished, class_world, tmp_path, invoke, learn_classes, settings):
    runs = [finished[0]]
    for seed, norm in ((1, "tbbn"), (0, "bn"), (1, "bn")):
        out = tmp_path / f"{norm}-{seed}"
        assert learn_classes(class_world, out, *settings(f"seed={seed}", f"norm={norm}")).exit_code == 0
        runs.append(out)
    outcome = invoke("report", *runs, "--out", tmp_path / "all.html")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "all.html").read_text()
    assert "4 runs in 2 groups" in page
    assert "(tbbn)" in page
    assert "Paired differences" in page
    assert "ahead of" in page
    twice = invoke("report", runs[0], runs[0], "--out", tmp_path / "twice.html")
    assert twice.exit_code == 2
    assert "has the same settings and seed as" in twice.stderr
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "old.html").write_text("kept")
    refused = invoke("report", *runs, "--out", tmp_path / "pages", "--overwrite")
    assert refused.exit_code == 2
    assert (tmp_path / "pages" / "old.html").read_text() == "kept"
    first = invoke("report", finished[0])
    assert first.exit_code == 0
    assert "Has it learnt?" in first.output


@pytest.mark.parametrize("name", ["icarl", "dark_er", "joint"])
def test_other_methods_by_their_name(name, class_world, tmp_path, learn_classes, result, settings):
    memory = f"memory={{total: {0 if name == 'joint' else 12}}}"
    batch = [] if name == "dark_er" else ["training.memory_batch_size=null"]
    outcome = learn_classes(class_world, tmp_path / "run", *settings(f"method={name}", "norm=bn", memory, *batch))
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "run")["method"] == name


def test_everything_else_that_may_be_set(class_world, tmp_path, learn_classes, result, settings):
    options = [
        "scenario.class_order=[fir, ash, elm, birch, cedar, hazel]",
        "scenario.validation=0.25",
        "data.limit=60",
        "data.test_limit=30",
        "training.padding=1",
        "training.flip=true",
        "training.schedule=step",
        "training.accumulate=2",
        "model.mean=[0.4]",
        "model.std=[0.2]",
        "norm={kind: gn, groups: 4}",
        "trackers=[tensorboard]",
        "checkpoint_every=2",
    ]
    out = tmp_path / "run"
    outcome = learn_classes(class_world, out, *settings(*options))
    assert outcome.exit_code == 0, outcome.output
    found = result(out)
    assert found["classes"] == ["fir", "ash", "elm", "birch", "cedar", "hazel"]
    assert sum(found["samples"]["train"]) + sum(found["samples"]["validation"]) == 60
    assert found["samples"]["test"] == [10, 10, 10]
    assert [len(row) for row in found["validation_matrix"]] == [1, 2, 3]
    assert list((out / "trackers").rglob("events*"))
    assert not (out / "model" / "classifier.json").exists()
    assert load_learner(out / "model")[1].norm.groups == 4


def test_unreadable_images_are_named_or_counted(class_world, tmp_path, learn_classes, result, settings):
    broken = class_world / "train" / "elm" / "zz.png"
    torn = class_world / "train" / "fir" / "zz.png"
    broken.write_bytes(b"no image")
    torn.write_bytes((class_world / "train" / "fir" / "00.png").read_bytes()[:60])
    try:
        outcome = learn_classes(class_world, tmp_path / "stopped")
        assert outcome.exit_code == 2
        assert "elm/zz.png: is not a readable image" in outcome.stderr.splitlines()[-1]
        broken.unlink()
        outcome = learn_classes(class_world, tmp_path / "stopped")
        assert outcome.exit_code == 2
        assert "fir/zz.png: is not a readable image" in outcome.stderr.splitlines()[-1]
        broken.write_bytes(b"no image")
        outcome = learn_classes(class_world, tmp_path / "run", *settings("data.train.on_error=skip"))
        assert outcome.exit_code == 0, outcome.output
        assert "skipped 2 unreadable training images" in outcome.stderr
        assert result(tmp_path / "run")["samples"]["skipped"] == {"train": 2, "test": 0}
        assert sum(result(tmp_path / "run")["samples"]["train"]) == 72
        assert "Skipped 2 unreadable images" in (tmp_path / "run" / "report.html").read_text()
    finally:
        broken.unlink()
        torn.unlink()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["scenario.class_order=[ash, birch, cedar, elm, fir]"], "hazel is missing"),
        (["scenario.class_order=[ash, birch, cedar, elm, fir, fir]"], "fir appears twice"),
        (["scenario.class_order=[ash, birch, cedar, elm, fir, oak]"], "unknown class 'oak'"),
        (["scenario.class_order=as_listed", "scenario.order_seed=3"], "either 'class_order' or 'order_seed'"),
        (["scenario.per_task=3"], "the number of classes is 6, expected first=2 plus a multiple of per_task=3"),
        (["scenario.per_task=[3, 2]"], "2 + 3 + 2 = 7 classes, the data 6"),
        (["scenario.validation=1"], "less than 1"),
        (["memory.total=5"], "a memory of 5 is smaller than one exemplar for each of 6 classes"),
        (["memory={total: 6, per_class: 2}"], "either 'total' or 'per_class'"),
        (["memory={per_class: 2, selection: reservoir}"], "'reservoir' needs 'total'"),
        (["memory.total=0"], "'training.memory_batch_size' has no effect"),
        (["method=icarl", "memory.total=0", "norm=bn", "training.memory_batch_size=null"], "'icarl' needs a 'memory'"),
        (["method=bic", "memory.total=6"], "'bic' needs 2 exemplars of each of 6 classes"),
        (["method=icarl", "memory.selection=reservoir"], "'reservoir' does not guarantee"),
        (["method=dark_er", "memory.selection=herding"], "'memory.selection' must be 'reservoir'"),
        (["method=finetune", "training.memory_batch_size=null", "memory.total=0"], "'finetune' remembers none"),
        (["training.memory_batch_size=null"], "'tbbn' needs 'training.memory_batch_size'"),
        (["training.memory_batch_size=8"], "must be smaller than 'training.batch_size'"),
        (["method=erx"], "unknown method 'erx'"),
        (["method.wieght=2"], "did you mean 'weight'?"),
        (["method.temperature=0"], "greater than 0"),
        (["norm=batch"], "'norm.kind'"),
        (["norm={kind: cn, groups: 3}"], "8 channels are not a multiple of 3 groups"),
        (["norm={kind: bn, groups: 4}"], "'groups' belongs to 'cn' and 'gn'"),
        (["norm={kind: cn, mode: weighted}"], "'mode' belongs to 'tbbn'"),
        (["model.architecture=small-resnett"], "did you mean 'small-resnet'?"),
        (["model.options={width: [8]}"], "architecture 'small-resnet'"),
        (["model.pretrained=true"], "no pre-trained"),
        (["model.mean=[0.5]"], "'mean' and 'std' go together"),
        (["model.mean=[0.5, 0.5]", "model.std=[0.5, 0.5]"], "1 numbers each, one for each channel"),
        (["data.train.folder=nowhere"], "no such folder"),
        (["data.test.folder=fewer"], "the test set has the classes"),
        (["data.test={folder: train, size: 9}"], "give a size"),
        (["data.limit=5"], "it must be between 6, one per class, and 72"),
        (["data.train={arrays: outside.npz}"], "image 1 has the label 9, but there are 6 classes"),
        (["data.train={arrays: train.npz, on_error: skip}"], "belong to 'folder'"),
        (["data.train={folder: train, idx: train}"], "give exactly one of"),
        (["trackers=[wandb]"], "tracker 'wandb': its package is not installed"),
        (["data.test.folder=train"], "are the same images"),
        (["data.test={folder: test, split: test}"], "has no 'split'"),
        (["data.only=[ash, oak]"], "unknown class 'oak'"),
        (["data.only=[ash, ash]"], "is listed twice"),
        (["training.drops=2"], "belongs to 'training.schedule: step'"),
        (["training.nesterov=true", "training.momentum=0"], "needs a 'training.momentum'"),
        (["method=lwf", "norm=bn", "training.memory_batch_size=null"], "'lwf' reads no exemplars"),
        (
            ["model={architecture: vit_tiny_patch16_224, options: {img_size: 8, patch_size: 4}}"],
            "no batch normalisation",
        ),
        (["data.train={folder: train, cache: train/cache}"], "inside the folder of images"),
        (["training.lr=0.1"], "unknown key 'training.lr'"),
        (["scenario.first=0"], "greater than 0"),
    ],
)
def test_bad_input_is_one_line_and_status_two_and_changes_nothing(
    options, message, class_world, tmp_path, learn_classes, settings
):
    if "outside" in options[0]:
        options = [options[0].replace("}", ", classes: [a, b, c, d, e, f]}")]
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(class_world / "outside.npz", images=images, labels=np.array([0, 9]))
    (class_world / "fewer" / "ash").mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(class_world / "fewer" / "ash" / "0.png")
    before = sorted(path for path in class_world.rglob("*"))
    outcome = learn_classes(class_world, tmp_path / "run", *settings(*options))
    assert outcome.exit_code == 2, outcome.output
    lines = [line for line in outcome.stderr.splitlines() if " tasks: " not in line]
    assert len(lines) == 1, outcome.stderr
    assert message in lines[0]
    assert not (tmp_path / "run").exists()
    assert sorted(path for path in class_world.rglob("*")) == before


def test_test_images_that_are_training_images_are_told(class_world, tmp_path, learn_classes, result, settings):
    """They were not noticed, nor was one folder under two spellings: its final accuracy was that of training."""
    quick = settings("training.epochs=1")
    outcome = learn_classes(class_world, tmp_path / "same", *settings("data.test.folder=./train"))
    assert outcome.exit_code == 2
    assert "'train' and 'test' are the same images" in outcome.stderr
    shutil.copytree(class_world / "train", tmp_path / "copy")
    outcome = learn_classes(class_world, tmp_path / "same", *settings(f"data.test.folder={tmp_path / 'copy'}"))
    assert outcome.exit_code == 2
    assert "data: every test image is a training image" in outcome.stderr
    shutil.copytree(class_world / "test", tmp_path / "test")
    shutil.copy(class_world / "train" / "ash" / "00.png", tmp_path / "test" / "elm" / "00.png")
    outcome = learn_classes(class_world, tmp_path / "run", *quick, *settings(f"data.test.folder={tmp_path / 'test'}"))
    assert outcome.exit_code == 0, outcome.output
    assert "warning: 1 of 36 test images are training images too" in outcome.stderr
    assert result(tmp_path / "run")["samples"]["repeated"] == 1
    assert "1 of 36 test images are training images too" in (tmp_path / "run" / "report.html").read_text()


def test_a_resumed_run_checks_names_and_labels(class_world, tmp_path, learn_classes, settings):
    """Draws depend on names; they could change between sessions."""
    shutil.copytree(class_world / "train", tmp_path / "train")
    options = settings("training.epochs=1", f"data.train.folder={tmp_path / 'train'}")
    assert learn_classes(class_world, tmp_path / "run", *options).exit_code == 0
    first, second = (tmp_path / "train" / "ash" / f"0{number}.png" for number in (0, 1))
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    outcome = learn_classes(class_world, tmp_path / "run", *options, "--resume")
    assert outcome.exit_code == 2
    assert "was started with other input: train images changed since" in outcome.stderr


def test_training_that_diverges_is_said_to(class_world, tmp_path, learn_classes, settings):
    options = ["training.learning_rate=1e25", "training.schedule=constant"]
    outcome = learn_classes(class_world, tmp_path / "run", *settings(*options))
    assert outcome.exit_code == 1
    assert "training diverged in task 1; lower the learning rate" in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_fault_of_the_program_is_not_taken_for_a_wrong_setting(class_world, tmp_path):
    def say(line):
        if line.startswith("task 1"):
            raise ValueError("a bug")

    config = load_config(class_world / "job.yaml", ClassLearningConfig)
    job = ClassLearningJob(config, tmp_path / "run", say=say)
    job.prepare()
    with pytest.raises(ValueError, match="^a bug$") as caught:
        job.run()
    assert type(caught.value) is ValueError


@pytest.mark.processes
@pytest.mark.parametrize("kill_at", ["checkpoints/after-0", "checkpoints/task-2/learn/step-8"])
def test_a_killed_run_resumes_to_the_same_weights(kill_at, finished, class_world, tmp_path, learn_classes, result):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "myosotis", "run", str(class_world / "job.yaml"), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / kill_at).exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.001)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    outcome = learn_classes(class_world, out, "--resume")
    assert outcome.exit_code == 0, outcome.output
    whole, resumed = result(finished[0]), result(out)
    assert resumed["matrix"] == whole["matrix"]
    assert resumed["confusion"] == whole["confusion"]
    if "step" in kill_at:
        assert None in resumed["cost"]["task_seconds"]
    assert resumed["cost"]["images"] == whole["cost"]["images"]
    one, other = (read_weights(place / "model" / "net.safetensors") for place in (finished[0], out))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert ("its total time is unknown" in (out / "report.html").read_text()) == (
        None in resumed["cost"]["task_seconds"]
    )


@pytest.mark.processes
def test_two_processes_learn_as_one(class_world, tmp_path, learn_classes, settings):
    options = settings(
        "norm={kind: tbbn, sync: true}", "training.batch_size=32", "training.memory_batch_size=8", "training.epochs=3"
    )
    outcome = learn_classes(class_world, tmp_path / "one", *options)
    assert outcome.exit_code == 0, outcome.output
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "myosotis"]
    command += ["run", str(class_world / "job.yaml"), "--out", str(tmp_path / "two"), *options]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    # Now and then gloo aborts a process that leaves while its peer still talks; the work is done by then.
    assert (tmp_path / "two" / "report.html").is_file(), done.stderr
    one, two = (read_weights(tmp_path / name / "model" / "net.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, two[name], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def first_encoder(class_world, tmp_path_factory, learn_classes, settings):
    """A run that kept what it was after each task."""
    out = tmp_path_factory.mktemp("runs") / "first"
    assert learn_classes(class_world, out, *settings("keep_learners=true", "method=er", "norm=bn")).exit_code == 0
    return out


@pytest.mark.parametrize("method", ["lucir", "der_expand", "foster", "bic"])
def test_learners_begin_with_one_encoder(method, first_encoder, class_world, tmp_path, learn_classes, result, settings):
    own = ["keep_learners=true", f"model.init_from={first_encoder}", f"method={method}", "norm=bn", "memory.total=18"]
    outcome = learn_classes(class_world, tmp_path / "run", *settings(*own, "training.epochs=6"))
    assert outcome.exit_code == 0, outcome.output
    wanted = weights_hash(load_learner(first_encoder / "learners" / "task-1")[0].encoder())
    learner, spec = load_learner(tmp_path / "run" / "learners" / "task-1")
    assert weights_hash(learner.encoder()) == wanted == result(tmp_path / "run")["lineage"]["encoder_in"]
    assert spec.backbone.mean == load_learner(first_encoder / "learners" / "task-1")[1].backbone.mean
    # The head was trained: it does not guess.
    assert result(tmp_path / "run")["matrix"][0][0] > 0.6
    later = load_learner(tmp_path / "run" / "learners" / "task-2")[0]
    if method != "der_expand":  # its first backbone stays for good
        assert weights_hash(later.encoder()) != wanted
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Frozen encoder of the first task" in page


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["seed=1"], "the first task here is"),
        (["model.options={widths: [4, 8], blocks: [1, 1]}"], "'model' is a small-resnet with"),
        (["model.init_from=nowhere"], "holds no learner.json"),
        (["model.mean=[0.5]", "model.std=[0.5]"], "provides its own weights, pixel statistics and image size"),
        (["norm={kind: cn, groups: 4}"], "is normalised by 'bn', 'norm' is 'cn'"),
    ],
)
def test_an_encoder_that_does_not_fit(options, message, first_encoder, class_world, tmp_path, learn_classes, settings):
    given = ["norm=bn", f"model.init_from={first_encoder}", *options]
    outcome = learn_classes(class_world, tmp_path / "run", *settings(*given))
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_an_encoder_of_another_kind_of_run(finished, first_encoder, class_world, tmp_path, learn_classes, settings):
    for place, message in ((finished[0], "saved no learners"), (first_encoder / "model", "has learnt 3 tasks")):
        outcome = learn_classes(class_world, tmp_path / "run", *settings("norm=bn", f"model.init_from={place}"))
        assert outcome.exit_code == 2, outcome.output
        assert message in outcome.stderr


def test_runs_on_different_classes_are_not_ranked(class_world, tmp_path, learn_classes, invoke, settings):
    for name, only in (("some", "[ash, birch]"), ("others", "[cedar, elm]")):
        changes = settings(f"data.only={only}", "scenario={first: 1, per_task: 1}", "training.epochs=1")
        outcome = learn_classes(class_world, tmp_path / name, *changes)
        assert outcome.exit_code == 0, outcome.output
    outcome = invoke("report", tmp_path / "some", tmp_path / "others", "--out", tmp_path / "both.html")
    assert outcome.exit_code == 0, outcome.output
    assert "Which method retains most? UNDECIDED. Not answered: the runs learned different classes" in " ".join(
        outcome.stdout.split()
    )


@pytest.mark.parametrize("damage", ["flip", "missing"])
@pytest.mark.parametrize("state", ["interrupted", "finished"])
def test_a_damaged_learner_of_an_earlier_task_is_named(
    state, damage, class_world, tmp_path, monkeypatch, learn_classes, settings
):
    out = tmp_path / "run"
    options = settings("keep_learners=true", "training.epochs=1")

    def interrupted(self, event):
        if (event.get("phase"), event.get("task")) == ("task", 1):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if state == "interrupted":
            patch.setattr(StreamTrainer, "log", interrupted)
        first = learn_classes(class_world, out, *options)
    assert first.exit_code == (130 if state == "interrupted" else 0), first.output
    path = out / "learners" / "task-1" / "model.safetensors"
    if damage == "flip":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        path.unlink()
    resumed = learn_classes(class_world, out, *options, "--resume")
    assert resumed.exit_code == 2, resumed.output
    assert "learners/task-1" in resumed.output
    assert "damaged or incomplete" in resumed.output


def test_a_task_is_logged_although_the_run_was_killed_right_after_it(
    class_world, tmp_path, monkeypatch, learn_classes, settings
):
    out = tmp_path / "run"
    save = StreamTrainer._save

    def killed(self, index):
        save(self, index)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StreamTrainer, "_save", killed)
        assert learn_classes(class_world, out, *settings("training.epochs=1")).exit_code == 130
    assert learn_classes(class_world, out, *settings("training.epochs=1"), "--resume").exit_code == 0
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["task"] for event in events if event["phase"] == "task"] == [0, 1, 2]
