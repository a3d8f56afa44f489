"""`learn-segments`, end to end on tiny images."""

import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from myosotis.continual.segmentation.config import SegmentLearningConfig
from myosotis.continual.segmentation.job import SegmentLearningJob
from myosotis.continual.segmentation.saved import load_segment_learner
from myosotis.engine.config import load_config

CLASSES = ("ash", "birch", "cedar", "elm", "fir")
COLOURS = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]]) * 180


def write_folder(place, count, seed):
    noise = np.random.default_rng(seed)
    (place / "images").mkdir(parents=True)
    (place / "masks").mkdir()
    for number in range(count):
        mask = np.zeros((12, 12), np.uint8)
        for slot in noise.choice(9, noise.integers(1, 4), replace=False):
            top, left = 4 * (slot // 3), 4 * (slot % 3)
            mask[top : top + 4, left : left + 4] = noise.integers(1, 6)
        pixels = (COLOURS[mask] + noise.integers(0, 60, (12, 12, 3))).astype(np.uint8)
        Image.fromarray(pixels).save(place / "images" / f"{seed}-{number:02d}.png")
        Image.fromarray(mask).save(place / "masks" / f"{seed}-{number:02d}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory with images, masks and a configuration."""
    folder = tmp_path_factory.mktemp("masks")
    write_folder(folder / "train", 40, 0)
    write_folder(folder / "test", 12, 1)
    sources = {
        split: {"images": f"{split}/images", "masks": f"{split}/masks", "classes": list(CLASSES)}
        for split in ("train", "test")
    }
    config = {
        "job": "learn-segments",
        "name": "tiny",
        "data": sources,
        "scenario": {"first": 2, "per_task": [2, 1]},
        "model": {"options": {"widths": [8, 8, 8], "dilations": [1]}},
        "method": {"name": "mib_augm", "scope": "stored", "distillation": 3.0},
        "memory": {"total": 8},
        "training": {
            "iterations": 12,
            "first_iterations": 40,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 0.01,
        },
        "checkpoint_every": 6,
        "panels": 2,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def learn(invoke):
    def learn(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *options)

    return learn


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory, learn):
    """A finished run, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = learn(world, out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_what_a_run_leaves(finished, result):
    out, outcome = finished
    found = result(out)
    assert found["kind"] == "learn-segments"
    assert [len(classes) for classes in found["tasks"]] == [2, 2, 1]
    assert found["classes"] == list(CLASSES)
    assert found["scenario"] == "partitioned"
    assert found["unseen"] == "ignore"
    assert [len(row) for row in found["iou"]] == [3, 5, 6]
    table = torch.tensor(found["confusion"]).double()
    iou = table.diagonal() / (table.sum(0) + table.sum(1) - table.diagonal())
    assert found["iou"][-1] == pytest.approx(iou.tolist())
    assert found["metrics"]["all"] == pytest.approx(iou.mean().item())
    assert sum(found["reappearance"]["images"]) == 40
    assert found["memory"][-1] == {**found["memory"][-1], "images": 8, "leaks": 0}
    assert found["cost"]["steps"] == 40 + 12 + 12
    assert found["cost"]["images"] == 8 * (40 + 12 + 12)
    method = yaml.safe_load((out / "config.yaml").read_text())["method"]
    assert method == {"name": "mib_augm", "distillation": 3.0, "alpha": 1.0, "scope": "stored"}
    learner, spec = load_segment_learner(out / "model")
    assert spec.sizes == (2, 2, 1)
    panels = load_file(out / "panels.safetensors")
    with torch.no_grad():
        answer = learner.scores(panels["image-0"].unsqueeze(0).float() / 255).argmax(1)[0]
    assert torch.equal(answer.byte(), panels["task-3-0"])
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if event["phase"] == "learn" and event["task"] == 1] == [6, 12]
    assert set(events[-2]) >= {"unbiased", "memory", "distillation"}
    page = (out / "report.html").read_text()
    for title in ("Has it learnt?", "Has it kept?", "How realistic is the stream?", "Pseudo-labels", "Re-appearance"):
        assert title in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Has it kept?" in outcome.output
    assert not list((out / "checkpoints").glob("after-*"))
    assert not list((out / "checkpoints").glob("task-*"))


def test_equal_jobs_give_equal_models_and_seeds_do_not(finished, world, tmp_path, learn, result):
    assert learn(world, tmp_path / "again").exit_code == 0
    assert learn(world, tmp_path / "other", "--set", "seed=1").exit_code == 0
    one, same, other = result(finished[0]), result(tmp_path / "again"), result(tmp_path / "other")
    assert one["lineage"]["model_out"] == same["lineage"]["model_out"]
    assert one["confusion"] == same["confusion"]
    assert one["reappearance"] != other["reappearance"]  # the partition is drawn by the seed
    assert one["lineage"]["data"] != same["lineage"]["data"]  # salted


def test_runs_side_by_side(finished, world, tmp_path, invoke, learn, settings):
    runs = [finished[0]]
    for seed, kind in ((1, "partitioned"), (0, "overlapped"), (1, "overlapped")):
        out = tmp_path / f"{kind}-{seed}"
        assert learn(world, out, *settings(f"seed={seed}", f"scenario.kind={kind}")).exit_code == 0
        runs.append(out)
    outcome = invoke("report", *runs, "--out", tmp_path / "all.html")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "all.html").read_text()
    assert "4 runs in 2 groups" in page
    assert ">overlapped<" in page
    assert ">partitioned<" in page
    first = invoke("report", finished[0])
    assert first.exit_code == 0
    assert "Has it learnt?" in first.output


def test_runs_with_other_settings_are_not_pooled(finished, world, tmp_path, invoke, learn, settings):
    out = tmp_path / "scope"
    assert learn(world, out, *settings("method.scope=old", "seed=1")).exit_code == 0
    assert invoke("report", finished[0], out, "--out", tmp_path / "all.html").exit_code == 0
    page = (tmp_path / "all.html").read_text()
    assert "2 runs in 2 groups" in page
    assert "method.scope old" in page


def test_test_images_among_the_training_images(world, tmp_path, learn, settings):
    names = ", ".join(CLASSES)
    listed = tmp_path / "names.txt"
    listed.write_text("0-03\n0-05\n")
    source = f"{{images: train/images, masks: train/masks, listed: {listed}, classes: [{names}]}}"
    outcome = learn(world, tmp_path / "run", *settings(f"data.test={source}"))
    assert outcome.exit_code == 2
    assert "the test image '0-03' is the training image '0-03'" in outcome.stderr
    assert not (tmp_path / "run").exists()
    # The same picture with one more pixel that does not count used to be accepted.
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        shutil.copy(world / "train" / kind / "0-03.png", tmp_path / kind / "copy.png")
    mask = np.asarray(Image.open(tmp_path / "masks" / "copy.png")).copy()
    mask[0, 0] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "copy.png")
    source = f"{{images: {tmp_path / 'images'}, masks: {tmp_path / 'masks'}, classes: [{names}]}}"
    outcome = learn(world, tmp_path / "run", *settings(f"data.test={source}"))
    assert outcome.exit_code == 2
    assert "the test image 'copy' is the training image '0-03'" in outcome.stderr
    listed.write_text("1-03\n1-03\n")
    source = f"{{images: test/images, masks: test/masks, listed: {listed}, classes: [{names}]}}"
    outcome = learn(world, tmp_path / "run", *settings(f"data.test={source}"))
    assert outcome.exit_code == 2
    assert "'1-03' is listed twice" in outcome.stderr


def test_everything_else_that_may_be_set(world, tmp_path, learn, result, settings):
    options = [
        "scenario.kind=overlapped",
        "scenario.match_sizes=true",
        "scenario.partition_seed=3",
        "scenario.class_order=[fir, ash, elm, birch, cedar]",
        "scenario.unseen=background",
        "scenario.min_pixels=2",
        "data.limit=36",
        "data.test_limit=10",
        "training.scale=[0.75, 1.5]",
        "training.crop=[12, 12]",
        "training.optimizer=sgd",
        "training.head_factor=10",
        "training.schedule=onecycle",
        "training.accumulate=2",
        "training.max_grad_norm=1",
        "model.mean=[0.4, 0.4, 0.4]",
        "model.std=[0.2, 0.2, 0.2]",
        "keep_learners=true",
        "panels=0",
    ]
    out = tmp_path / "run"
    outcome = learn(world, out, *settings(*options))
    assert outcome.exit_code == 0, outcome.output
    found = result(out)
    assert found["classes"] == ["fir", "ash", "elm", "birch", "cedar"]
    assert found["unseen"] == "background"
    assert found["cost"]["images"] == 2 * 8 * (40 + 12 + 12)
    assert load_segment_learner(out / "learners" / "task-2")[1].sizes == (2, 2)
    assert not (out / "panels.safetensors").exists()


def test_a_partition_is_kept_and_used(finished, world, tmp_path, learn, result, settings):
    kept = finished[0] / "partition.json"
    content = json.loads(kept.read_text())
    assert len(content["of_image"]) == 40
    assert learn(world, tmp_path / "same", *settings("seed=1", f"scenario.partition={kept}")).exit_code == 0
    assert result(tmp_path / "same")["reappearance"] == result(finished[0])["reappearance"]
    name = next(iter(content["of_image"]))
    wrong = {**content, "of_image": {**content["of_image"], name: 9}}
    (tmp_path / "wrong.json").write_text(json.dumps(wrong))
    outcome = learn(world, tmp_path / "run", *settings(f"scenario.partition={tmp_path / 'wrong.json'}"))
    assert outcome.exit_code == 2
    assert "a class that it does not show" in outcome.stderr
    content["fingerprint"] = "0" * 64
    (tmp_path / "other.json").write_text(json.dumps(content))
    outcome = learn(world, tmp_path / "run", *settings(f"scenario.partition={tmp_path / 'other.json'}"))
    assert outcome.exit_code == 2
    assert "other.json: belongs to other images or labels" in outcome.stderr


def test_more_memory_than_candidates(world, tmp_path, learn, result, settings):
    outcome = learn(world, tmp_path / "run", *settings("memory.total=100"))
    assert outcome.exit_code == 0, outcome.output
    assert "warning: the memory has room for 100 images, but only" in outcome.stderr
    assert result(tmp_path / "run")["memory"][-1]["images"] < 40


@pytest.mark.parametrize("name", ["joint", "plop", "dkd_m"])
def test_other_methods_by_their_name(name, world, tmp_path, learn, result, settings):
    memory = 8 if name == "dkd_m" else 0
    outcome = learn(world, tmp_path / "run", *settings(f"method={name}", f"memory.total={memory}"))
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "run")["method"] == name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["scenario.class_order=[ash, birch, cedar, elm]"], "the order must name each of 5 classes once"),
        (["scenario.class_order=[ash, birch, cedar, elm, oak]"], "unknown class 'oak'"),
        (["scenario.per_task=2"], "the number of classes is 5, expected first=2 plus a multiple of per_task=2"),
        (["scenario.kind=mixed"], "'scenario.kind'"),
        (["scenario.kind=overlapped", "scenario.partition_seed=1"], "the overlapped scenario has no partition"),
        (["scenario.match_sizes=true"], "'match_sizes' caps other scenarios"),
        (["scenario.min_pixels=200"], "'ash' is in no training image"),
        (["scenario.partition=nowhere.json"], "nowhere.json: no such partition"),
        (["data.train.masks=nowhere"], "nowhere: no such folder"),
        (["data.train.classes=[ash, birch, cedar, elm, fir, oak]"], "different classes"),
        (["data.train.masks=test/masks"], "has no mask in"),
        (["data.train.classes=[ash]", "data.test.classes=[ash]"], "which is not a class; known: 0, 1, 255"),
        (["data.limit=900"], "data.limit is 900, more than the 40 images"),
        (["data.test={images: train/images, masks: train/masks, classes: [ash, birch, cedar, elm, fir]}"], "the same"),
        (["data.test.split=test"], "have no 'split'"),
        (["model.norm_momentum=0.1"], "no batch normalisation"),
        (["method=mibm"], "unknown method 'mibm'"),
        (["method.scoep=old"], "did you mean 'scope'?"),
        (["method=mib"], "'mib' reads no exemplars"),
        (["memory.total=0"], "'mib_augm' needs a 'memory'"),
        (["training.batch_size=7"], "must be even"),
        (["training.epochs=3"], "either 'iterations' or 'epochs'"),
        (["training.power=2", "training.schedule=cosine"], "'power' belongs to 'schedule: poly'"),
        (["training.scale=[0.5, 2]"], "needs a 'crop'"),
        (["training.iterations=null"], "'first_iterations' goes with 'iterations'"),
        (["training.lr=0.1"], "unknown key 'training.lr'"),
        (["model.architecture=small-segmentor"], "the built-in one is 'small-segmenter'"),
        (["model={library: torchvision, architecture: deeplabv3_resnet5}"], "torchvision has no"),
        (["model={library: timm, architecture: nonesuch}"], "timm has no 'nonesuch'"),
        (["model.mean=[0.5]", "model.std=[0.5]"], "3 numbers each"),
    ],
)
def test_bad_input_is_one_line_and_status_two_and_changes_nothing(options, message, world, tmp_path, learn, settings):
    before = sorted(world.rglob("*"))
    outcome = learn(world, tmp_path / "run", *settings(*options))
    assert outcome.exit_code == 2, outcome.output
    lines = [line for line in outcome.stderr.splitlines() if " tasks: " not in line]
    assert len(lines) == 1, outcome.stderr
    assert message in lines[0]
    assert not (tmp_path / "run").exists()
    assert sorted(world.rglob("*")) == before


def test_training_that_diverges_is_said_to(world, tmp_path, learn, settings):
    options = settings("training.learning_rate=1e25", "training.schedule=constant", "training.optimizer=sgd")
    outcome = learn(world, tmp_path / "run", *options)
    assert outcome.exit_code == 1
    assert "training diverged in task 1; lower the learning rate" in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_fault_of_the_program_is_not_taken_for_a_wrong_setting(world, tmp_path):
    def say(line):
        if line.startswith("task 1"):
            raise ValueError("a bug")

    config = load_config(world / "job.yaml", SegmentLearningConfig)
    job = SegmentLearningJob(config, tmp_path / "run", say=say)
    job.prepare()
    with pytest.raises(ValueError, match="^a bug$") as caught:
        job.run()
    assert type(caught.value) is ValueError


@pytest.mark.processes
def test_a_run_killed_in_the_middle_of_a_task_resumes_to_the_same_table(
    finished, world, tmp_path, killed_at, learn, result
):
    out = tmp_path / "killed"
    wanted = out / "checkpoints" / "task-1" / "learn" / "step-6"
    killed_at(wanted, "run", world / "job.yaml", "--out", out)
    assert not (out / "result.json").exists()
    outcome = learn(world, out, "--resume")
    assert outcome.exit_code == 0, outcome.output
    assert result(out)["confusion"] == result(finished[0])["confusion"]
    assert result(out)["lineage"]["model_out"] == result(finished[0])["lineage"]["model_out"]
    assert result(out)["cost"]["task_seconds"][0] is not None


@pytest.mark.processes
def test_two_processes_learn_as_one(world, tmp_path, in_two_processes, learn):
    outcome = learn(world, tmp_path / "one")
    assert outcome.exit_code == 0, outcome.output
    done = in_two_processes("run", world / "job.yaml", "--out", tmp_path / "two")
    assert (tmp_path / "two" / "report.html").is_file(), done.stderr
    one, two = (load_file(tmp_path / name / "model" / "net.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(value, two[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["model.weights=none.pth"], "none.pth: no such file of weights"),
        (["model.weights=none.pth", "model.pretrained=true"], "give either 'pretrained' or 'weights'"),
    ],
)
def test_weights_that_cannot_be_begun_with(world, invoke, tmp_path, settings, message):
    options = [part for setting in settings for part in ("--set", setting)]
    done = invoke("run", world / "job.yaml", "--out", tmp_path / "run", *options)
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "run").exists()
