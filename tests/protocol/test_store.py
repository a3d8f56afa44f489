"""The store of results."""

import os
import resource
import sqlite3
from contextlib import closing
from threading import Barrier, Thread

import optuna
import pytest

from myosotis.engine.errors import InputError
from myosotis.protocol.store import ResultStore

INPUTS = {"tuning train images": "a", "weights of er": "b"}


def test_results_are_kept_by_their_jobs(unit, tmp_path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    store = ResultStore(url, "p", "one", INPUTS)
    assert store.results() == {}
    store.add(unit(), {"metrics": {"x": 0.5}}, 0.5)
    store.add(unit(1, '{"seed": 1}'), {"metrics": {"x": 0.6}}, 0.6)
    again = ResultStore(url, "p", "one", INPUTS)
    assert again.results() == {
        unit().key: {"metrics": {"x": 0.5}},
        unit(1, '{"seed": 1}').key: {"metrics": {"x": 0.6}},
    }
    with pytest.raises(InputError, match="study 'p' belongs to another configuration"):
        ResultStore(url, "p", "two", INPUTS)
    with pytest.raises(InputError, match="cannot be used"):
        ResultStore(f"sqlite:///{tmp_path / 'none' / 'study.db'}", "p", "one", INPUTS)
    with pytest.raises(InputError, match=r"storage nosuch://me:\*\*\*@host/x: cannot be used") as told:
        ResultStore("nosuch://me:secret@host/x", "p", "one", INPUTS)
    assert "secret" not in str(told.value)
    # What is no URL is quoted by the driver, password and all.
    with pytest.raises(InputError, match="cannot be used") as told:
        ResultStore("postgresql:/me:secret@host/x", "p", "one", INPUTS)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("update trial_user_attributes set value_json = replace(value_json, '0.5', '0.7') where key = 'result'", 1),
        ("update trial_user_attributes set value_json = replace(value_json, 'a', 'b') where key = 'key'", 0),
        ("update trial_user_attributes set key = 'resulu' where key = 'result'", 0),
        ("update trial_user_attributes set key = 'sha257' where key = 'sha256'", 2),
        ("update trial_user_attributes set value_json = 'torn' where key = 'phase'", None),
    ],
)
def test_a_result_that_changed_is_not_believed(change, left, unit, tmp_path):
    """None: the study cannot be read."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    store = ResultStore(url, "p", "one", INPUTS)
    store.add(unit(), {"metrics": {"x": 0.5}}, 0.5)
    store.add(unit(1, '{"seed": 1}'), {"metrics": {"x": 0.6}}, 0.6)
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        database.execute(change)
        database.commit()
    again = ResultStore(url, "p", "one", INPUTS)
    if left is None:
        with pytest.raises(InputError, match="damaged"):
            again.results()
    else:
        assert len(again.results()) == left
        assert {"metrics": {"x": 0.7}} not in again.results().values()


def test_drivers_make_a_storage_at_the_same_moment(tmp_path):
    """All but one used to end with "table studies already exists"."""
    barrier, errors = Barrier(4), []

    def driver():
        barrier.wait()
        try:
            ResultStore(f"sqlite:///{tmp_path / 'study.db'}", "p", "one", INPUTS)
        except InputError as error:
            errors.append(error)

    drivers = [Thread(target=driver) for _ in range(4)]
    for one in drivers:
        one.start()
    for one in drivers:
        one.join()
    assert errors == []


def test_a_storage_that_is_held_is_a_refusal_of_the_system(unit, tmp_path):
    store = ResultStore(f"sqlite:///{tmp_path / 'study.db'}?timeout=0.1", "p", "one", INPUTS)
    store.add(unit(), {"metrics": {"x": 0.5}}, 0.5)
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OSError, match=r"study\.db.*database is locked"):
            store.add(unit(1, '{"seed": 1}'), {"metrics": {"x": 0.6}}, 0.6)
        other.execute("COMMIT")
    assert len(store.results()) == 1


def test_a_disk_without_room_for_a_study_is_a_refusal_of_the_system(tmp_path):
    """Files may have no more than 8 kB in a child process."""
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        try:
            ResultStore(f"sqlite:///{tmp_path / 'study.db'}", "p", "one", INPUTS)
        except OSError:
            os._exit(7)
        except BaseException:
            os._exit(8)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert ResultStore(f"sqlite:///{tmp_path / 'study.db'}", "p", "one", INPUTS).results() == {}


def test_a_disk_that_is_full_in_optunas_words(tmp_path, monkeypatch):
    """Optuna says that a commit failed, "due to invalid data"; what happened is the cause of its error."""

    def full(*_, **__):
        try:
            raise sqlite3.OperationalError("(sqlite3.OperationalError) database or disk is full")
        except sqlite3.OperationalError as error:
            raise optuna.exceptions.StorageInternalError("An exception is raised during the commit.") from error

    monkeypatch.setattr(optuna, "create_study", full)
    with pytest.raises(OSError, match="database or disk is full"):
        ResultStore(f"sqlite:///{tmp_path / 'study.db'}", "p", "one", INPUTS)


def test_a_study_of_other_inputs_is_refused_by_name(tmp_path):
    """A storage gave the results of one file of weights for another."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    ResultStore(url, "p", "one", INPUTS)
    ResultStore(url, "p", "one", INPUTS)
    with pytest.raises(InputError, match="study 'p' was started with other input: weights of er changed since"):
        ResultStore(url, "p", "one", {**INPUTS, "weights of er": "c"})
    ResultStore(url, "another", "one", {**INPUTS, "weights of er": "c"})
