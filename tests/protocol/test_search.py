"""Draws, choices and what is made of results."""

import sqlite3
from contextlib import closing
from threading import Barrier, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.methods import METHODS
from myosotis.engine.errors import InputError
from myosotis.protocol.config import ProtocolConfig, unit_config
from myosotis.protocol.selection import finished_trials, mean_scores, select, survivors
from myosotis.protocol.spaces import COMMON, PUBLISHED, draw, published_space
from myosotis.protocol.store import ResultStore
from myosotis.protocol.summary import kendall, method_summary, phase_agreement, rank, sensitivity
from myosotis.protocol.units import Unit

DATA = {"train": {"folder": "a"}, "test": {"folder": "b"}}


def protocol(**options):
    content = {
        "name": "p",
        "job": {"scenario": {"first": 2, "per_task": 2}},
        "tuning": DATA,
        "evaluation": {"train": {"folder": "c"}, "test": {"folder": "d"}},
        "methods": ["er"],
        **options,
    }
    return ProtocolConfig.model_validate(content)


@given(st.integers(0, 10**6), st.integers(0, 500), st.sampled_from(sorted(PUBLISHED)))
def test_a_draw_depends_on_its_arguments_alone(seed, trial, method):
    space = published_space(method)
    found = draw(space, method, seed, trial)
    assert found == draw(dict(reversed(space.items())), method, seed, trial)
    for key, value in found.items():
        assert value in space.get(key, {"training.drops": (2, 3, 4), "training.drop_factor": (0.1, 0.3, 0.5)}.get(key))
    assert ("training.drops" in found) == (found["training.schedule"] == "step")


def test_draws_cover_the_space_and_differ_between_methods():
    draws = [draw(published_space("er"), "er", 0, trial) for trial in range(200)]
    for key, values in COMMON.items():
        assert {drawn[key] for drawn in draws} == set(values)
    other = [draw(published_space("wa"), "wa", 0, trial) for trial in range(200)]
    assert [one["training.epochs"] for one in draws] != [one["training.epochs"] for one in other]
    with pytest.raises(ValueError, match="no value for 'training.epochs'"):
        draw({"training.epochs": ()}, "er", 0, 0)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_published_draw_is_a_job(method):
    settings = {"training.memory_batch_size": 16} if method == "dark_er" else {}
    config = protocol(methods={method: {"settings": settings}})
    for trial in range(20):
        drawn = draw(published_space(method), method, 0, trial)
        job = unit_config(config, config.tuning, method, drawn, 7)
        assert isinstance(job, ClassLearningConfig)
        assert (job.seed, job.method.name) == (7, method)
        assert job.training.epochs == drawn["training.epochs"]
    assert config.job == {"scenario": {"first": 2, "per_task": 2}}  # not changed by making jobs from it


def results(scores):
    return {
        (trial, seed): {"metrics": {"final_accuracy": one, "first_task_accuracy": 1 - one}, "failure": None}
        for trial, row in enumerate(scores)
        for seed, one in enumerate(row)
    }


def test_the_choice_is_the_best_mean():
    found = results([[0.1, 0.9], [0.6, 0.6], [0.6, 0.6]])
    assert mean_scores(found, "final_accuracy") == pytest.approx({0: 0.5, 1: 0.6, 2: 0.6})
    chosen = select("er", [{"a": 0}, {"a": 1}, {"a": 2}], found, "final_accuracy")
    assert (chosen.trial, chosen.drawn, chosen.score) == (1, {"a": 1}, pytest.approx(0.6))
    cheap = select("er", [{}, {}, {}], found, "final_accuracy", "first_task")
    assert (cheap.trial, cheap.selector) == (0, "first_task")


def test_pruned_trials_are_not_chosen():
    assert survivors({0: 0.1, 1: 0.7, 2: 0.7, 3: 0.5, 4: 0.6}, 0.5) == [1, 2, 4]
    assert survivors({3: 0.1, 5: 0.2}, 0.01) == [5]
    found = results([[0.9], [0.6, 0.5], [0.4, 0.8]])
    assert finished_trials(found) == [1, 2]
    assert select("er", [{}, {}, {}], found, "final_accuracy").trial == 2
    assert select("er", [{}, {}, {}], found, "final_accuracy", "first_task").trial == 1


def test_the_usual_way_is_never_worse_on_its_own_images():
    tuning = results([[0.5, 0.7], [0.2, 0.3]])
    conventional = results([[0.4, 0.4], [0.6, 0.8]])
    for found in (tuning, conventional):
        for one in found.values():
            one["cost"] = {"seconds": 1.0, "steps": 2, "images": 3}
    chosen = select("er", [{"a": 0}, {"a": 1}], tuning, "final_accuracy")
    runs = [conventional[0, 0], conventional[0, 1]]
    summary = method_summary(
        [{"a": 0}, {"a": 1}],
        tuning,
        {"stream": chosen, "first_task": chosen},
        {"stream": runs, "first_task": runs},
        conventional,
        "final_accuracy",
        0.95,
    )
    assert summary["selected"]["trial"] == 0
    assert summary["conventional"]["trial"] == 1
    assert summary["conventional"]["optimism"] == pytest.approx(0.3)
    assert summary["conventional"]["tau_of_trials"] == pytest.approx(-1)
    assert summary["tuning_cost"] == {"seconds": 4.0, "steps": 8, "images": 12, "runs": 4}
    assert summary["sensitivity"]["a"]["spread"] == pytest.approx(0.35)


