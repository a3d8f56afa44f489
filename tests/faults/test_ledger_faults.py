"""A sample of the campaigns of `benchmarks/ledger_faults.py`: no change is accepted, and no line is lost."""

import os
import random
from pathlib import Path

import pytest

from myosotis.ledger import Check

pytestmark = pytest.mark.slow

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def faults(file_module):
    return file_module(BENCHMARKS / "ledger_faults.py")


@pytest.fixture(scope="module")
def world(faults, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ledger")
    return faults.World(folder / "world", faults.time_authority(folder / "authority"))


def test_no_changed_byte_is_accepted(faults, world, tmp_path):
    outcome = faults.change_bytes(world, tmp_path / "changed", random.Random(0), sample=60)
    assert outcome.faults == []
    assert outcome.cases > 800
    assert {"signatures", "folder", "record"} <= set(outcome.counts)


def test_killed_processes_lose_no_line_that_was_acknowledged(faults, tmp_path):
    outcome = faults.kill_appenders(tmp_path / "kills", random.Random(0), rounds=5)
    assert outcome.faults == []
    assert outcome.counts["acknowledged"] > 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="a small disk needs root")
def test_a_full_disk_leaves_the_ledger_as_it_was(faults, tmp_path):
    try:
        outcome = faults.fill_disks(tmp_path / "disks", random.Random(0), cases=5)
    except faults.subprocess.CalledProcessError:
        pytest.skip("this machine allows no file system in memory")
    assert outcome.faults == []


def test_odd_content_is_accepted_or_refused_by_name(faults, world, tmp_path):
    outcome = faults.odd_content(world, tmp_path / "changed", random.Random(0), cases=120)
    assert outcome.faults == []
    assert min(outcome.counts.values()) > 0
    assert outcome.cases == 120


def test_the_campaigns_see_what_goes_wrong(faults, world, tmp_path, monkeypatch):
    """A check that believes everything, and a reader that fails in another way, are each named."""
    with monkeypatch.context() as patch:
        patch.setattr(faults, "verify_ledger", lambda *_, **__: [Check("signatures", True, "")])
        outcome = faults.change_bytes(world, tmp_path / "bytes", random.Random(0), sample=1)
        assert len(outcome.faults) + outcome.counts["unsigned part of a time stamp"] == outcome.cases > 10
    monkeypatch.setattr(faults, "read_receipt", lambda path: {}[path])
    outcome = faults.odd_content(world, tmp_path / "content", random.Random(0), cases=5)
    assert [text for text in outcome.faults if text.startswith("read_receipt: KeyError")]
