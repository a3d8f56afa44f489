"""First configurations of every kind of job: valid, and they run."""

import json
import shutil

import numpy as np
import pytest
import yaml
from PIL import Image

from myosotis.init.draft import task_sizes
from myosotis.jobs import JOBS

CLASSES = ("ash", "birch", "cedar", "elm", "fir", "hazel")


def photo(label, index, size=(40, 36)):
    pixels = np.random.default_rng(index).integers(0, 80, (size[1], size[0], 3), dtype=np.uint8)
    pixels[5:20, 5:20, label % 3] = 200 + 10 * (label % 5)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    """A folder for each class, a dozen photos each."""
    folder = tmp_path_factory.mktemp("data") / "our trees (2024)"
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for index in range(20):
            photo(label, index).save(folder / name / f"{index}.jpg")
    return folder


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Images and masks of four classes."""
    folder = tmp_path_factory.mktemp("pairs")
    for kind in ("images", "masks"):
        (folder / kind).mkdir()
    for index in range(20):
        mask = np.zeros((48, 48), np.uint8)
        for label in (1 + index % 4, 1 + (index + 1) % 4):
            mask[10 * label : 10 * label + 8] = label
        photo(index, index, (48, 48)).save(folder / "images" / f"{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
    return folder


@pytest.fixture
def drafted(invoke, tmp_path):
    """Write a draft, and return its configuration and the output."""

    def drafted(job, *paths):
        outcome = invoke("init", job, *paths, "--out", tmp_path / f"{job}.yaml")
        assert outcome.exit_code == 0, outcome.output
        return tmp_path / f"{job}.yaml"

    return drafted


@pytest.mark.parametrize(
    "job", ["learn-classes", "learn-representations", "protocol", "pretrain", "pretrain-sweep", "unlearn-classifier"]
)
@pytest.mark.parametrize("own", [True, False], ids=["folder", "digits"])
def test_a_draft_passes_every_check_of_its_job(invoke, drafted, trees, job, own):
    path = drafted(job, *([trees] if own else []))
    outcome = invoke("check", path, "--no-time", "--out", path.parent / "run")
    assert outcome.exit_code == 0, outcome.output
    assert outcome.stdout.startswith("valid: ")
    assert not (path.parent / "run").exists()


@pytest.mark.parametrize("name", ["a: b #c [x]", "ünï 木", "no", "1e3", "{quoted} 'and' \"so\"", "-dash", "~home"])
def test_names_that_mean_something_in_yaml_are_names(invoke, drafted, trees, tmp_path, monkeypatch, name):
    folder = tmp_path / name
    for index, label in enumerate(("off", "1", "a: b", f"{name}+")):
        shutil.copytree(trees / CLASSES[index], folder / label)
    for job in ("learn-classes", "protocol"):
        path = drafted(job, folder)
        outcome = invoke("check", path, "--no-time", "--out", tmp_path / "run")
        assert outcome.exit_code == 0, outcome.output
    only = yaml.safe_load(path.read_text())["tuning"]["only"]
    assert all(isinstance(label, str) for label in only)


def test_a_draft_of_classes_runs_to_a_report(invoke, drafted, trees, settings):
    path = drafted("learn-classes", trees)
    short = settings("training.epochs=1", "scenario.first=3", "scenario.per_task=3")
    outcome = invoke("run", path, *short, "--out", path.parent / "run")
    assert outcome.exit_code == 0, outcome.output
    assert (path.parent / "run" / "report.html").is_file()
    config = yaml.safe_load(path.read_text())
    assert config["name"] == "learn-our-trees-2024"
    assert config["data"]["test"]["held_out"] == 0.2


def test_photos_and_a_model_make_a_request(invoke, drafted, trees, settings, tmp_path):
    taught = drafted("unlearn-classifier", trees)
    assert yaml.safe_load(taught.read_text())["preset"] == "as_unseen"
    short = settings("train.epochs=1", "reference=null", "audit.relearning=null", "training.max_steps=2")
    assert invoke("run", taught, *short, "--out", tmp_path / "first").exit_code == 0
    photos = tmp_path / "forget"
    for name in CLASSES[:2]:
        shutil.copytree(trees / name, photos / name)
    path = tmp_path / "request.yaml"
    # A run stands for the model in it; the test set is told by its name, wherever it stands.
    shutil.copytree(trees, tmp_path / "test")
    outcome = invoke("init", "unlearn-classifier", tmp_path / "test", tmp_path / "first", photos, "--out", path)
    assert outcome.exit_code == 0, outcome.output
    config = yaml.safe_load(path.read_text())
    assert config["model"] == {"path": "./first/model"}
    assert config["data"]["forget"] == {"folder": "forget", "size": 32}
    assert config["data"]["test"] == {"folder": "test", "size": 32}
    assert config["preset"] == "recommended"  # the other reads what is retained
    outcome = invoke("check", path, "--no-time")
    assert outcome.exit_code == 0, outcome.output
    (photos / "oak").mkdir()
    photo(0, 0).save(photos / "oak" / "0.jpg")
    outcome = invoke("init", "unlearn-classifier", photos, tmp_path / "first", "--out", tmp_path / "other.yaml")
    assert outcome.exit_code == 2
    assert "the model has no class 'oak'" in outcome.stderr
    assert not (tmp_path / "other.yaml").exists()


def test_masks_say_their_classes(invoke, drafted, pairs):
    path = drafted("learn-segments", pairs / "images", pairs / "masks")
    assert yaml.safe_load(path.read_text())["data"]["train"]["classes"] == [f"class {number}" for number in range(1, 5)]
    assert "0 is the background; if it is a class" in path.read_text()
    assert "Images of 48 x 48 are scaled to 64 x 64" in path.read_text()
    outcome = invoke("check", path, "--no-time")
    assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize(
    "job", ["learn-classes", "learn-representations", "protocol", "pretrain", "pretrain-sweep", "unlearn-classifier"]
)
@pytest.mark.parametrize("each", [3, 5, 6])
def test_the_smallest_folders_that_are_drafted_pass_too(invoke, drafted, tmp_path, job, each):
    for label, name in enumerate(CLASSES):
        for index in range(each):
            path = tmp_path / "few" / name / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo(label, index).save(path)
    outcome = invoke("check", drafted(job, tmp_path / "few"), "--no-time", "--out", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.output


def test_unlabelled_images_are_not_probed(invoke, drafted, trees):
    path = drafted("pretrain", trees / "ash")
    config = yaml.safe_load(path.read_text())
    assert config["probes"] is None
    assert "held_out" not in config["data"]["train"]
    assert invoke("check", path, "--no-time").exit_code == 0


def test_clean_text_makes_a_denoiser(invoke, drafted, tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("abba\nbaab\n" * 20)
    path = drafted("denoise-train", tmp_path / "a.txt", tmp_path / "b.txt")
    assert yaml.safe_load(path.read_text())["data"]["alphabet"] == "ab"
    assert invoke("check", path, "--no-time").exit_code == 0


def test_train_and_test_folders_are_found(drafted, trees, tmp_path):
    for name in ("Train", "val"):
        shutil.copytree(trees, tmp_path / "set" / name)
    config = yaml.safe_load(drafted("learn-classes", tmp_path / "set").read_text())
    assert config["data"]["train"] == {"folder": "set/Train", "size": 32}
    assert config["data"]["test"] == {"folder": "set/val", "size": 32}


def test_every_job_has_a_draft():
    from myosotis.init.drafts import DRAFTS

    assert set(DRAFTS) == set(JOBS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("learn-clases",), "unknown job 'learn-clases'; did you mean 'learn-classes'?"),
        (("learn-classes", "nowhere"), "nowhere: no such folder"),
        (("learn-classes", "a.txt"), "a.txt: is a file; expected a folder of images"),
        (("learn-classes", "empty"), "empty: holds no image"),
        (("learn-classes", "one"), "needs one folder per class, at least 2, got 1"),
        (("learn-classes", "deep"), "at least 2, got 1; did you mean deep/2020?"),
        (("unlearn-language", ".", "a.csv"), "the directory holds no config.json"),
        (("learn-classes", "hole"), "hole/birch: holds no image, so it is not a class"),
        (("learn-classes", "one", "hole"), "starts from one folder"),
        (("learn-classes", "pair"), "pair/ash: holds 1 images; 'learn-classes' needs 3 of each class"),
        (("learn-segments", "one"), "starts from two folders"),
        (("denoise-train",), "starts from clean files"),
        (("denoise-train", "a.txt"), "1 different letters; expected 2 to 60"),
        (("unlearn-classifier", "a.txt"), "a.txt: its weights cannot be loaded"),
        (("unlearn-classifier", "a.txt", "a.jsonl"), "a.jsonl: is a second model, expected one"),
        (("unlearn-language", "a.jsonl"), "expected one model beside the JSONL files of records, got none"),
        (("unlearn-language", "one", "a.jsonl"), "the directory holds no config.json, so it is not a model"),
    ],
)
def test_what_cannot_be_drafted_is_refused_in_a_line(invoke, monkeypatch, tmp_path, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("aaaa")
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "a"}))
    for name in (
        "empty",
        "one/ash",
        "hole/ash",
        "hole/birch",
        "pair/ash",
        "pair/birch",
        "deep/2020/ash",
        "deep/2020/fir",
    ):
        (tmp_path / name).mkdir(parents=True)
    for name in ("one/ash", "hole/ash", "pair/ash", "pair/birch", "deep/2020/ash", "deep/2020/fir"):
        photo(0, 0).save(tmp_path / name / "0.jpg")
    before = sorted(tmp_path.rglob("*"))
    outcome = invoke("init", *arguments)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_draft_replaces_nothing(invoke, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "learn-classes.yaml").write_text("mine")
    outcome = invoke("init", "learn-classes")
    assert outcome.exit_code == 2
    assert "already exists" in outcome.stderr
    assert (tmp_path / "learn-classes.yaml").read_text() == "mine"
    assert invoke("init", "learn-classes", "--overwrite").exit_code == 0
    assert (
        (tmp_path / "learn-classes.yaml")
        .read_text()
        .startswith("# Every key, its range and its default: myosotis schema learn-classes")
    )


@pytest.mark.parametrize("classes", range(2, 40))
def test_tasks_share_all_classes(classes):
    first, per_task = task_sizes(classes)
    assert first >= 1
    assert (classes - first) % per_task == 0
    assert classes > first
