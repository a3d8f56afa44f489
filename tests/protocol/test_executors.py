"""Workers of this machine: what they bring back, and that none outlives its driver."""

import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest

from myosotis.engine.executors import Executor, ExecutorConfig, ray_resources
from myosotis.protocol.config import ProtocolConfig, unit_config
from myosotis.protocol.units import Unit, run_unit, unit_inputs

DRIVER = """
import os, signal, sys, time
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
from myosotis.engine.executors import Executor, ExecutorConfig


@dataclass(frozen=True)
class Unit:
    key: str
    config: str


def carry(config, device):
    Path(config).write_text(str(os.getpid()))
    if sys.argv[3:] and sys.argv[3].isdigit():
        os.kill(os.getpid(), int(sys.argv[3]))
    time.sleep(float(sys.argv[2]))
    return {"config": config, "device": device}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    units = [Unit(str(number), str(folder / f"worker-{number}")) for number in range(2)]
    with Executor(ExecutorConfig(workers=2), "cpu", carry) as executor:
        if sys.argv[3:] == ["early"]:
            executor.start()
            for worker in active_children():
                os.kill(worker.pid, signal.SIGKILL)
        for unit, result in executor.execute(units):
            assert result == {"config": unit.config, "device": "cpu"}
            print(unit.key, flush=True)
"""


def driver(folder, seconds, *when):
    (folder / "driver.py").write_text(DRIVER)
    command = [sys.executable, str(folder / "driver.py"), str(folder), str(seconds), *when]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for(happens, seconds=60):
    deadline = time.monotonic() + seconds
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.05)
    return happens()


class Unreliable:
    """A pool that carries units out at once, and is broken at its first two calls, or whenever asked."""

    def __init__(self, broken):
        self.broken = broken

    def submit(self, carry, config, device):
        if self.broken:
            self.broken.pop()
            raise BrokenProcessPool
        future = Future()
        future.set_result(carry(config, device))
        return future

    def shutdown(self, **_):
        pass


@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_no_unit_is_lost_where_the_pool_breaks_before_it_has_it(breaks, unit, monkeypatch):
    broken = [True] * breaks
    units = [unit(seed) for seed in range(5)]
    executor = Executor(ExecutorConfig(workers=2), "cpu", lambda config, device: {"config": config})
    monkeypatch.setattr(executor, "_processes", lambda: Unreliable(broken))
    with executor:
        found = list(executor.execute(iter(units)))
    assert sorted(one.key for one, _ in found) == sorted(one.key for one in units)
    assert all(result == {"config": one.config} for one, result in found)


def test_a_pool_that_is_always_broken_ends_in_one_message(unit, monkeypatch):
    executor = Executor(ExecutorConfig(workers=2), "cpu", lambda config, device: {})
    monkeypatch.setattr(executor, "_processes", lambda: Unreliable([True] * 9))
    with executor, pytest.raises(ChildProcessError, match="a worker died 3 times"):
        list(executor.execute([unit()]))


