"""`learn-representations`, end to end on tiny images."""

import json

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file

from myosotis.continual.selfsupervised.config import RepresentationConfig
from myosotis.continual.selfsupervised.job import RepresentationJob
from myosotis.continual.selfsupervised.saved import load_ssl_learner
from myosotis.engine.config import load_config
from myosotis.models.image_classifier import load_classifier

CLASSES = ("ash", "birch", "cedar", "elm")


def write_folder(place, count, seed):
    noise = np.random.default_rng(seed)
    for number, name in enumerate(CLASSES):
        (place / name).mkdir(parents=True)
        for sample in range(count):
            pixels = noise.integers(0, 90, (8, 8), dtype=np.uint8)
            top, left = 4 * (number // 2), 4 * (number % 2)
            pixels[top : top + 4, left : left + 4] += 120
            Image.fromarray(pixels).save(place / name / f"{seed}-{sample:02d}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A directory with images and a configuration."""
    folder = tmp_path_factory.mktemp("images")
    write_folder(folder / "train", 24, 0)
    write_folder(folder / "test", 12, 1)
    config = {
        "job": "learn-representations",
        "name": "tiny",
        "data": {"train": {"folder": "train"}, "test": {"folder": "test"}},
        "scenario": {"kind": "data", "tasks": 3},
        "model": {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}},
        "base": {"name": "moco", "queue": 24, "dim": 8, "hidden": 16},
        "method": {"name": "pnr", "hidden": 16},
        "training": {
            "epochs": 2,
            "batch_size": 16,
            "views": {"area": [0.5, 1.0], "hue": 0, "saturation": 0, "grey": 0},
        },
        "probes": {"shares": [0.25], "drift_samples": 24},
        "shown": 16,
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
    assert found["kind"] == "learn-representations"
    assert found["samples"] == {"train": [32, 32, 32], "test": [48, 48, 48], "repeated": 0}
    assert [len(one["linear"]) for one in (found["before"], *found["history"])] == [3] * 4
    assert found["metrics"]["linear"]["final"] == found["history"][-1]["linear_all"]
    assert set(found["few_labels"]) == {"0.25"}
    assert set(found["losses"][0]) == {"ssl"}
    assert set(found["losses"][1]) == {"plasticity", "stability"}
    assert found["cost"]["steps"] == 3 * 2 * 2
    assert found["cost"]["images"] == 2 * 3 * 2 * 32
    method = yaml.safe_load((out / "config.yaml").read_text())["method"]
    assert method["plast_negs"] == "both"
    learner, spec = load_ssl_learner(out / "model")
    encoder, _ = load_classifier(out / "model")
    image = torch.rand(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(encoder(image), learner.features(image))
    assert spec.size == (8, 8)
    assert learner.past is None
    drawn = json.loads((out / "map.json").read_text())
    assert {len(drawn[key]) for key in drawn} == {16}
    page = (out / "report.html").read_text()
    for title in ("Has it learnt?", "Has it kept?", "How sure are we?", "Few labels", "t-SNE", "offline, L-BFGS"):
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
    assert one["history"] == same["history"]
    assert one["lineage"]["model_out"] != other["lineage"]["model_out"]


def test_runs_side_by_side(finished, world, tmp_path, invoke, learn, settings):
    runs = [finished[0]]
    for seed, method in ((1, "{name: pnr, hidden: 16}"), (0, "finetune"), (1, "finetune")):
        out = tmp_path / f"{method[:3]}-{seed}"
        assert learn(world, out, *settings(f"seed={seed}", f"method={method}")).exit_code == 0
        runs.append(out)
    outcome = invoke("report", *runs, "--out", tmp_path / "all.html")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "all.html").read_text()
    assert "4 runs in 2 groups" in page
    assert page.count(">finetune<") == page.count(">pnr<") > 0
    first = invoke("report", finished[0])
    assert first.exit_code == 0
    assert "Has it learnt?" in first.output


def test_plasticity_is_against_fine_tuning_that_is_else_alike(world, tmp_path, invoke, learn, result, settings):
    runs = []
    for name, options in (
        ("plain", ["method=finetune"]),
        ("slow", ["method=finetune", "training.learning_rate=0.0001"]),
        ("pnr", []),
    ):
        assert learn(world, tmp_path / name, *settings("training.epochs=1", *options)).exit_code == 0
        runs.append(tmp_path / name)
    assert invoke("report", *runs, "--out", tmp_path / "all.html").exit_code == 0
    learnt = [result(run)["metrics"]["linear"]["learning"] for run in runs]
    text = (tmp_path / "all.html").read_text()
    assert text.count("<td>0.000</td>") + text.count(">0.000<") >= 2  # each fine-tuning against itself
    assert f"{learnt[2] - learnt[0]:.3f}" in text
    assert "offline, L-BFGS" in text
    other = tmp_path / "balanced"
    assert learn(world, other, *settings("training.epochs=1", "probes={mode: balanced, per_class: 8}")).exit_code == 0
    assert invoke("report", runs[2], other, "--out", tmp_path / "two.html").exit_code == 0
    assert "Probes of different kinds cannot be compared" in (tmp_path / "two.html").read_text()


def test_everything_else_that_may_be_set(world, tmp_path, learn, result, settings):
    options = [
        "scenario={kind: class, first: 2, per_task: 2, class_order: [elm, ash, birch, cedar]}",
        "base={name: barlow, dim: 8, hidden: 16}",
        "method={name: er}",
        "memory={total: 10}",
        "data.limit=80",
        "data.test_limit=40",
        "model.mean=[0.4]",
        "model.std=[0.2]",
        "training.memory_batch_size=8",
        "training.optimizer=lars",
        "training.warmup=1",
        "training.accumulate=2",
        "training.max_grad_norm=1",
        "training.views.blur=[0.5, 0.1]",
        "probes={mode: balanced, per_class: 8, transfer: {corners: {train: {folder: train}, test: {folder: test}}}}",
        "keep_learners=true",
        "shown=0",
        "checkpoint_every=2",
    ]
    out = tmp_path / "run"
    outcome = learn(world, out, *settings(*options))
    assert outcome.exit_code == 0, outcome.output
    found = result(out)
    assert found["tasks"] == [["elm", "ash"], ["birch", "cedar"]]
    assert found["cost"]["exemplars"] == 10
    assert set(found["history"][0]["transfer"]) == {"corners"}
    assert json.loads((out / "map.json").read_text()) is None
    assert load_ssl_learner(out / "learners" / "task-1")[1].base == "barlow"
    assert "8 samples of each class" in found["probe"]


def test_domains(world, tmp_path, learn, result, settings):
    one = "{train: {folder: train}, test: {folder: test}, change: %s, limit: 64}"
    domains = ", ".join(one % change for change in ("none", "invert", "rotate_90"))
    options = settings(
        f"data={{domains: [{domains}]}}",
        "scenario={kind: domain}",
        "base={name: vicreg, dim: 8, hidden: 16}",
        "training.learning_rate=0.005",
    )
    outcome = learn(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")
    assert found["samples"]["train"] == [64, 64, 64]
    assert "of its domain" in found["probe"]
    method = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["method"]
    assert (method["lam"], method["mu"]) == (25.0, 8.0)  # as released for domains


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["scenario={kind: class, first: 3, per_task: 2}"], "the number of classes is 4"),
        (["scenario={kind: class, first: 2}"], "needs 'first' and 'per_task'"),
        (["scenario={kind: data, tasks: 2, first: 2}"], "'first' belongs to 'kind: class'"),
        (["scenario={kind: data}"], "'tasks' goes with 'kind: data'"),
        (["scenario={kind: domain}"], "'data.domains' goes with"),
        (["scenario.tasks=30"], "has 24 samples, fewer than the 30 tasks"),
        (["data={train: {folder: train}}"], "give 'train' and 'test', or 'domains'"),
        (["data.test.folder=train"], "the same images"),
        (["data.train.folder=nowhere"], "nowhere"),
        (["data.limit=900"], "data.limit is 900"),
        (["base=moko"], "unknown base 'moko'; did you mean 'moco'?"),
        (["base.queue=8"], "a queue of 8 is smaller than a batch of 16"),
        (["base={name: vicreg, dim: 8}", "method.mu=30"], "mu must be below lam"),
        (["method.mu=0.5"], "'mu' belongs to byol, barlow, vicreg"),
        (["method=cassel"], "did you mean 'cassle'?"),
        (["method=er"], "'er' needs a 'memory'"),
        (["memory.total=5"], "'pnr' reads no stored samples"),
        (["training.memory_batch_size=4"], "'training.memory_batch_size' has no effect on 'pnr'"),
        (["training.batch_size=1"], "'training.batch_size'"),
        (["training.batch_size=24", "scenario.tasks=6"], "a task has 16 images, fewer than a batch of 24"),
        (["training.views.flip=2"], "'training.views.flip': input should be less than or equal to 1"),
        (["training.warmup=2"], "must be shorter than the training of 2"),
        (["training.lr=0.1"], "unknown key 'training.lr'"),
        (["probes={mode: balanced, per_class: 100}"], "probes: class 0 has 24 samples, expected 100"),
        (["training.warmup=1", "training.schedule=onecycle"], "'onecycle' has its own warm-up"),
        (["method={name: ewc, group: 20}"], "a batch of 16 is smaller than 'group', 20"),
        (["method={name: ewc, group: 1}"], "method 'ewc', group"),
        (["probes.per_class=4"], "'per_class' belongs to 'mode: balanced'"),
        (["model.architecture=small-resnit"], "did you mean 'small-resnet'"),
        (["model.mean=[0.5, 0.5]", "model.std=[0.5, 0.5]"], "1 numbers each"),
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


def test_a_resumed_run_checks_its_transfer_sets(world, tmp_path, learn, settings):
    """They could be exchanged between sessions."""
    write_folder(tmp_path / "train", 6, 2)
    write_folder(tmp_path / "test", 4, 3)
    transfer = f"{{other: {{train: {{folder: {tmp_path / 'train'}}}, test: {{folder: {tmp_path / 'test'}}}}}}}"
    options = settings("training.epochs=1", "scenario.tasks=1", "shown=0", f"probes.transfer={transfer}")
    assert learn(world, tmp_path / "run", *options).exit_code == 0
    for split in ("train", "test"):
        (tmp_path / split / "ash").rename(tmp_path / "aside")
        (tmp_path / split / "elm").rename(tmp_path / split / "ash")
        (tmp_path / "aside").rename(tmp_path / split / "elm")
    outcome = learn(world, tmp_path / "run", *options, "--resume")
    assert outcome.exit_code == 2
    assert "was started with other input: other train images, other test images changed since" in outcome.stderr


def test_training_that_diverges_is_said_to(world, tmp_path, learn, settings):
    outcome = learn(world, tmp_path / "run", *settings("training.learning_rate=1e30", "training.schedule=constant"))
    assert outcome.exit_code == 1
    assert "training diverged in task 1; lower the learning rate" in outcome.stderr.splitlines()[-1]
    assert not (tmp_path / "run" / "result.json").exists()


def test_a_fault_of_the_program_is_not_taken_for_a_wrong_setting(world, tmp_path):
    def say(line):
        if line.startswith("task 1"):
            raise ValueError("a bug")

    config = load_config(world / "job.yaml", RepresentationConfig)
    job = RepresentationJob(config, tmp_path / "run", say=say)
    job.prepare()
    with pytest.raises(ValueError, match="^a bug$") as caught:
        job.run()
    assert type(caught.value) is ValueError


@pytest.mark.processes
def test_a_run_killed_in_its_third_task_resumes_to_the_same_probes(finished, world, tmp_path, killed_at, learn, result):
    out = tmp_path / "killed"
    wanted = out / "checkpoints" / "task-2" / "learn" / "step-2"
    killed_at(wanted, "run", world / "job.yaml", "--out", out)
    assert not (out / "result.json").exists()
    outcome = learn(world, out, "--resume")
    assert outcome.exit_code == 0, outcome.output
    one, other = result(out), result(finished[0])
    assert one["lineage"]["model_out"] == other["lineage"]["model_out"]
    for found, expected in zip(one["history"], other["history"], strict=True):
        assert found == expected


@pytest.mark.processes
def test_two_processes(world, tmp_path, in_two_processes):
    done = in_two_processes("run", world / "job.yaml", "--out", tmp_path / "two")
    assert (tmp_path / "two" / "report.html").is_file(), done.stderr
    beside = load_file(tmp_path / "two" / "model" / "method.safetensors")
    # The keys of both processes are in the queue: three tasks of two epochs of two batches of 16, into 24 places.
    assert int(beside["base.queue.valid"]) == 24
    assert int(beside["base.queue.pointer"]) == 3 * 2 * 2 * 16 % 24
    assert len(beside["base.queue.samples"].unique()) == 24
    assert int(beside["past_queue.valid"]) == 24
    assert len(beside["past_queue.samples"].unique()) == 24
