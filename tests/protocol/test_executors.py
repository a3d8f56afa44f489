"""Workers of this machine: what they bring back, and that none outlives its driver."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

DRIVER = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from myosotis.protocol.config import ExecutorConfig
from myosotis.protocol.executors import Executor


@dataclass(frozen=True)
class Unit:
    key: str
    config: str


def carry(config, device):
    Path(config).write_text(str(os.getpid()))
    time.sleep(float(sys.argv[2]))
    return {"config": config, "device": device}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    units = [Unit(str(number), str(folder / f"worker-{number}")) for number in range(2)]
    with Executor(ExecutorConfig(workers=2), "cpu", carry) as executor:
        for unit, result in executor.execute(units):
            assert result == {"config": unit.config, "device": "cpu"}
            print(unit.key, flush=True)
"""


def driver(folder, seconds):
    (folder / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(folder / "driver.py"), str(folder), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(happens, seconds=60):
    deadline = time.monotonic() + seconds
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happens()


def test_a_pool_brings_back_every_unit(tmp_path):
    out, error = driver(tmp_path, 0).communicate(timeout=60)
    assert sorted(out.split()) == ["0", "1"], error


def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    process = driver(tmp_path, 600)
    places = [tmp_path / f"worker-{number}" for number in range(2)]
    assert wait_for(lambda: all(place.exists() and place.read_text() for place in places))
    workers = [Path("/proc") / place.read_text() for place in places]
    assert all(worker.exists() for worker in workers)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()

    def gone(worker):
        # Where nobody waits for it, a process that has ended still has its number.
        try:
            return "(zombie)" in (worker / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    assert wait_for(lambda: all(gone(worker) for worker in workers), 20)
