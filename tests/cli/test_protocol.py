"""`protocol`, end to end on tiny images."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
import yaml
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.engine.failures import OutOfMemoryError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.protocol.store import ResultStore
from myosotis.protocol.units import run_unit

STREAMS = {"tune": ("ash", "birch", "cedar", "elm"), "judge": ("fir", "hazel", "ivy", "juniper")}


def write(place, classes, count, seed, shift=0):
    patterns = np.random.default_rng(11).integers(0, 200, (len(classes), 8, 8))
    noise = np.random.default_rng(seed)
    for label, name in enumerate(classes):
        (place / name).mkdir(parents=True)
        for number in range(count):
            pixels = ((patterns[label] + shift) % 200 + noise.integers(0, 55, (8, 8))).astype(np.uint8)
            Image.fromarray(pixels).save(place / name / f"{number:02d}.png")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocol")
    for number, (name, classes) in enumerate(STREAMS.items()):
        write(folder / name / "train", classes, 10, 10 * number, 70 * number)
        write(folder / name / "test", classes, 5, 10 * number + 1, 70 * number)
    config = {
        "job": "protocol",
        "name": "tiny",
        "shared": {
            "scenario": {"first": 2, "per_task": 2},
            "model": {"options": {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}},
            "memory": {"total": 8},
            "training": {"batch_size": 8},
        },
        "tuning": {"train": {"folder": "tune/train"}, "test": {"folder": "tune/test"}},
        "evaluation": {"train": {"folder": "judge/train"}, "test": {"folder": "judge/test"}},
        "methods": {
            "er": {"space": {"training.epochs": [1, 4], "training.learning_rate": [0.01, 0.1]}},
            "icarl": {"space": {"training.epochs": [1, 4], "method.loss": ["bce", "ce"]}},
        },
        "trials": 3,
        "seeds": 2,
        "evaluation_seeds": 2,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


def run(world, out, *options, arguments=()):
    given = [part for option in options for part in ("--set", option)]
    return CliRunner().invoke(app, ["run", str(world / "job.yaml"), "--out", str(out), *given, *arguments])


def result(out):
    return json.loads((out / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = run(world, out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def without_seconds(value):
    """What does not depend on the clock."""
    if isinstance(value, dict):
        return {key: without_seconds(one) for key, one in value.items() if key != "seconds"}
    return value


def figures(found):
    """What does not depend on the clock."""
    return {key: without_seconds(found[key]) for key in ("methods", "ranks", "agreement")}


def test_what_a_protocol_leaves(finished):
    out, outcome = finished
    found = result(out)
    assert found["kind"] == "protocol"
    assert set(found["methods"]) == {"er", "icarl"}
    for one in found["methods"].values():
        assert len(one["draws"]) == len(one["tuning_scores"]) == 3
        best = max(range(3), key=lambda trial: (one["tuning_scores"][trial], -trial))
        assert one["selected"]["trial"] == best
        assert one["selected"]["drawn"] == one["draws"][best]
        assert one["tuned"]["mean"] == pytest.approx(one["tuning_scores"][best])
        assert one["conventional"]["optimism"] >= -1e-9
        assert one["tuning_cost"]["runs"] == 6
        assert len(one["evaluated"]["values"]) == 2
    assert sorted(found["ranks"]["evaluation"].values()) == [1, 2]
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert sum(event["phase"] == "tuning" for event in events) <= 12
    assert (out / "study.db").is_file()
    page = (out / "report.html").read_text()
    for text in (
        "Which method is best?",
        "Does tuning carry over?",
        "What would the conventional protocol have shown?",
        "Sensitivity",
    ):
        assert text in page
    assert "Which method is best?" in outcome.output
    assert CliRunner().invoke(app, ["report", str(out)]).exit_code == 0


def test_a_unit_is_logged_although_the_run_was_killed_right_after_it(world, tmp_path, monkeypatch):
    out, few = tmp_path / "run", ("trials=1", "seeds=1", "evaluation_seeds=1", "conventional=false")
    add = ResultStore.add

    def killed(self, *arguments):
        add(self, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ResultStore, "add", killed)
        assert run(world, out, *few).exit_code == 130
    assert run(world, out, *few, arguments=["--resume"]).exit_code == 0
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    units = [(event["phase"], event["method"]) for event in events]
    assert sorted(units) == [(phase, name) for phase in ("evaluation", "tuning") for name in ("er", "icarl")]


def test_labels_of_the_evaluation_stream_do_not_move_the_choice(finished, world, tmp_path):
    """Turn them round by one class and tune again."""
    for split in ("train", "test"):
        classes = STREAMS["judge"]
        for place, name in enumerate(classes):
            source = world / "judge" / split / name
            target = tmp_path / "turned" / split / classes[(place + 1) % len(classes)]
            target.mkdir(parents=True)
            for path in source.iterdir():
                (target / path.name).write_bytes(path.read_bytes())
    folders = [f"evaluation.{split}.folder={tmp_path / 'turned' / split}" for split in ("train", "test")]
    outcome = run(world, tmp_path / "run", *folders, "conventional=false")
    assert outcome.exit_code == 0, outcome.output
    one, other = result(finished[0]), result(tmp_path / "run")
    for name in one["methods"]:
        assert one["methods"][name]["selected"] == other["methods"][name]["selected"]
    assert "conventional" not in other["ranks"]


@pytest.mark.slow
def test_the_same_figures_with_two_workers(finished, world, tmp_path):
    outcome = run(world, tmp_path / "two", "executor.workers=2")
    assert outcome.exit_code == 0, outcome.output
    one, two = figures(result(finished[0])), figures(result(tmp_path / "two"))
    assert one["methods"]["er"]["tuning_scores"] == two["methods"]["er"]["tuning_scores"]
    assert one == two


@pytest.mark.processes
def test_a_killed_protocol_resumes_to_the_same_table(finished, world, tmp_path):
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "myosotis", "run", str(world / "job.yaml"), "--out", str(out)]
    command += ["--set", "executor.workers=2"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    metrics, deadline = out / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") >= 3:
            break
        time.sleep(0.02)
    # The driver and its workers.
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "result.json").exists()
    # With one worker: where it runs does not matter.
    outcome = run(world, out, arguments=["--resume"])
    assert outcome.exit_code == 0, outcome.output
    assert "runs are done already" in outcome.stderr
    assert figures(result(out)) == figures(result(finished[0]))


def test_pruning_saves_seeds_and_says_so(finished, world, tmp_path):
    outcome = run(world, tmp_path / "run", "prune={}", "conventional=false")
    assert outcome.exit_code == 0, outcome.output
    found, whole = result(tmp_path / "run"), result(finished[0])
    assert (found["pruned"], whole["pruned"]) == (True, False)
    for name, one in found["methods"].items():
        # Three trials on the first seed, two of them on the second.
        assert one["tuning_cost"]["runs"] == 5
        assert len(one["finished_trials"]) == 2
        assert one["selected"]["trial"] in one["finished_trials"]
        for trial in one["finished_trials"]:
            assert one["tuning_scores"][trial] == whole["methods"][name]["tuning_scores"][trial]
    assert "Trials were pruned" in (tmp_path / "run" / "report.html").read_text()


QUICK = ("methods={er: {space: {training.epochs: [1]}}}", "trials=1", "seeds=1", "evaluation_seeds=1")
NOT_CONVENTIONAL = (*QUICK, "conventional=false")


def copied(world, place):
    """The world elsewhere, so that its images can be changed."""
    shutil.copytree(world, place)
    return place


def test_a_shared_storage_never_gives_results_of_other_images(world, tmp_path):
    """Results were kept under the configuration alone: new images at the same paths got those of the old ones."""
    here = copied(world, tmp_path / "world")
    shared = f"storage=sqlite:///{tmp_path / 'shared.db'}"
    first = run(here, tmp_path / "first", *NOT_CONVENTIONAL, shared)
    assert first.exit_code == 0, first.output
    again = run(here, tmp_path / "again", *NOT_CONVENTIONAL, shared)
    assert "tuning: 1 of 1 runs are done already" in again.output
    assert "evaluation: 1 of 1 runs are done already" in again.output
    # Labels alone: two classes of the stream change their images.
    for split in ("train", "test"):
        fir, hazel = (here / "judge" / split / name for name in ("fir", "hazel"))
        fir.rename(here / "aside")
        hazel.rename(fir)
        (here / "aside").rename(hazel)
    write(here / "more", ("fir",), 1, 5)
    (here / "more" / "fir" / "00.png").rename(here / "judge" / "train" / "fir" / "00.png")
    other = run(here, tmp_path / "other", *NOT_CONVENTIONAL, shared)
    assert other.exit_code == 2
    changed = "evaluation train images, evaluation test images changed since"
    assert f"study 'tiny' was started with other input: {changed}; give the study another 'name'" in other.output


def body_weights(path, seed):
    spec = ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.25,), {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2})
    save_file(build_classifier(spec, seed=seed).classifier.state_dict(), path)


def test_a_storage_never_mixes_results_of_two_files_of_weights(world, tmp_path):
    """The path alone was in the key: the second file got the results of the first one."""
    weights = tmp_path / "body.safetensors"
    options = [*NOT_CONVENTIONAL, f"shared.model.weights={weights}", f"storage=sqlite:///{tmp_path / 'shared.db'}"]
    body_weights(weights, 1)
    first = run(world, tmp_path / "first", *options)
    assert first.exit_code == 0, first.output
    body_weights(weights, 2)
    other = run(world, tmp_path / "other", *options)
    assert other.exit_code == 2
    assert "was started with other input: weights of er changed since" in other.output
    body_weights(weights, 1)
    again = run(world, tmp_path / "again", *options)
    assert again.exit_code == 0, again.output
    assert "evaluation: 1 of 1 runs are done already" in again.output


def test_weights_that_change_during_a_search_end_it(world, tmp_path, monkeypatch):
    weights, done = tmp_path / "body.safetensors", []

    def carry(config, device):
        done.append(config)
        if len(done) == 2:
            body_weights(weights, 2)
        return run_unit(config, device)

    body_weights(weights, 1)
    monkeypatch.setattr("myosotis.protocol.job.run_unit", carry)
    outcome = run(world, tmp_path / "run", *NOT_CONVENTIONAL, f"shared.model.weights={weights}")
    assert outcome.exit_code == 2
    assert "body.safetensors: weights changed during the search" in outcome.output
    assert len(done) == 2


def test_a_driver_leaves_out_what_another_has_done_meanwhile(world, tmp_path, monkeypatch):
    """Drivers that start together did every unit each."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    options, carried = (*NOT_CONVENTIONAL, f"storage={url}"), []

    def carry(config, device):
        carried.append(config)
        if len(carried) == 1:
            with monkeypatch.context() as other:
                other.setattr("myosotis.protocol.job.run_unit", run_unit)
                assert run(world, tmp_path / "other", *options).exit_code == 0
        return run_unit(config, device)

    monkeypatch.setattr("myosotis.protocol.job.run_unit", carry)
    outcome = run(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    assert len(carried) == 1
    assert figures(result(tmp_path / "run")) == figures(result(tmp_path / "other"))
    (study,) = optuna.get_all_study_summaries(url)
    stored = [trial.user_attrs["key"] for trial in optuna.load_study(study_name=study.study_name, storage=url).trials]
    assert len(stored) == len(set(stored)) > 1


@pytest.mark.slow
def test_two_drivers_share_a_storage(world, tmp_path):
    shared = f"storage=sqlite:///{tmp_path / 'shared.db'}"
    arguments = [part for option in (*NOT_CONVENTIONAL, shared) for part in ("--set", option)]
    command = [sys.executable, "-m", "myosotis", "run", str(world / "job.yaml"), *arguments, "--out"]
    drivers = [
        subprocess.Popen([*command, str(tmp_path / name)], stderr=subprocess.PIPE, text=True) for name in ("a", "b")
    ]
    for driver in drivers:
        assert driver.wait(timeout=120) == 0, driver.stderr.read()
    assert figures(result(tmp_path / "a")) == figures(result(tmp_path / "b"))


def test_a_resumed_protocol_checks_labels(world, tmp_path):
    """Classes of the tuning stream could change their images between sessions."""
    here = copied(world, tmp_path / "world")
    assert run(here, tmp_path / "run", *NOT_CONVENTIONAL).exit_code == 0
    (tmp_path / "run" / "result.json").unlink()
    for split in ("train", "test"):
        ash, birch = (here / "tune" / split / name for name in ("ash", "birch"))
        ash.rename(here / "aside")
        birch.rename(ash)
        (here / "aside").rename(birch)
    outcome = run(here, tmp_path / "run", *NOT_CONVENTIONAL, arguments=["--resume"])
    assert outcome.exit_code == 2
    assert "was started with other input: tuning train images, tuning test images changed since" in outcome.output


def test_runs_that_fail_are_told_and_the_search_goes_on(world, tmp_path):
    """A setting that does not suit counted as divergence, and any other error ended the search."""
    space = "{training.epochs: [1], memory.total: [8, 3]}"
    options = (f"methods={{er: {{space: {space}}}}}", "trials=6", "seeds=1", "evaluation_seeds=1", "conventional=false")
    outcome = run(world, tmp_path / "run", *options, "seed=1")
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")["methods"]["er"]
    failed = sum(drawn["memory.total"] == 3 for drawn in found["draws"])
    reason = "SettingsError: a memory of 3 is smaller than one exemplar for each of 4 classes"
    assert found["failed_runs"] == [{"phase": "tuning", "kind": "failed", "reason": reason, "count": failed}]
    assert 0 < failed == found["failures"] == found["tuning_scores"].count(0)
    assert found["selected"]["drawn"]["memory.total"] == 8
    assert f"No: {failed} tuning runs of er failed ({reason})" in " ".join(outcome.output.split())
    # They are not tried again.
    (tmp_path / "run" / "result.json").unlink()
    again = run(world, tmp_path / "run", *options, "seed=1", arguments=["--resume"])
    assert "tuning: 2 of 2 runs are done already" in again.output  # two kinds of trials
    assert figures(result(tmp_path / "run"))["methods"]["er"] == without_seconds(found)


def test_evaluation_runs_that_diverge_are_told(world, tmp_path):
    """They were averaged in as 0, and counted nowhere."""
    space = "methods={er: {space: {training.learning_rate: [1.0e+25], training.schedule: [constant]}}}"
    outcome = run(world, tmp_path / "run", space, "trials=1", "seeds=1", "conventional=true")
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")["methods"]["er"]
    assert [found[key]["failures"] for key in ("tuned", "evaluated", "conventional")] == [1, 2, 1]
    assert [(one["phase"], one["kind"], one["count"]) for one in found["failed_runs"]] == [
        ("tuning", "diverged", 1),
        ("evaluation", "diverged", 2),
        ("conventional", "diverged", 1),
    ]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "0.000 <span>[0.000, 0.000]</span>, 2 of 2 failed" in page
    text = " ".join(outcome.output.split())
    assert "No: all 4 runs of er failed (training diverged in task 1; lower the learning rate)" in text
    assert "On the evaluation stream no method, as every evaluation run failed." in text


def test_a_run_that_diverges_counts_as_nothing(world, tmp_path):
    space = "methods={er: {space: {training.learning_rate: [1.0e+25, 0.05], training.schedule: [constant]}}}"
    outcome = run(world, tmp_path / "run", space, "trials=6", "seeds=1", "conventional=false")
    assert outcome.exit_code == 0, outcome.output
    found = result(tmp_path / "run")["methods"]["er"]
    rates = [drawn["training.learning_rate"] for drawn in found["draws"]]
    assert found["failures"] == rates.count(1e25) > 0
    assert all((score == 0) == (rate == 1e25) for score, rate in zip(found["tuning_scores"], rates, strict=True))
    assert found["selected"]["drawn"]["training.learning_rate"] == 0.05


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["evaluation.train.folder=tune/train", "evaluation.test.folder=tune/test"], "share the class ash"),
        (["evaluation.train.folder=same/train", "evaluation.test.folder=same/test"], "share 1 images"),
        (["evaluation.only=[fir, hazel]"], "has 4 classes, the evaluation stream 2"),
        (["methods={er: {space: {training.lr: [0.1]}}}"], "methods.er: training.lr: Extra inputs"),
        (["methods={er: {space: {training.epochs: []}}}"], "'training.epochs' has no value"),
        (["methods={er: {space: {training.epochs: [1, 0]}}}"], "greater than 0"),
        (["methods={icarl: {space: {method.wieght: [1]}}}"], "did you mean 'weight'"),
        (["methods=[ers]"], "unknown method 'ers'"),
        (["shared.scenario.per_task=3"], "the number of classes is 4"),
        (["shared.memory.total=3"], "smaller than one exemplar"),
        (["shared.continue_from=tune"], "leave 'shared.continue_from' out: it has no effect"),
        (["shared.keep_learners=true"], "leave 'shared.keep_learners' out: it has no effect"),
        (["tuning.train.folder=nowhere"], "no such folder"),
        (["executor={kind: slurm}"], "'executor.kind'"),
    ],
)
def test_bad_input_is_one_line_and_status_two_and_changes_nothing(options, message, world, tmp_path):
    if not (world / "same").exists():
        for split in ("train", "test"):
            write(world / "same" / split, STREAMS["judge"], 3, 40)
        shared = world / "tune" / "train" / "ash" / "00.png"
        (world / "same" / "train" / "fir" / "00.png").write_bytes(shared.read_bytes())
    before = sorted(path for path in world.rglob("*"))
    outcome = run(world, tmp_path / "run", *options)
    assert outcome.exit_code == 2, outcome.output
    assert len(outcome.stderr.splitlines()) == 1, outcome.stderr
    assert message in outcome.stderr
    assert not (tmp_path / "run").exists()
    assert sorted(path for path in world.rglob("*")) == before


