"""``myosotis check``: every check and a forecast, and nothing on disk."""

import re

import pytest
import yaml

from myosotis.data.people import fictitious_people
from myosotis.engine.forecast import Phase, duration, phase_seconds, steps_of


@pytest.mark.parametrize("job", ["unlearn-classifier", "learn-classes", "learn-representations", "pretrain"])
def test_a_job_is_forecast(invoke, tmp_path, job):
    config = tmp_path / "job.yaml"
    assert invoke("init", job, "--out", config).exit_code == 0
    outcome = invoke("check", config, "--out", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.output
    assert "training steps, " in outcome.stdout
    assert re.search(r"^[0-9a-z ]+ to [0-9a-z ]+ seconds on this machine \(cpu\)", outcome.stdout, re.MULTILINE)
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_overlap_with_what_is_to_be_kept_is_printed(invoke, tmp_path):
    config = tmp_path / "job.yaml"
    assert invoke("init", "unlearn-classifier", "--out", config).exit_code == 0
    outcome = invoke("check", config, "--out", tmp_path / "run", "--no-time")
    assert outcome.exit_code == 0, outcome.output
    assert "at risk first are the classes with most images to forget: " in outcome.stdout


def test_overlap_of_records_is_printed_without_a_word_of_them(invoke, tmp_path, tokenizer, tiny_llama, write_jsonl):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    people = fictitious_people(10, seed=5)
    parts = {"forget": people[:2], "retain": people[2:8], "unseen": people[8:]}
    for name, part in parts.items():
        rows = [row for person in part for row in person.records()[:3]]
        write_jsonl(
            tmp_path / f"{name}.jsonl",
            [{"prompt": row.prompt, "response": row.response, "subject": row.subject} for row in rows],
        )
    config = {
        "job": "unlearn-language",
        "name": "tiny",
        "model": {"name": "./model"},
        "data": {name: f"{name}.jsonl" for name in parts},
        "method": {"name": "ga"},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    outcome = invoke("check", tmp_path / "job.yaml", "--out", tmp_path / "run", "--no-time")
    assert outcome.exit_code == 0, outcome.output
    assert "overlap of texts: 18 of 18 records to retain have the form of a record to forget" in outcome.stdout
    assert "overlap of activations (answers, block 1 of the model): cosine" in outcome.stdout
    said = outcome.stdout.removeprefix(f"valid: {tmp_path}") + outcome.stderr
    for person in people[:2]:
        assert not any(word in said for word in (*person.name.split(), person.city, person.profession))
    assert not (tmp_path / "run").exists()


def test_a_fault_is_the_one_that_the_job_would_name(invoke, tmp_path):
    config = tmp_path / "job.yaml"
    assert invoke("init", "learn-classes", "--out", config).exit_code == 0
    arguments = (config, "--set", "memory.total=0", "--out", tmp_path / "run")
    checked, run = invoke("check", *arguments), invoke("run", *arguments)
    assert checked.exit_code == run.exit_code == 2
    assert checked.stderr.splitlines()[-1] == run.stderr.splitlines()[-1]


def test_steps_count_every_started_batch():
    assert steps_of([65, 1], 64, 3) == 9


def test_a_forecast_scales_with_the_number_of_steps():
    calls = []
    one = phase_seconds(Phase("work", 1, lambda: calls.append(sum(range(20_000)))))
    many = phase_seconds(Phase("work", 1000, lambda: calls.append(sum(range(20_000)))))
    assert len(calls) >= 4
    assert 100 * one < many < 10_000 * one


def test_durations_are_words():
    assert duration(1.4) == "1 second"
    assert duration(3600) == "1 hour"
