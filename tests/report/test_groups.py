"""Runs in groups: what puts them together, what tells them apart, and the same run twice."""

import pytest

from myosotis.engine import Config, InputError, Run
from myosotis.engine.result import Result
from myosotis.report.groups import comparison_name, group_runs, run_names


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
        method = settings.get("method", {"name": "er"})["name"]
        run.finish(
            {
                "kind": "learn-classes",
                "name": settings.get("name", "tiny"),
                "method": method,
                "seed": settings.get("seed", 0),
            }
        )
        run.close()
        return run

    return make


def grouped(runs, **options):
    return group_runs(runs, [Result.model_construct(**run.result()) for run in runs], **options)


def settings_of(runs, **options):
    return {group.settings: [run.path.name for run in group.runs] for group in grouped(runs, **options)}


def labels(runs, **options):
    return [group.label for group in grouped(runs, **options)]


def test_seeds_are_one_group_and_cosmetics_do_not_count(finished):
    runs = [finished("a", seed=0), finished("b", seed=1, name="other", checkpoint_every=3)]
    assert settings_of(runs) == {"er": ["a", "b"]}


def test_settings_name_what_differs(finished):
    runs = [finished("a"), finished("b", rate=0.2), finished("c", method={"name": "lwf"})]
    assert settings_of(runs) == {"er, rate 0.1": ["a"], "er, rate 0.2": ["b"], "lwf, rate 0.1": ["c"]}


def test_settings_of_a_method_tell_its_own_runs_apart_alone(finished):
    runs = [
        finished("a", method={"name": "lwf", "weight": 1.0}),
        finished("b", method={"name": "lwf", "weight": 2.0}),
        finished("c", method={"name": "er"}),
    ]
    assert settings_of(runs) == {"lwf, method.weight 1.0": ["a"], "lwf, method.weight 2.0": ["b"], "er": ["c"]}


def test_a_run_is_labelled_by_its_name_and_a_group_over_seeds_by_name_and_method(finished):
    runs = [
        finished("a", name="small", rate=0.3),
        finished("b", name="large-s0", seed=0),
        finished("c", name="large-s1", seed=1),
    ]
    assert labels(runs) == ["small", "large, er"]


def test_equal_names_are_told_apart_by_directories(finished):
    assert labels([finished("a"), finished("b", rate=0.2)]) == ["a", "b"]
    runs = [finished(name, rate=rate, seed=seed) for name, rate, seed in (("c", 1, 0), ("d", 1, 1), ("e", 2, 0))]
    runs += [finished("f", rate=2, seed=1)]
    assert labels(runs) == ["tiny, er (rate 1.0)", "tiny, er (rate 2.0)"]


def test_no_label_shows_a_folder_of_the_operator(finished, tmp_path):
    runs = [finished(name, method={"name": "er", "path": f"/home/me/{name}/photos"}) for name in ("a", "b")]
    shown = [*labels(runs), *settings_of(runs), *run_names(runs)]
    assert not any("/home" in text or str(tmp_path) in text for text in shown)


def test_the_page_of_a_comparison_is_named_after_its_runs(finished):
    first, second, third = (finished(name, rate=rate) for name, rate in (("a", 1), ("b", 2), ("c" * 90, 3)))
    assert comparison_name([first, second]) == "comparison-a-b.html"
    assert comparison_name([first, third]) != comparison_name([second, third])
    assert len(comparison_name([first, third])) < 120


@pytest.mark.parametrize("same", ["a", "b"])
def test_the_same_run_twice_is_refused(finished, same):
    first = finished("a", seed=1)
    second = first if same == "a" else finished("b", seed=1, name="renamed")
    with pytest.raises(InputError, match="has the same settings and seed as"):
        grouped([first, second])


def test_several_keys_may_be_seeds(finished):
    runs = [finished("a", rate=0.1), finished("b", rate=0.2)]
    assert settings_of(runs, seeds=("seed", "rate")) == {"er": ["a", "b"]}