def test_units_are_taken_when_they_are_needed(unit, monkeypatch):
    """What another driver does meanwhile can be left out."""
    taken, executor = [], Executor(ExecutorConfig(workers=2), "cpu", lambda config, device: {})

    def units():
        for seed in range(20):
            taken.append(seed)
            yield unit(seed, f'{{"seed": {seed}}}')

    monkeypatch.setattr(executor, "_processes", lambda: Unreliable([]))
    with executor:
        results = executor.execute(units())
        next(results)
        assert len(taken) == 6  # three have ended, three run
        assert len(list(results)) == 19
    assert len(taken) == 20


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("breaks", [0, 2])
def test_units_that_depend_on_results_are_carried_out_when_those_are_known(workers, breaks, unit, monkeypatch):
    """Each of a chain depends on the one before it, beside two that depend on nothing, and one on all."""
    results, executor = {}, Executor(ExecutorConfig(workers=workers), "cpu", lambda config, device: {"config": config})

    def units():
        chain = [unit(seed, f'{{"seed": {seed}}}') for seed in range(4)]
        yield from [unit(8), unit(9, '{"seed": 9}')]
        for before, one in zip([None, *chain], chain, strict=False):
            while before is not None and before.key not in results:
                yield None
            yield one
        while len(results) < 6:
            yield None
        yield unit(7, '{"seed": 7}')

    broken = [True] * breaks
    monkeypatch.setattr(executor, "_processes", lambda: Unreliable(broken))
    with executor:
        for one, result in executor.execute(units()):
            results[one.key] = result
    assert len(results) == 7


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_that_waits_for_nothing_is_waited_for(workers, unit, monkeypatch):
    """A generator that has no unit although none runs: it would be asked for ever."""
    executor = Executor(ExecutorConfig(workers=workers), "cpu", lambda config, device: {})
    monkeypatch.setattr(executor, "_processes", lambda: Unreliable([]))

    def units():
        yield unit()
        while True:
            yield None

    with executor:
        assert len(list(executor.execute(units()))) == 1
        assert list(executor.execute(iter([]))) == []
        assert list(executor.execute(iter([None, unit()]))) == []


@pytest.mark.processes
def test_a_pool_brings_back_every_unit(tmp_path):
    out, error = driver(tmp_path, 0).communicate(timeout=60)
    assert sorted(out.split()) == ["0", "1"], error


@pytest.mark.processes
def test_workers_that_die_before_the_first_unit_are_replaced(tmp_path):
    out, error = driver(tmp_path, 0, "early").communicate(timeout=60)
    assert sorted(out.split()) == ["0", "1"], error


@pytest.mark.processes
@pytest.mark.parametrize(
    ("number", "cause"),
    [(signal.SIGSEGV, "a fault in compiled code"), (signal.SIGKILL, "usually for want of memory")],
)
def test_a_signal_that_ends_workers_is_named(number, cause, tmp_path):
    """Too little memory was blamed for a segmentation fault."""
    error = driver(tmp_path, 0, str(int(number))).communicate(timeout=120)[1]
    assert f"a worker died 3 times without finishing a unit: signal {int(number)} ({number.name}), {cause}" in error


CARD = """
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from myosotis.engine.executors import Executor, ExecutorConfig
from myosotis.engine.failures import attempt

CARD = Path(sys.argv[1])


@dataclass(frozen=True)
class Unit:
    key: str
    config: str


def allocate(name):
    \"\"\"A card that holds one unit at a time, and never the one that is too large.\"\"\"
    (CARD / name).touch()
    try:
        time.sleep(0.2)
        if name == "large" or len(list(CARD.iterdir())) > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return {"score": len(name)}
    finally:
        (CARD / name).unlink()


def carry(config, device):
    return attempt(lambda: allocate(config))[0]


if __name__ == "__main__":
    units = [Unit(name, name) for name in ("large", "a", "bb", "ccc", "dddd")]
    with Executor(ExecutorConfig(kind=sys.argv[3], workers=int(sys.argv[2])), "cpu", carry) as executor:
        for unit, result in sorted(executor.execute(units), key=lambda pair: pair[0].key):
            print(unit.key, result)
"""


@pytest.mark.parametrize(
    "kind", [pytest.param("local", marks=pytest.mark.processes), pytest.param("ray", marks=pytest.mark.slow)]
)
def test_what_fits_the_memory_does_not_depend_on_the_number_of_workers(kind, tmp_path):
    if kind == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
    (tmp_path / "driver.py").write_text(CARD)
    outputs = []
    for workers in (1, 3):
        (tmp_path / f"card-{workers}").mkdir()
        command = [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / f"card-{workers}"), str(workers), kind]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert "a {'score': 1}" in outputs[0]
    assert "large NotRun(reason='RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED" in outputs[0]


