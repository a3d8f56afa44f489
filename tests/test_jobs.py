"""The table of jobs, and how a configuration says which of them it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from myosotis.engine.config import load_config, local_paths
from myosotis.engine.errors import InputError
from myosotis.engine.job import Job
from myosotis.jobs import JOBS, job_of

EXAMPLES = Path(__file__).parents[1] / "examples"
NAMES = (
    "erase-people.yaml",
    "forget-photos.yaml",
    "learn-fashion.yaml",
    "segment-scenes.yaml",
    "represent-fashion.yaml",
    "pretrain-fashion.yaml",
    "sweep-fashion.yaml",
    "denoise-train.yaml",
    "protocol-fashion.yaml",
)


def test_every_entry_of_the_table_can_be_imported():
    for job in JOBS.values():
        assert job.name == job.job_class().kind
        assert callable(job.report_module().describe)
        assert callable(job.report_module().compare)
        assert issubclass(job.job_class(), Job)
        assert all(len(table) > 0 for table in job.method_tables().values())


def test_a_configuration_says_which_job_it_is(tmp_path, invoke):
    path = tmp_path / "job.yaml"
    for name, kind in JOBS.items():
        path.write_text(f"job: {name}\n")
        assert job_of(path) is kind
        assert kind.schema().model_fields["job"].default == name
    for content in ("name: a\n", "job: {scenario: {first: 2}}\n"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"add the line 'job: KIND', .*: unlearn-language, unlearn-classifier"):
            job_of(path)
    path.write_text("job: learn-clases\n")
    with pytest.raises(InputError, match=r"job\.yaml: unknown job 'learn-clases'; did you mean 'learn-classes'\?"):
        job_of(path)


def test_a_configuration_of_another_job_is_refused(tmp_path):
    with pytest.raises(InputError, match="'job': input should be 'learn-classes'"):
        load_config(EXAMPLES / "forget-photos.yaml", JOBS["learn-classes"].schema())


def test_only_what_deletes_can_show_it(invoke, tmp_path):
    done = invoke("run", EXAMPLES / "learn-fashion.yaml", "--show-samples", "--out", tmp_path / "run")
    assert (done.exit_code, done.stderr) == (2, "error: --show-samples: 'learn-classes' deletes nothing\n")


@pytest.mark.parametrize(
    ("name", "override", "now"),
    [
        ("learn-fashion.yaml", "training.batch=8", "'batch_size'"),
        ("learn-fashion.yaml", "training.memory_batch=8", "'memory_batch_size'"),
        (
            "segment-scenes.yaml",
            "training.checkpoint_every=8",
            "'checkpoint_every, beside 'training''",
        ),
        ("segment-scenes.yaml", "memory=8", "memory: {total: 8}"),
        ("represent-fashion.yaml", "training.batch=8", "'batch_size'"),
        ("pretrain-fashion.yaml", "training.batch=8", "'batch_size'"),
        ("denoise-train.yaml", "training.batch=8", "'batch_size'"),
        ("forget-photos.yaml", "training.forget_batch=8", "'forget_batch_size'"),
        ("erase-people.yaml", "training.accumulation=2", "'accumulate'"),
        ("erase-people.yaml", "training.precision=fp32", "'fp32' is now called 'no'"),
        ("erase-people.yaml", "training.trackers=[wandb]", "'trackers, beside 'training''"),
    ],
)
def test_an_old_key_names_the_new_one(name, override, now):
    with pytest.raises(InputError) as error:
        load_config(EXAMPLES / name, job_of(EXAMPLES / name).schema(), [override])
    assert now in str(error.value)


def test_a_bare_no_is_a_precision():
    """YAML takes it for false."""
    schema = JOBS["learn-classes"].schema()
    assert load_config(EXAMPLES / "learn-fashion.yaml", schema, ["training.precision=no"]).training.precision == "no"


@pytest.mark.parametrize("name", NAMES)
def test_every_job_takes_trackers_and_resolves_its_paths(name):
    config = load_config(EXAMPLES / name, job_of(EXAMPLES / name).schema(), ["trackers=[tensorboard]"])
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
