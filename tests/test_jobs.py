"""A configuration that was given to another command is recognised."""

import subprocess
import sys
from pathlib import Path

import pytest

from myosotis.engine.config import load_config, local_paths
from myosotis.engine.errors import InputError
from myosotis.engine.job import Job
from myosotis.jobs import JOBS, command_of

EXAMPLES = Path(__file__).parents[1] / "examples"
COMMANDS = {
    "erase-people.yaml": "unlearn language",
    "forget-photos.yaml": "unlearn classifier",
    "learn-fashion.yaml": "learn classes",
    "segment-scenes.yaml": "learn segments",
    "represent-fashion.yaml": "learn representations",
    "pretrain-fashion.yaml": "pretrain",
    "sweep-fashion.yaml": "pretrain sweep",
    "denoise-train.yaml": "denoise train",
    "protocol-fashion.yaml": "protocol",
}


def test_every_entry_of_the_table_can_be_imported():
    for job in JOBS.values():
        assert job.kind == job.job_class().kind
        assert callable(job.report_module().describe)
        assert callable(job.report_module().compare)
        assert issubclass(job.job_class(), Job)
        assert all(len(table) > 0 for table in job.method_tables().values())


def test_the_table_has_the_keys_of_every_configuration():
    for job in JOBS.values():
        fields = job.schema().model_fields
        assert job.takes(dict.fromkeys(fields))
        assert set(job.keys.split()) <= set(fields)
        assert not job.takes({"nonsense": 1})


def test_a_file_with_two_slips_waits_for_no_other_job(tmp_path):
    path = tmp_path / "job.yaml"
    path.write_text("name: a\ntrainign: {epochs: 1}\nmemmory: {}\n")
    code = (
        "import sys; from pathlib import Path; from myosotis.jobs import JOBS, command_of\n"
        "assert command_of(Path(sys.argv[1]), JOBS['learn classes']) is None\n"
        "assert not any(name.startswith('transformers') for name in sys.modules)"
    )
    outcome = subprocess.run([sys.executable, "-c", code, str(path)], check=False, capture_output=True, text=True)
    assert (outcome.returncode, outcome.stderr) == (0, "")


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_an_example_is_recognised_by_every_other_command(name, command):
    assert command_of(EXAMPLES / name, JOBS[command]) is None
    for other in set(JOBS) - {command}:
        found = command_of(EXAMPLES / name, JOBS[other])
        # The configuration of a single pre-training is one of a sweep too.
        assert found == (None if (command, other) == ("pretrain", "pretrain sweep") else command)


def test_the_right_command_is_named(tmp_path, invoke):
    outcome = invoke("learn", "classes", EXAMPLES / "forget-photos.yaml", "--out", tmp_path / "run")
    assert outcome.exit_code == 2
    assert outcome.stderr.strip().endswith(
        "forget-photos.yaml: this is a configuration of 'myosotis unlearn classifier'"
    )
    (tmp_path / "job.yaml").write_text("name: x\nnonsense: 3\n")
    outcome = invoke("learn", "classes", tmp_path / "job.yaml", "--out", tmp_path / "run")
    assert "unknown key 'nonsense'" in outcome.stderr
    # A wrong override of a right file is not the file's fault.
    outcome = invoke("learn", "classes", EXAMPLES / "learn-fashion.yaml", "--set", "lora.rank=3")
    assert "unknown key 'lora'" in outcome.stderr


@pytest.mark.parametrize(
    ("name", "command", "override", "now"),
    [
        ("learn-fashion.yaml", "learn classes", "training.batch=8", "'batch_size'"),
        ("learn-fashion.yaml", "learn classes", "training.memory_batch=8", "'memory_batch_size'"),
        (
            "segment-scenes.yaml",
            "learn segments",
            "training.checkpoint_every=8",
            "'checkpoint_every, beside 'training''",
        ),
        ("segment-scenes.yaml", "learn segments", "memory=8", "memory: {total: 8}"),
        ("represent-fashion.yaml", "learn representations", "training.batch=8", "'batch_size'"),
        ("pretrain-fashion.yaml", "pretrain", "training.batch=8", "'batch_size'"),
        ("denoise-train.yaml", "denoise train", "training.batch=8", "'batch_size'"),
        ("forget-photos.yaml", "unlearn classifier", "training.forget_batch=8", "'forget_batch_size'"),
        ("erase-people.yaml", "unlearn language", "training.accumulation=2", "'accumulate'"),
        ("erase-people.yaml", "unlearn language", "training.precision=fp32", "'fp32' is now called 'no'"),
        ("erase-people.yaml", "unlearn language", "training.trackers=[wandb]", "'trackers, beside 'training''"),
    ],
)
def test_an_old_key_names_the_new_one(name, command, override, now):
    with pytest.raises(InputError) as error:
        load_config(EXAMPLES / name, JOBS[command].schema(), [override])
    assert now in str(error.value)


def test_a_bare_no_is_a_precision():
    """YAML takes it for false."""
    schema = JOBS["learn classes"].schema()
    assert load_config(EXAMPLES / "learn-fashion.yaml", schema, ["training.precision=no"]).training.precision == "no"


@pytest.mark.parametrize(("name", "command"), COMMANDS.items())
def test_every_job_takes_trackers_and_resolves_its_paths(name, command):
    config = load_config(EXAMPLES / name, JOBS[command].schema(), ["trackers=[tensorboard]"])
    assert config.trackers == ("tensorboard",)
    for path in local_paths(config):
        is_named = not path.startswith((".", "/")) and not (EXAMPLES / path).exists()  # a packaged model
        assert is_named or Path(path).is_absolute(), path


def test_a_configuration_is_refused_before_any_library_of_models_is_read():
    """transformers and peft took two thirds of the time until a misspelt key was named."""
    code = """
import sys
from myosotis.jobs import JOBS
for job in JOBS.values():
    job.schema()
found = {"transformers", "peft", "rouge_score", "sklearn", "scipy.stats"} & set(sys.modules)
assert not found, found
"""
    outcome = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr


def test_jobs_do_not_wait_for_statistics_that_they_may_need_later():
    """scipy.stats and scikit-learn took a third of the time in which a command, or a worker, starts."""
    code = """
import sys
from myosotis.jobs import JOBS
for job in JOBS.values():
    if job.extra is None:
        job.job_class()
found = {"scipy.stats", "scipy.optimize", "sklearn"} & set(sys.modules)
assert not found, found
"""
    outcome = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
