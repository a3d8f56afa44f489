"""`pretrain` and its sweep, end to end on tiny images."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from myosotis.engine import Run
from myosotis.engine.config import load_config
from myosotis.engine.failures import OutOfMemoryError
from myosotis.models.image_classifier import load_classifier
from myosotis.pretraining.model_directory import load_pretrained
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.sweep.job import SweepJob
from myosotis.pretraining.sweep.units import run_sweep_unit

CLASSES = ("ash", "birch", "cedar")
PARALLEL = "vit_small_patch16_18x2_224"
OPTIONS = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


def write_folder(place, count, seed):
    noise = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        (place / name).mkdir(parents=True)
        for sample in range(count):
            pixels = noise.integers(0, 90, (16, 16), dtype=np.uint8)
            pixels[4 * number : 4 * number + 6, 4:12] += 120
            Image.fromarray(pixels).save(place / name / f"{seed}-{sample:02d}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory with images and a configuration."""
    folder = tmp_path_factory.mktemp("images")
    write_folder(folder / "train", 16, 0)
    write_folder(folder / "test", 10, 1)
    write_folder(folder / "other", 2, 2)
    (folder / "other" / "ash").rename(folder / "other" / "yew")
    write_folder(folder / "few", 2, 3)
    (folder / "few" / "ash" / "3-00.png").unlink()
    config = {
        "job": "pretrain",
        "name": "tiny",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "model": {"architecture": "vit_tiny_patch16_224", "options": OPTIONS},
        "objective": {"name": "mae", "decoder_dim": 8, "decoder_depth": 1, "decoder_heads": 2},
        "masker": {"name": "salience", "spread": 0.1, "scale": "sqrt_dim"},
        "training": {"epochs": 4, "batch_size": 16},
        "shown": 2,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    (folder / "sweep.yaml").write_text(yaml.safe_dump(config | {"job": "pretrain-sweep", "seeds": 1}))
    return folder


@pytest.fixture(scope="session")
def pretrain(invoke):
    def pretrain(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *options)

    return pretrain


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory, pretrain):
    """A finished run, and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = pretrain(world, out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_what_a_run_leaves(finished, result):
    out, outcome = finished
    found = result(out)
    assert found["kind"] == "pretrain"
    assert (found["images"], found["tokens"], found["masker"]) == (48, 16, "salience")
    assert set(found["probes"]) == {"pixels", "untrained", "pretrained", "intervals", "count"}
    assert found["probes"]["count"] == 30
    assert found["masks"]["ratio_min"] < found["masks"]["ratio_max"]
    assert found["cost"]["steps"] == 4 * 3
    assert found["lineage"]["model_in"] != found["lineage"]["model_out"]
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [one["epoch"] for one in events if one["phase"] == "pretrain"] == [1, 2, 3, 4]
    # A quarter of the training is random, with the same ratio for all.
    first, last = (one for one in events if one["phase"] == "pretrain" and one["epoch"] in (1, 4))
    assert first["ratio_min"] == first["ratio_max"] == 0.75
    assert last["ratio_min"] < last["ratio_max"]
    page = (out / "report.html").read_text()
    for title in ("Has it learnt?", "What was hidden?", "How sure are we?", "reconstruction", "those of the original"):
        assert title in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "Has it learnt?" in outcome.output
    assert not (out / "checkpoints" / "pretrain").exists()


def test_the_encoder_is_read_by_timm_and_by_us(finished):
    out, _ = finished
    encoder, spec = load_classifier(out / "model")
    theirs = timm.create_model(
        spec.architecture,
        num_classes=0,
        in_chans=1,
        checkpoint_path=str(out / "model" / "model.safetensors"),
        **spec.options,
    ).eval()
    images = torch.rand(2, 1, 16, 16)
    with torch.no_grad():
        assert theirs(encoder.normalize(images)).equal(encoder(images))
    model, _ = load_pretrained(out / "model")
    with torch.no_grad():
        assert model.encoder(model.normalize(images)).equal(encoder(images))
        tokens = model.encode(images)[1]
    torch.testing.assert_close(tokens.mean(dim=1), encoder(images))


def test_equal_jobs_give_equal_models_and_seeds_do_not(finished, world, tmp_path, invoke, pretrain, result):
    assert pretrain(world, tmp_path / "again").exit_code == 0
    assert pretrain(world, tmp_path / "other", "--set", "seed=1").exit_code == 0
    one, same, other = result(finished[0]), result(tmp_path / "again"), result(tmp_path / "other")
    assert one["lineage"]["model_out"] == same["lineage"]["model_out"]
    assert one["probes"] == same["probes"]
    assert one["lineage"]["model_out"] != other["lineage"]["model_out"]
    outcome = invoke("report", finished[0], tmp_path / "other", "--out", tmp_path / "all.html")
    assert outcome.exit_code == 0, outcome.output
    assert "2 runs in 1 groups" in (tmp_path / "all.html").read_text()


@pytest.mark.processes
@pytest.mark.parametrize("masker", ["salience", "predicted_loss"])
def test_a_killed_run_goes_on_to_the_same_end(world, tmp_path, masker, killed_at, pretrain, result, settings):
    options = settings(f"masker={masker}", "training.epochs=6", "training.flip=0.5")
    out = tmp_path / "killed"
    killed_at(out / "checkpoints" / "pretrain" / "step-6", "run", world / "job.yaml", "--out", out, *options)
    assert not (out / "result.json").exists()
    outcome = pretrain(world, out, *options, "--resume")
    assert outcome.exit_code == 0, outcome.output
    assert pretrain(world, tmp_path / "whole", *options).exit_code == 0
    one, other = result(out), result(tmp_path / "whole")
    assert one["lineage"]["model_out"] == other["lineage"]["model_out"]
    assert one["probes"] == other["probes"]

    def curve(place):
        events = [json.loads(line) for line in (place / "metrics.jsonl").read_text().splitlines()]
        return {event["epoch"]: event["reconstruction"] for event in events if event["phase"] == "pretrain"}

    assert curve(out) == curve(tmp_path / "whole")


@pytest.mark.processes
def test_two_processes_share_the_work(world, tmp_path, in_two_processes, result):
    out = tmp_path / "two"
    done = in_two_processes("run", world / "job.yaml", "--out", out)
    assert (out / "result.json").is_file(), done.stderr
    found = result(out)
    assert found["cost"]["processes"] == 2
    assert found["cost"]["steps"] == 4 * 3
    assert load_file(out / "model" / "model.safetensors")


@pytest.mark.processes
def test_gradients_of_two_processes_are_those_of_one(world, tmp_path, in_two_processes, pretrain, settings):
    # With images as they are and hiding all that is salient, a process has no draws of its own.
    options = settings(
        "training.area=[1, 1]", "training.flip=0", "masker={name: salience, noise: 0, warmup: 0}", "training.epochs=2"
    )
    assert pretrain(world, tmp_path / "one", *options).exit_code == 0
    in_two_processes("run", world / "job.yaml", "--out", tmp_path / "two", *options)
    one, two = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], atol=2e-5, rtol=1e-3)


def test_unlabelled_images_and_labelled_probes(world, tmp_path, pretrain, result, settings):
    plain = settings("data={train: {images: train}}", "probes=null")
    outcome = pretrain(world, tmp_path / "plain", *plain)
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "plain")["probes"] is None
    assert "Not measured" in outcome.output
    probed = settings(
        "data={train: {images: train}}", "probes={data: {train: {folder: train}, test: {folder: test}}, cells: 2}"
    )
    assert pretrain(world, tmp_path / "probed", *probed).exit_code == 0
    assert result(tmp_path / "probed")["probes"]["count"] == 30


def test_going_on_from_another_run_and_fine_tuning(finished, world, tmp_path, pretrain, result, settings):
    options = settings(
        f"model.init_from={finished[0] / 'model'}",
        "masker=attention",
        "finetune={epochs: 2, batch_size: 16, drop_path: 0.1}",
    )
    outcome = pretrain(world, tmp_path / "on", *options)
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "on")
    assert found["lineage"]["model_in"] == result(finished[0])["lineage"]["model_out"]
    assert found["probes"]["untrained"] == result(finished[0])["probes"]["pretrained"]
    # Whole twelfths of images: it was measured on the test set.
    assert (found["finetuned"] * 30) % 1 == pytest.approx(0, abs=1e-9)
    assert "How good is it after fine-tuning?" in outcome.output


def test_a_resumed_run_checks_labelled_images_and_weights(finished, world, tmp_path, pretrain, settings):
    """What probes learn from, and the weights that training goes on from, could change between sessions."""
    write_folder(tmp_path / "labelled", 4, 5)
    shutil.copytree(finished[0] / "model", tmp_path / "model")
    options = settings(
        "data={train: {images: train}}",
        f"probes={{data: {{train: {{folder: {tmp_path / 'labelled'}}}, test: {{folder: test}}}}}}",
        f"model.init_from={tmp_path / 'model'}",
        "training.epochs=1",
        "shown=0",
    )
    assert pretrain(world, tmp_path / "run", *options).exit_code == 0
    ash, birch = (tmp_path / "labelled" / name for name in ("ash", "birch"))
    ash.rename(tmp_path / "aside")
    birch.rename(ash)
    (tmp_path / "aside").rename(birch)
    outcome = pretrain(world, tmp_path / "run", *options, "--resume")
    assert outcome.exit_code == 2
    assert "was started with other input: labelled images changed since" in outcome.stderr
    birch.rename(tmp_path / "aside")
    ash.rename(birch)
    (tmp_path / "aside").rename(ash)
    assert "is already finished" in pretrain(world, tmp_path / "run", *options, "--resume").stderr
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, tmp_path / "model" / "model.safetensors")
    outcome = pretrain(world, tmp_path / "run", *options, "--resume")
    assert "was started with other input: init_from changed since" in outcome.stderr


def test_test_images_among_those_that_are_learnt_from_are_told(world, tmp_path, pretrain, result, settings):
    shutil.copytree(world / "test", tmp_path / "test")
    shutil.copy(world / "train" / "ash" / "0-00.png", tmp_path / "test" / "ash" / "copy.png")
    options = settings(f"data.test.folder={tmp_path / 'test'}", "training.epochs=1", "shown=0")
    outcome = pretrain(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    assert "warning: 1 of 31 test images are training images too" in outcome.stderr
    assert result(tmp_path / "run")["repeated"] == 1
    assert "1 of 31 test images are training images too" in (tmp_path / "run" / "report.html").read_text()
    # Images without labels may be the test images; labelled ones may not.
    options = settings(
        "data={train: {images: test}}", "probes={data: {train: {folder: train}, test: {folder: test}}}", "shown=0",
        "training.epochs=1",
    )  # fmt: skip
    outcome = pretrain(world, tmp_path / "transductive", *options)
    assert "warning: 30 of 30 test images are training images too" in outcome.stderr
    shutil.copytree(world / "train", tmp_path / "copy")
    for place, message in (("./train", "are the same images"), (tmp_path / "copy", "data: every test image is a")):
        outcome = pretrain(world, tmp_path / "none", *settings(f"data.test.folder={place}"))
        assert outcome.exit_code == 2
        assert message in outcome.stderr


def test_a_sweep_checks_what_its_later_seeds_draw(world, tmp_path):
    """With a limit each seed draws images of its own; those of the first alone were checked."""
    shutil.copytree(world / "train", tmp_path / "train")
    options = [f"data.train.folder={tmp_path / 'train'}", "data.limit=6", "training.batch_size=6", "ratios=[0.5]"]

    def inputs():
        config = load_config(world / "sweep.yaml", SweepConfig, options)
        job = SweepJob(config, tmp_path / "out", say=lambda _: None)
        job.prepare()
        return job._sets.train.names, job.inputs("salt")

    drawn, before = inputs()
    other = next(path for path in sorted((tmp_path / "train").rglob("*.png")) if "/".join(path.parts[-2:]) not in drawn)
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(other)
    assert inputs()[0] == drawn
    changed = inputs()[1]
    assert {name for name in before if before[name] != changed[name]} == {"train images", "labelled images"}


def test_simmim_over_a_convolutional_network(world, tmp_path, pretrain, result, settings):
    options = settings(
        "objective={name: simmim, unit: 4}", "masker=block", "model={architecture: resnet18, options: {}}",
        "training={epochs: 1, batch_size: 16, gradient_checkpointing: true}",
    )  # fmt: skip
    outcome = pretrain(world, tmp_path / "simmim", *options)
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "simmim")["objective"] == "simmim"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["model.options.patch_size=5"], "patch"),
        (["ratio=0.96", "masker=random"], "leaves no visible token of 16"),
        (["ratio_end=0.96", "masker=random"], "ratio_end: a ratio of 0.96 leaves no visible token of 16"),
        (["masker={name: salience, features: block}"], "features"),
        (["masker={name: salience, features: block:7}"], "features 'block:7' do not exist in a transformer of"),
        (["ratio=0.1"], "ratio: a ratio of 0 leaves no hidden token of 16"),
        (["masker={name: salience, spread: 0.4}"], "exceeds [0, 1]"),
        (["masker=saliency"], "did you mean 'salience'"),
        (["masker={name: salience, noisy: 1}"], "did you mean 'noise'"),
        (["training.batch_size=64"], "more than the 48 images"),
        (["training.epochs=2", "training.warmup=2"], "must be shorter than the training"),
        (["probes.samples=4"], "too few for 3 classes"),
        (["probes.cells=8"], "probes.cells: the last map of the encoder is smaller than 8x8"),
        (["data.test.folder=other"], "data: training and test images have different classes"),
        (["data.test.folder=other", "probes=null", "finetune={batch_size: 16}"], "different classes"),
        (["data.train.folder=few", "training.batch_size=2"], "every class needs at least two labelled training images"),
        (["probes={data: {train: {folder: train}, test: {folder: test}}}"], "is not read if 'probes.data' is given"),
        (
            ["masker=attention", "model={architecture: vit_small_patch16_18x2_224, options: {patch_size: 4}}"],
            "no plain",
        ),
        (["model.options.global_pool=map"], "attention pooling would stay untrained"),
        (["data.test=null"], "nothing to measure with"),
        (["data={train: {images: train}, test: {folder: test}}"], "has no labels"),
        (["model.architecture=resnet18", "model.options={}"], "not a plain vision transformer"),
        (["model.architecture=vit_tiny"], "unknown architecture"),
        (["model.init_from=nowhere"], "nowhere: the directory holds no pretraining.json"),
        (["objective={name: simmim, unit: 5}"], "not a multiple of the mask unit"),
        (["finetune={batch_size: 100}"], "finetune.batch_size is 100"),
        (["sweep=1"], "unknown key 'sweep'"),
    ],
)
def test_faults_are_one_line_and_leave_nothing(world, tmp_path, options, message, pretrain, settings):
    out = tmp_path / "out"
    outcome = pretrain(world, out, *settings(*options))
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert not out.exists()


def test_damaged_and_constant_images(world, tmp_path, pretrain, result, settings):
    for name in CLASSES:
        (tmp_path / "flat" / name).mkdir(parents=True)
        for number in range(6):
            Image.new("L", (16, 16), 40 * number).save(tmp_path / "flat" / name / f"{number}.png")
    options = settings(f"data.train.folder={tmp_path / 'flat'}", "training.batch_size=6")
    outcome = pretrain(world, tmp_path / "constant", *options)
    assert outcome.exit_code == 0, outcome.output
    assert np.isfinite(result(tmp_path / "constant")["masks"]["reconstruction"])
    (tmp_path / "flat" / "ash" / "broken.png").write_bytes(b"\x89PNG nothing")
    broken = pretrain(world, tmp_path / "broken", *options)
    assert broken.exit_code == 2
    assert "broken.png: is not a readable image" in broken.stderr


@pytest.fixture(scope="session")
def masks_of_one_run(pretrain, result, settings):
    def masks_of_one_run(world, out, seed):
        options = settings("training.epochs=2", "masker={name: salience}", "ratio=0.5", f"seed={seed}")
        assert pretrain(world, out, *options).exit_code == 0
        return result(out)["masks"]

    return masks_of_one_run


def test_a_mistyped_file_is_one(tmp_path, monkeypatch, invoke):
    monkeypatch.chdir(tmp_path)
    for name in ("none.yaml", "job"):
        (tmp_path / "job").write_text("")
        outcome = invoke("run", name)
        assert outcome.exit_code == 2
        assert f"{name}: " in outcome.stderr


def test_a_sweep_over_ratios(world, tmp_path, invoke, masks_of_one_run, pretrain, result, settings):
    out = tmp_path / "sweep"
    maskers = "maskers={random: random, salience: {name: salience}, adaptive: {name: salience, spread: 0.1}}"
    content = yaml.safe_load((world / "sweep.yaml").read_text())
    del content["masker"]
    (world / "plain.yaml").write_text(yaml.safe_dump(content | {"ratios": [0.5, 0.75], "seeds": 2}))
    options = ("--out", out, *settings("training.epochs=2", maskers))
    outcome = invoke("run", world / "plain.yaml", *options)
    assert outcome.exit_code == 0, outcome.output
    found = result(out)
    assert found["ratios"] == [0.5, 0.75]
    assert list(found["maskers"]) == ["random", "salience", "adaptive"]
    one = found["maskers"]["random"]["linear"]
    assert np.shape(one["values"]) == (2, 2)
    assert one["mean"]["mean"] == pytest.approx(np.mean(one["values"]))
    assert one["range"]["mean"] == pytest.approx(np.mean([abs(a - b) for a, b in one["values"]]))
    other = found["maskers"]["adaptive"]["linear"]["values"]
    less = found["differences"]["adaptive"]["linear"]
    assert less["at"][1]["mean"] == pytest.approx(
        np.mean([b[1] - a[1] for a, b in zip(one["values"], other, strict=True)])
    )
    assert set(found["pixels"]) == {"linear", "knn"}
    assert found["maskers"]["random"]["masks"]["ratio"] == pytest.approx([0.5, 0.75])
    assert found["maskers"]["random"]["masks"]["salient_share"] == [None, None]
    page = (out / "report.html").read_text()
    for title in ("Which one depends least on the ratio?", "raw pixels", "masking ratio, %", "Against random"):
        assert title in page
    # The same run on its own has the same figures.
    alone = settings("training.epochs=2", "masker=random", "ratio=0.5", "seed=1")
    assert pretrain(world, tmp_path / "alone", *alone).exit_code == 0
    assert result(tmp_path / "alone")["probes"]["pretrained"]["linear"] == one["values"][1][0]
    salient = [masks_of_one_run(world, tmp_path / f"salience-{seed}", seed)["salient_share"] for seed in (0, 1)]
    assert found["maskers"]["salience"]["masks"]["salient_share"][0] == pytest.approx(np.mean(salient))
    again = invoke("run", world / "plain.yaml", *options, "--resume")
    assert "is already finished" in again.output
    compared = invoke("report", out, out, "--out", tmp_path / "two.html")
    assert compared.exit_code == 0, compared.output


@pytest.mark.parametrize("lacking", ["salience", "random", None])
def test_a_masker_that_does_not_fit_the_memory_is_left_out_by_name(
    world, tmp_path, monkeypatch, invoke, result, settings, lacking
):
    """None: an untrained encoder cannot be measured, so nothing can."""

    def carry(config, device):
        content = json.loads(config)
        if (content["job"]["masker"]["name"] == lacking) if content["train"] else lacking is None:
            raise OutOfMemoryError("OutOfMemoryError: CUDA out of memory")
        return run_sweep_unit(config, device)

    monkeypatch.setattr("myosotis.pretraining.sweep.job.run_sweep_unit", carry)
    content = yaml.safe_load((world / "sweep.yaml").read_text())
    del content["masker"]
    content["maskers"] = {"random": "random", "salience": "salience"}
    (world / "two.yaml").write_text(yaml.safe_dump(content))
    out = tmp_path / "sweep"
    arguments = (*settings("ratios=[.5]", "seeds=2", "training.epochs=1"), "--out", out)
    outcome = invoke("run", world / "two.yaml", *arguments)
    if lacking is None:
        assert outcome.exit_code == 1
        assert "out of memory: an untrained encoder could not be measured" in outcome.output
        return
    assert outcome.exit_code == 0, outcome.output
    assert list(result(out)["maskers"]) == [{"salience": "random", "random": "salience"}[lacking]]
    assert result(out)["not_run"] == {lacking: {"runs": 2, "reason": "OutOfMemoryError: CUDA out of memory"}}
    assert result(out)["differences"] == {}
    assert f"left out: {lacking}, 2 runs" in (out / "report.html").read_text()


@pytest.mark.processes
def test_a_run_of_a_sweep_is_logged_although_the_sweep_was_killed_right_after_it(world, tmp_path, monkeypatch, invoke):
    out = tmp_path / "sweep"
    arguments = ("run", world / "sweep.yaml", "--set", "ratios=[.5]", "--out", out)
    keep = Run.keep

    def killed(self, name, content):
        keep(self, name, content)
        if name.startswith("unit-"):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Run, "keep", killed)
        assert invoke(*arguments).exit_code == 130
    outcome = invoke(*arguments, "--resume")
    assert outcome.exit_code == 0, outcome.output
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert len(events) == len(list((out / "checkpoints").glob("unit-*.json")))


def test_a_killed_sweep_does_no_run_twice(world, tmp_path, invoke, killed_at):
    out = tmp_path / "sweep"
    arguments = ("run", world / "sweep.yaml", "--set", "ratios=[.5, .75]", "--out", out)
    kept = out / "checkpoints"
    killed_at(kept / "unit-*.json", *arguments)
    before = {path.name: path.stat().st_mtime_ns for path in kept.glob("unit-*.json")}
    assert 0 < len(before) < 3
    outcome = invoke(*arguments, "--resume", "--set", "executor.workers=2")
    assert outcome.exit_code == 0, outcome.output
    assert "runs are done already" in outcome.output
    assert {name: (kept / name).stat().st_mtime_ns for name in before} == before
    assert len(list(kept.glob("unit-*.json"))) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["ratios=[.5, high]"], "ratios"),
        (["ratios=[.5, .5]"], "contains duplicates"),
        (["ratio_end=0.9"], "leave 'ratio_end' out"),
        (["ratios=[.5, .99]"], "masker 'salience' at 0.99"),
        (["maskers={random: random}"], "'maskers' replace 'masker'"),
        (["probes=null", "data={train: {images: train}}"], "give 'probes' or 'finetune'"),
    ],
)
def test_faults_of_a_sweep(world, tmp_path, changes, message, invoke, settings):
    outcome = invoke("run", world / "sweep.yaml", "--out", tmp_path / "out", *settings(*changes))
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.stderr
    assert not (tmp_path / "out").exists()