@pytest.mark.processes
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_at_once_with_a_driver_that_is_killed_or_interrupted(tmp_path, number):
    """A driver that was interrupted alone waited for the units that ran, whose results nobody took."""
    process = driver(tmp_path, 600)
    places = [tmp_path / f"worker-{number}" for number in range(2)]
    assert wait_for(lambda: all(place.exists() and place.read_text() for place in places))
    workers = [Path("/proc") / place.read_text() for place in places]
    assert all(worker.exists() for worker in workers)
    process.send_signal(number)
    process.communicate(timeout=60)

    def gone(worker):
        # Where nobody waits for it, a process that has ended still has its number.
        try:
            return "(zombie)" in (worker / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return True

    assert wait_for(lambda: all(gone(worker) for worker in workers), 20)


@pytest.mark.parametrize(
    ("device", "options", "gpus", "asked"),
    [
        ("cpu", {"workers": 4, "threads": 2}, 0, {"num_cpus": 2}),
        ("cuda:0", {"workers": 1}, 1, {"num_cpus": 1, "num_gpus": 1}),
        ("cuda", {"workers": 2}, 8, {"num_cpus": 1, "num_gpus": 1}),
        ("cuda:0", {"workers": 4}, 3, {"num_cpus": 1, "num_gpus": 0.5}),
        ("cuda:0", {"workers": 7}, 1, {"num_cpus": 1, "num_gpus": 0.1428}),
        ("cuda:0", {"address": "ray://head:10001", "threads": 8}, 0, {"num_cpus": 8, "num_gpus": 1}),
    ],
)
def test_units_on_cuda_ask_ray_for_a_gpu(device, options, gpus, asked):
    """They asked for threads alone: Ray 2.40 hid all GPUs from them, later ones put all of them on the first."""
    config = ExecutorConfig(kind="ray", **options)
    assert ray_resources(config, device, gpus) == asked
    if "num_gpus" in asked and config.address is None:
        assert asked["num_gpus"] * -(-config.workers // gpus) <= 1


def units(place, count):
    stream = np.random.default_rng(0)
    patterns = stream.integers(0, 200, (4, 8, 8))
    labels = np.repeat(np.arange(4), 8)
    for name in ("train", "test"):
        images = (patterns[labels] + stream.integers(0, 55, (len(labels), 8, 8))).astype(np.uint8)
        np.savez(place / f"{name}.npz", images=images, labels=labels)
    data = {name: {"arrays": str(place / f"{name}.npz")} for name in ("train", "test")}
    options = {"widths": [4, 8], "blocks": [1, 1], "stem_stride": 2}
    job = {
        "scenario": {"first": 2, "per_task": 2},
        "model": {"options": options},
        "memory": {"total": 8},
        "training": {"epochs": 1, "batch_size": 8},
    }
    config = ProtocolConfig.model_validate(
        {"name": "ray", "shared": job, "tuning": data, "evaluation": data, "methods": ["er"]}
    )
    jobs = [unit_config(config, config.tuning, "er", {}, seed) for seed in range(count)]
    return [Unit("tuning", "er", 0, {}, job.seed, job.model_dump_json(), unit_inputs(job)) for job in jobs]


@pytest.mark.slow
def test_ray_gives_the_same_results(tmp_path):
    """On a cluster of two workers, which the test starts itself."""
    pytest.importorskip("ray", reason="Ray is not installed")
    todo = units(tmp_path, 3)
    found = {}

    def waiting():
        """The last one depends on the others."""
        yield from todo[:-1]
        while len(found) < 2:
            yield None
        yield todo[-1]

    with Executor(ExecutorConfig(kind="ray", workers=2), "cpu", run_unit) as executor:
        for unit, result in executor.execute(waiting()):
            found[unit.seed] = result
    assert set(found) == {0, 1, 2}
    for unit in todo:
        assert found[unit.seed]["matrix"] == run_unit(unit.config)["matrix"]
