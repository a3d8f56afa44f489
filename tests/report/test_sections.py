"""What all reports share: the head, and settings without the folders of the operator."""

import pytest

from myosotis.engine import Run
from myosotis.engine.config import JobConfig
from myosotis.report.sections import differing_settings, run_facts


class Settings(JobConfig):
    job: str = "k"
    data: str = "photos"


@pytest.fixture
def finished(tmp_path):
    def make(directory, request=None, **settings):
        config = Settings(name=directory, **settings)
        run = Run.open(tmp_path / directory, config, seed=0)
        run.finish(
            {"kind": "k", "name": directory, "operator": config.operator, "request": request, "cost": {"seconds": {}}}
        )
        run.close()
        return run

    return make


def test_the_head_leaves_out_what_is_not_known(finished):
    facts = dict(run_facts(finished("a"), "Method", model="net", hashes=[None, "f" * 64]))
    assert set(facts) == {"Finished", "Duration", "Method", "Model", "Version"}
    assert facts["Model"] == "net, out ffffffffffff"


@pytest.mark.parametrize(
    ("deadline", "shown"),
    [("2000-01-01", "2000-01-01 (finished after it)"), ("2999-01-01", "2999-01-01 (finished in time)")],
)
def test_the_head_says_whether_a_deadline_was_met(finished, deadline, shown):
    run = finished("a", {"id": "R-17", "received": "1999-01-01", "deadline": deadline}, operator=" Example Ltd ")
    facts = dict(run_facts(run))
    assert (facts["Request"], facts["Received"], facts["Deadline"]) == ("R-17", "1999-01-01", shown)
    assert facts["Operator"] == "Example Ltd"


def test_equal_names_in_different_folders_are_numbered(finished):
    runs = [finished("a", data="/home/me/one/photos"), finished("b", data="/home/me/two/photos")]
    section = differing_settings(runs, ["a", "b"])
    rows = {row.name: list(row.cells) for row in section.tables[0].rows}
    assert rows["data"] == ["photos (1)", "photos (2)"]
