"""``myosotis check``: every check and a forecast, and nothing on disk."""

import pytest

from myosotis.engine.forecast import Phase, duration, phase_seconds, steps_of


@pytest.mark.parametrize("job", ["unlearn-classifier", "learn-classes", "learn-representations", "pretrain"])
def test_a_job_is_forecast(invoke, tmp_path, job):
    config = tmp_path / "job.yaml"
    assert invoke("init", job, "--out", config).exit_code == 0
    outcome = invoke("check", job, config, "--out", tmp_path / "run")
    assert outcome.exit_code == 0, outcome.output
    assert "training steps, " in outcome.stdout
    assert "\nabout " in outcome.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]


def test_a_fault_is_the_one_that_the_job_would_name(invoke, tmp_path):
    config = tmp_path / "job.yaml"
    assert invoke("init", "learn-classes", "--out", config).exit_code == 0
    arguments = (config, "--set", "memory.total=0", "--out", tmp_path / "run")
    checked, run = invoke("check", "learn-classes", *arguments), invoke("learn", "classes", *arguments)
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