def test_a_storage_that_cannot_be_reached(world, tmp_path):
    outcome = run(world, tmp_path / "run", f"storage=sqlite:///{tmp_path / 'none' / 'study.db'}")
    assert outcome.exit_code == 2
    assert "cannot be used" in outcome.stderr.splitlines()[-1]


def test_a_study_of_another_configuration(world, tmp_path):
    url = f"storage=sqlite:///{tmp_path / 'study.db'}"
    small = ["trials=1", "seeds=1", "evaluation_seeds=1", "conventional=false"]
    assert run(world, tmp_path / "one", url, *small).exit_code == 0
    outcome = run(world, tmp_path / "two", url, *small, "seed=1")
    assert outcome.exit_code == 2
    assert "belongs to another configuration" in outcome.stderr.splitlines()[-1]


def test_the_password_of_a_storage_stays_in_the_process(world, tmp_path):
    few = ("trials=1", "seeds=1", "evaluation_seeds=1", "conventional=false")
    few += ("methods={er: {space: {training.epochs: [1]}}}",)
    storage = f"storage=sqlite:///file:{tmp_path / 'study.db'}?uri=true&password=S3CRETPW"
    for arguments in ((), ("--resume",)):
        outcome = run(world, tmp_path / "out", *few, storage, arguments=arguments)
        assert outcome.exit_code == 0, outcome.output
        assert "S3CRETPW" not in outcome.output
    outcome = run(world, tmp_path / "out", *few, f"{storage}&x=1", arguments=("--resume",))
    assert "storage was" in outcome.stderr
    assert "S3CRETPW" not in outcome.output
    # The database itself is not the run's.
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != "study.db"]
    assert {"config.yaml", "report.html"} <= {path.name for path in files}
    assert not [path for path in files if b"S3CRETPW" in path.read_bytes()]
    assert "password=***" in (tmp_path / "out" / "config.yaml").read_text()


