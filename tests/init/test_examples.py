"""The examples that come with the package."""

import pytest
import yaml

from myosotis.engine.config import load_config
from myosotis.init.examples import list_examples
from myosotis.jobs import JOBS
from myosotis.unlearning.language.job.inputs import read_records

EXAMPLES = list_examples()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_an_example_is_a_job_of_its_command(example):
    assert load_config(example.path, JOBS[example.job].schema()).name
    assert example.summary


LANGUAGE = [each for each in EXAMPLES if each.job == "unlearn-language"]
PACKAGED = [each for each in LANGUAGE if not each.name.startswith("benchmarks/")]
"""The others read a data set that does not come with the package."""


@pytest.mark.parametrize("example", PACKAGED, ids=lambda example: example.name)
def test_the_records_of_an_example_are_read(example):
    config = load_config(example.path, JOBS[example.job].schema())
    records, _ = read_records(config)
    assert records.forget
    assert records.retain


def test_every_command_has_an_example():
    assert {example.job for example in EXAMPLES} == set(JOBS)


def test_an_example_is_copied_with_what_it_reads(invoke, tmp_path):
    outcome = invoke("example", "erase-prose", "--out", tmp_path)
    assert outcome.exit_code == 0, outcome.output
    copied = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert copied[0].startswith("data/")
    assert "data/prose-forget.jsonl" in copied
    config = yaml.safe_load((tmp_path / "erase-prose.yaml").read_text())
    assert (tmp_path / config["data"]["forget"]).is_file()
    # A second time it would replace what may have been changed.
    outcome = invoke("example", "erase-prose", "--out", tmp_path)
    assert outcome.exit_code == 2
    assert "already exists" in outcome.stderr


def test_examples_are_listed_by_command(invoke):
    lines = invoke("example").stdout.splitlines()
    assert "forget-digits  (unlearn-classifier)" in lines


def test_an_unknown_example_is_refused(invoke, tmp_path):
    outcome = invoke("example", "learn-fasion", "--out", tmp_path)
    assert outcome.exit_code == 2
    assert "did you mean 'learn-fashion'?" in outcome.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_refused(invoke, tmp_path):
    outcome = invoke("example", "learn-fashion", "--out", tmp_path / "none")
    assert outcome.exit_code == 2
    assert "no such directory" in outcome.stderr