def test_ranks_and_agreement():
    assert rank({"a": 0.5, "b": 0.7, "c": 0.1}) == {"a": 2, "b": 1, "c": 3}
    assert kendall([1, 2, 3], [1, 2, 3]) == pytest.approx(1)
    assert kendall([1, 2, 3], [1, 3, 2]) == pytest.approx(1 / 3)
    assert kendall([1], [1]) is None
    assert kendall([1, 1], [1, 2]) is None
    same = {"a": [0.1, 0.12], "b": [0.5, 0.52], "c": [0.9, 0.88]}
    found = phase_agreement(same, same, 0.95, 0)
    assert (found["tau"], found["low"], found["high"]) == pytest.approx((1, 1, 1))
    noisy = {"a": [0.1, 0.9], "b": [0.9, 0.1], "c": [0.5, 0.55]}
    wide = phase_agreement(noisy, same, 0.95, 0)
    assert wide["low"] < wide["high"]


def test_sensitivity_leaves_out_what_does_not_vary():
    draws = [{"a": 1, "b": 5}, {"a": 2, "b": 5}, {"a": 2, "b": 5, "c": 1}]
    found = sensitivity(draws, {0: 0.1, 1: 0.5, 2: 0.7})
    assert list(found) == ["a"]
    assert found["a"]["means"] == pytest.approx({"1": 0.1, "2": 0.6})
    assert found["a"]["fewest"] == 1


def unit(seed=0, job="{}", data="images"):
    return Unit("tuning", "er", 0, {"training.epochs": 3, "training.schedule": "step"}, seed, job, data)


def test_results_belong_to_job_images_and_version(monkeypatch):
    """A storage that studies share gave the results of other images, and of earlier versions, as new ones."""
    known = unit().key
    assert unit().key == known
    assert unit(data="other images").key != known
    assert unit(job='{"seed": 1}').key != known
    monkeypatch.setattr("myosotis.__version__", "0.0.0")
    assert unit().key != known


def test_results_are_kept_by_their_jobs(tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    store = ResultStore(url, "p", "one")
    assert store.results() == {}
    store.add(unit(), {"metrics": {"x": 0.5}}, 0.5)
    store.add(unit(1, '{"seed": 1}'), {"metrics": {"x": 0.6}}, 0.6)
    again = ResultStore(url, "p", "one")
    assert again.results() == {
        unit().key: {"metrics": {"x": 0.5}},
        unit(1, '{"seed": 1}').key: {"metrics": {"x": 0.6}},
    }
    with pytest.raises(InputError, match="study 'p' belongs to another configuration"):
        ResultStore(url, "p", "two")
    with pytest.raises(InputError, match="cannot be used"):
        ResultStore(f"sqlite:///{tmp_path / 'none' / 'study.db'}", "p", "one")
    with pytest.raises(InputError, match=r"storage nosuch://me:\*\*\*@host/x: cannot be used") as told:
        ResultStore("nosuch://me:secret@host/x", "p", "one")
    assert "secret" not in str(told.value)
    # What is no URL is quoted by the driver, password and all.
    with pytest.raises(InputError, match="cannot be used") as told:
        ResultStore("postgresql:/me:secret@host/x", "p", "one")
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "'methods' names none"),
        ({"methods": ["ers"]}, "unknown method 'ers'"),
        ({"methods": {"er": {"space": {"training.epochs": []}}}}, "no value for 'training.epochs'"),
        ({"job": {"name": "x"}}, "'job.name' is the protocol's to say"),
        ({"job": {"method": "er"}}, "'job.method' is the protocol's to say"),
        ({"executor": {"address": "auto"}}, "'address' belongs to 'ray'"),
        ({"executor": {"kind": "ray", "address": "auto", "workers": 2}}, "has its own 'workers'"),
        ({"prune": {"keep": 1.0}}, "less than 1"),
        (
            {"job": {"model": {"init_from": "x"}, "scenario": {"first": 2, "per_task": 2}}},
            "'job.model.init_from' knows classes of one stream",
        ),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_go_together(options, message):
    with pytest.raises(ValidationError, match=message):
        protocol(**options)


def test_drivers_make_a_storage_at_the_same_moment(tmp_path):
    """All but one used to end with "table studies already exists"."""
    barrier, errors = Barrier(4), []

    def driver():
        barrier.wait()
        try:
            ResultStore(f"sqlite:///{tmp_path / 'study.db'}", "p", "one")
        except InputError as error:
            errors.append(error)

    drivers = [Thread(target=driver) for _ in range(4)]
    for one in drivers:
        one.start()
    for one in drivers:
        one.join()
    assert errors == []


def test_icarl_and_wa_draw_from_one_weight_decay_more():
    """As the released searches do; the largest was missing."""
    decays = {name: published_space(name)["training.weight_decay"] for name in METHODS}
    assert {name for name, values in decays.items() if values == (1e-4, 5e-4, 1e-3, 5e-3, 1e-2)} == {"icarl", "wa"}
    assert {values for name, values in decays.items() if name not in ("icarl", "wa")} == {(1e-4, 5e-4, 1e-3, 5e-3)}


def test_a_storage_that_is_held_is_a_refusal_of_the_system(tmp_path):
    store = ResultStore(f"sqlite:///{tmp_path / 'study.db'}?timeout=0.1", "p", "one")
    store.add(unit(), {"metrics": {"x": 0.5}}, 0.5)
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"study\.db.*database is locked"):
            store.add(unit(1, '{"seed": 1}'), {"metrics": {"x": 0.6}}, 0.6)
        other.execute("COMMIT")
    assert len(store.results()) == 1
