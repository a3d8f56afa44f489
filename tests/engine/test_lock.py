"""One process at a time writes to a path."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from myosotis.engine import InputError
from myosotis.engine.lock import acquire, check_unlocked, lock_file, release


@pytest.fixture
def busy(tmp_path):
    """A path that another process has locked, and that process."""
    path = tmp_path / "run"
    code = (
        "import sys, time; from pathlib import Path; from myosotis.engine.lock import acquire; "
        "acquire(Path(sys.argv[1])); print('locked', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield path, process
        process.kill()


def owner(path, **changes):
    me = psutil.Process()
    content = {"host": os.uname().nodename, "pid": me.pid, "started": me.create_time(), "locked": time.time()}
    lock_file(path).write_text(json.dumps(content | changes))


def test_a_second_process_is_refused_with_the_name_of_the_first(busy):
    path, process = busy
    for refuse in (check_unlocked, acquire):
        with pytest.raises(InputError, match=f"process {process.pid} on .* has been working on it since 20"):
            refuse(path)
    process.terminate()
    process.wait()
    check_unlocked(path)
    acquire(path)
    release(path)
    assert not lock_file(path).exists()


def test_a_killed_process_leaves_no_lock_behind(busy):
    path, process = busy
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert lock_file(path).exists()  # nobody could remove it
    check_unlocked(path)
    acquire(path)
    assert json.loads(lock_file(path).read_text())["pid"] == os.getpid()
    release(path)


def test_a_lock_is_the_processs_own(tmp_path):
    path = tmp_path / "run"
    acquire(path)
    acquire(path)
    check_unlocked(path)
    release(path)
    release(path)
    assert not list(tmp_path.iterdir())


def test_a_forked_child_neither_holds_nor_removes_the_lock(tmp_path):
    path = tmp_path / "run"
    acquire(path)
    child = os.fork()
    if child == 0:
        release(path)
        try:
            acquire(path)
        except InputError:
            os._exit(3)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    assert lock_file(path).exists()
    release(path)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"pid": 2**22 + 1}, False),  # no such process
        ({"pid": 1, "started": 0.0}, False),  # a later process has that number
        ({"pid": "one"}, False),
        ({"host": "elsewhere"}, True),  # nothing can be known of it
    ],
)
def test_a_stale_lock_is_told_from_a_foreign_one(tmp_path, changes, refused):
    path = tmp_path / "run"
    owner(path, **changes)
    for take in (check_unlocked, acquire):
        if refused:
            with pytest.raises(InputError, match=r"on elsewhere .* remove .*\.run\.lock"):
                take(path)
        else:
            take(path)
    release(path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}', "null"])
def test_a_torn_lock_file_is_taken_over(tmp_path, content):
    path = tmp_path / "run"
    lock_file(path).write_text(content)
    check_unlocked(path)
    acquire(path)
    release(path)
