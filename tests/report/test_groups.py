"""Runs in groups: what puts them together, what tells them apart, and the same run twice."""

import pytest

from myosotis.engine import Config, InputError, Run
from myosotis.report.groups import group_runs


class Settings(Config):
    name: str = "tiny"
    seed: int = 0
    method: dict[str, str | float] = {"name": "er"}
    rate: float = 0.1
    checkpoint_every: int = 1


@pytest.fixture
def finished(tmp_path):
    def make(directory, **settings):
        run = Run.open(tmp_path / directory, Settings(**settings), seed=0)
        run.finish({"kind": "learn-classes", "seed": settings.get("seed", 0)})
        run.close()
        return run

    return make


def labels(runs, **options):
    return {group.label: [run.path.name for run in group.runs] for group in group_runs(runs, **options)}


def test_seeds_are_one_group_and_cosmetics_do_not_count(finished):
    runs = [finished("a", seed=0), finished("b", seed=1, name="other", checkpoint_every=3)]
    assert labels(runs) == {"er": ["a", "b"]}


def test_a_label_names_what_differs(finished):
    runs = [finished("a"), finished("b", rate=0.2), finished("c", method={"name": "lwf"})]
    assert labels(runs) == {"er, rate 0.1": ["a"], "er, rate 0.2": ["b"], "lwf, rate 0.1": ["c"]}


def test_settings_of_a_method_tell_its_own_runs_apart_alone(finished):
    runs = [
        finished("a", method={"name": "lwf", "weight": 1.0}),
        finished("b", method={"name": "lwf", "weight": 2.0}),
        finished("c", method={"name": "er"}),
    ]
    assert labels(runs) == {"lwf, method.weight 1.0": ["a"], "lwf, method.weight 2.0": ["b"], "er": ["c"]}


@pytest.mark.parametrize("same", ["a", "b"])
def test_the_same_run_twice_is_refused(finished, same):
    first = finished("a", seed=1)
    second = first if same == "a" else finished("b", seed=1, name="renamed")
    with pytest.raises(InputError, match="has the same settings and seed as"):
        group_runs([first, second])


def test_several_keys_may_be_seeds(finished):
    runs = [finished("a", rate=0.1), finished("b", rate=0.2)]
    assert labels(runs, seeds=("seed", "rate")) == {"er": ["a", "b"]}