def test_nothing_is_removed_through_a_path_that_does_not_exist(world, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("kept")
    outcome = run(world, "missing/../precious")
    assert outcome.exit_code == 2
    assert "already exists" in outcome.stderr
    for name in (".", "..", "...x/", "a/b", "a b", "x" * 101, "''", '"a\\n"'):
        outcome = CliRunner().invoke(app, ["run", str(world / "job.yaml"), "--set", f"name={name}"])
        assert outcome.exit_code == 2, name
        assert "'name': a name has 1 to 100 letters" in outcome.stderr, outcome.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["precious", "file"]


def test_a_method_that_does_not_fit_the_memory_is_left_out_by_name(world, tmp_path, monkeypatch):
    """It had a score of 0, which a resumed run kept."""
    tight = [True]

    def carry(config, device):
        if tight[0] and json.loads(config)["job"]["method"]["name"] == "icarl":
            raise OutOfMemoryError("OutOfMemoryError: CUDA out of memory")
        return run_unit(config, device)

    monkeypatch.setattr("myosotis.protocol.job.run_unit", carry)
    shared = f"storage=sqlite:///{tmp_path / 'shared.db'}"
    options = ("trials=1", "seeds=1", "evaluation_seeds=1", "conventional=false", shared)
    outcome = run(world, tmp_path / "run", *options)
    assert outcome.exit_code == 0, outcome.output
    assert "tuning of icarl: not run: memory (OutOfMemoryError: CUDA out of memory)" in outcome.output
    found = result(tmp_path / "run")
    assert list(found["methods"]) == ["er"]
    assert found["not_run"] == {"icarl": {"runs": 1, "reason": "OutOfMemoryError: CUDA out of memory"}}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "not run for want of memory, and left out: icarl, 1 run (OutOfMemoryError: CUDA out of memory)" in page
    # Nothing of it was stored: with more memory it has its scores.
    tight[0] = False
    assert run(world, tmp_path / "again", *options).exit_code == 0
    assert list(result(tmp_path / "again")["methods"]) == ["er", "icarl"]
    assert result(tmp_path / "again")["not_run"] == {}


def test_a_search_without_memory_for_anything_ends(world, tmp_path, monkeypatch):
    def carry(config, device):
        raise OutOfMemoryError("MemoryError: no")

    monkeypatch.setattr("myosotis.protocol.job.run_unit", carry)
    outcome = run(world, tmp_path / "run", *QUICK)
    assert outcome.exit_code == 1
    assert "out of memory: no method could be run: MemoryError: no; --resume continues the run" in outcome.output
    assert not (tmp_path / "run" / "result.json").exists()
