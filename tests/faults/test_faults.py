"""A sample of every campaign of `benchmarks/faults.py`, for every kind of job: nothing is lost, nothing believed."""

import json

import pytest

pytestmark = pytest.mark.slow

KINDS = (
    "unlearn-language",
    "unlearn-language, requests",
    "unlearn-classifier",
    "learn-classes",
    "learn-segments",
    "learn-representations",
    "pretrain",
    "pretrain-sweep",
    "protocol",
    "denoise-train",
)


@pytest.fixture(scope="session", params=KINDS)
def kind(request):
    return request.param


def test_the_kinds_are_those_of_the_benchmark(faults):
    assert faults.KINDS == KINDS


def test_two_uninterrupted_runs_are_equal(kind, campaigns, faults):
    run = campaigns.fresh()
    row = campaigns.resumed(kind, run, faults.carry_out(campaigns.command(kind, run)))
    assert row == ("equal", [])


@pytest.mark.parametrize("case", [3, 4])
def test_a_killed_run_ends_as_if_nothing_had_been(case, kind, campaigns, faults):
    """The second case is killed again while it is continued."""
    row = faults.kill(campaigns, kind, case)
    assert row["outcome"] == "equal", row


@pytest.mark.parametrize("case", [0, 1])
def test_a_signal_is_one_line_and_the_run_goes_on(case, kind, campaigns, faults):
    row = faults.send_signal(campaigns, kind, case)
    assert row["outcome"] == "equal", row


def test_a_full_disk_is_one_line_and_the_run_goes_on(kind, campaigns, faults):
    row = faults.limit_files(campaigns, kind, "largest file", 3000)
    assert row["outcome"] == "equal", row
    assert not row["fitted"]


@pytest.mark.parametrize("state", ["killed", "finished"])
def test_no_damaged_file_is_believed(state, kind, campaigns, files):
    before = len(campaigns.rows)
    {"killed": files.corrupt_killed, "finished": files.corrupt_finished}[state](campaigns, kind, few=True)
    rows = campaigns.rows[before:]
    assert len(rows) > 5
    assert [row for row in rows if row["outcome"] not in ("right", "refused")] == []


def test_a_second_writer_is_refused(kind, campaigns, processes):
    row = processes.second_writer(campaigns, kind, "--resume")
    assert row["outcome"] == "equal", row


@pytest.mark.parametrize("case", ["dead process", "number used again", "torn", "empty", "other host"])
def test_a_lock_that_was_left_behind_is_judged_right(case, campaigns, processes):
    row = processes.old_lock(campaigns, "learn-classes", case)
    assert row["outcome"] == "equal", row


@pytest.mark.parametrize("case", ["one worker", "the driver"])
def test_a_dead_worker_is_replaced_and_a_dead_driver_takes_its_workers_along(case, campaigns, processes):
    row = processes.kill_workers(campaigns, "protocol", case)
    assert row["outcome"] == "equal", row


def test_a_dead_rank_ends_the_other_one(campaigns, processes):
    row = processes.kill_rank(campaigns, "learn-classes", 1)
    assert row["outcome"] == "equal", row


@pytest.mark.parametrize("case", ["within", "between"])
def test_a_clock_that_goes_back_changes_nothing(case, kind, campaigns, faults):
    row = faults.turn_clock_back(campaigns, kind, case)
    assert row["outcome"] == "equal", row


def test_the_comparison_sees_what_differs(campaigns, faults):
    """A figure, an event, a weight and an entry that differ are each named."""
    run = campaigns.fresh()
    reference, _ = campaigns.reference("denoise-train")
    ending = faults.carry_out(campaigns.command("denoise-train", run))
    result = json.loads((run / "result.json").read_text())
    result["method"] = "another"
    (run / "result.json").write_text(json.dumps(result))
    with (run / "metrics.jsonl").open("a") as stream:
        stream.write('{"loss": 9}\n')
    weights = next(path for path in (run / "model").iterdir() if path.suffix == ".safetensors")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    (run / ".x.partial").write_text("")
    outcome, changed = campaigns.resumed("denoise-train", run, ending)
    assert outcome == "different"
    assert [
        text for text in (".result.method", ".events", ".weights.model/", ".x.partial") if text in str(changed)
    ] == [
        ".result.method",
        ".events",
        ".weights.model/",
        ".x.partial",
    ]
    assert reference != run
