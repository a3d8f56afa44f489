"""Executors of units of work: this process, a pool of processes, or a Ray cluster."""

import math
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from threading import Thread
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
from pydantic import PositiveInt, model_validator

from myosotis.engine.config import Config
from myosotis.engine.errors import InputError
from myosotis.engine.failures import NotRun, OutOfMemoryError

_MAX_ATTEMPTS = 3

Carry = Callable[[str, str], dict[str, Any]]
"""From a unit as JSON and a device to its result; a function of a module, so that other processes find it."""


class ExecutorConfig(Config):
    """Processes of this machine, or a Ray cluster (the ``cluster`` extra).

    Attributes:
        kind: Processes of this machine, or a Ray cluster.
        workers: Number of runs at a time.
        threads: Threads of each run.
        address: Address of the Ray cluster; a new local one unless given.
    """

    kind: Literal["local", "ray"] = "local"
    workers: PositiveInt = 1
    threads: PositiveInt = 1
    address: str | None = None

    @property
    def in_processes(self) -> bool:
        """Whether processes of this machine beside the driver do the work."""
        return self.kind == "local" and self.workers > 1

    @model_validator(mode="after")
    def _belongs(self) -> "ExecutorConfig":
        if self.address is not None and self.kind != "ray":
            raise ValueError("'address' is for 'ray' only")
        if self.address is not None and self.workers != 1:
            raise ValueError("a cluster at an 'address' has its own 'workers'")
        return self


@runtime_checkable
class Work(Protocol):
    """A unit of work."""

    @property
    def key(self) -> str:
        """Key of the result: equal units share it."""

    @property
    def config(self) -> str:
        """The work, as JSON."""


WorkT = TypeVar("WorkT", bound=Work)


class Executor:
    """Carries out units of work; a context, whose workers stay until its end.

    Args:
        config: Configuration of the executor.
        device: Device of the networks.
        carry: Function that carries out a unit.
        setup: Called once in each process that is started on this machine; other executors do not need it.
    """

    def __init__(
        self, config: ExecutorConfig, device: str, carry: Carry, setup: Callable[[], None] | None = None
    ) -> None:
        self._config, self._device, self._carry, self._setup = config, device, carry, setup
        self._pool: ProcessPoolExecutor | None = None
        self._context = _RememberingContext()
        self._alive: Connection | None = None
        self._own_cluster = False

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is not None and self._alive is not None:
            # Nobody takes the results of units that run, which may be hours from their end.
            self._alive.close()
        self._drop_pool()
        if self._own_cluster:
            import ray

            ray.shutdown()

    def start(self) -> None:
        """Start the processes of this machine, if there are to be several, so that they import while others work."""
        if self._config.in_processes:
            for _ in range(self._config.workers):
                # To receive the function they import its module.
                self._processes().submit(callable, self._carry)

    def execute(self, units: Iterable[WorkT | None]) -> Iterator[tuple[WorkT, dict[str, Any] | NotRun]]:
        """Carry out units and yield each with its result, as they end.

        A unit that does not fit the memory is carried out again while no other one runs, so that it does not matter how
        many workers share a device; only then it is given up.

        Args:
            units: Units to carry out, and None where the next one depends on results that are still to come: it is
                asked again when the next ones have been yielded. Processes of this machine take a unit when they need
                it, so that a generator may leave out what has been done elsewhere; Ray takes all that there are.

        Raises:
            InputError: Ray is not installed.
            ChildProcessError: Processes ended several times before a unit was done.
        """
        if self._config.kind == "ray":
            yield from self._on_ray(iter(units))
        elif self._config.in_processes:
            yield from self._in_processes(iter(units))
        else:
            yield from self._here(iter(units))

    def _here(self, units: Iterator[WorkT | None]) -> Iterator[tuple[WorkT, dict[str, Any] | NotRun]]:
        before = torch.get_num_threads()
        try:
            while unit := next(units, None):
                set_threads(self._config.threads)
                yield unit, _result_of(partial(self._carry, unit.config, self._device))
        finally:
            set_threads(before)

    def _in_processes(self, units: Iterator[WorkT | None]) -> Iterator[tuple[WorkT, dict[str, Any] | NotRun]]:
        """A pool that is made again when a worker was killed; units that were running are repeated."""
        again, alone, attempts = list[WorkT](), list[WorkT](), 0
        running: dict[Future[dict[str, Any]], WorkT] = {}
        ended: list[tuple[WorkT, dict[str, Any] | NotRun]] = []
        while True:
            try:
                # One waits, so that no worker does while a result is stored.
                while len(running) <= self._config.workers and (unit := again.pop() if again else next(units, None)):
                    again.append(unit)  # until the pool has it
                    future = self._processes().submit(self._carry, unit.config, self._device)
                    running[future] = again.pop()
                if ended:
                    yield from ended
                    ended = []
                    continue  # to what these results have made possible
                if not running and alone:
                    # The memory of other workers, idle ones too, is free then.
                    self._drop_pool(wait=True)
                    future = self._processes().submit(self._carry, alone[-1].config, self._device)
                    ended.append((alone[-1], _result_of(future.result)))
                    alone.pop()
                    attempts = 0
                    continue
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    result = _result_of(future.result)
                    unit = running.pop(future)
                    if isinstance(result, NotRun):
                        alone.append(unit)
                    else:
                        ended.append((unit, result))
                    attempts = 0
            except BrokenProcessPool:
                cause = death(self._context.exit_codes())
                self._drop_pool()
                again += running.values()
                running.clear()
                attempts += 1
                if attempts >= _MAX_ATTEMPTS:
                    raise ChildProcessError(f"a worker died {attempts} times without finishing a unit{cause}") from None

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            context = self._context = _RememberingContext()
            # No worker has the end to write to: when it is closed, or its process killed, they read the end of it.
            driver, self._alive = context.Pipe(duplex=False)
            self._pool = ProcessPoolExecutor(
                self._config.workers,
                mp_context=context,
                initializer=start_worker,
                initargs=(self._config.threads, driver, self._setup),
            )
        return self._pool

    def _drop_pool(self, *, wait: bool = False) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None

    def _on_ray(self, units: Iterator[WorkT | None]) -> Iterator[tuple[WorkT, dict[str, Any] | NotRun]]:
        try:
            import ray
        except ImportError:
            raise InputError("executor 'ray': Ray is not installed; pip install 'myosotis[cluster]'") from None
        config = self._config
        if not ray.is_initialized():
            self._own_cluster = True
            if config.address is not None:
                ray.init(address=config.address, log_to_driver=False)
            else:
                ray.init(num_cpus=config.workers * config.threads, include_dashboard=False, log_to_driver=False)
        resources = ray_resources(config, self._device, torch.cuda.device_count())
        remote = ray.remote(max_retries=_MAX_ATTEMPTS, **resources)(carry_with_threads)
        # All of a device, where a unit has shared one.
        whole = remote.options(**{name: math.ceil(value) for name, value in resources.items()})
        # A worker sees only the accelerators that Ray gives it, and counts them from 0.
        kind = torch.device(self._device).type
        waiting: dict[Any, WorkT] = {}
        alone: list[WorkT] = []
        while True:
            while unit := next(units, None):
                waiting[remote.remote(self._carry, unit.config, config.threads, kind)] = unit
            if not waiting and alone:
                unit = alone.pop()
                yield unit, _result_of(partial(ray.get, whole.remote(self._carry, unit.config, config.threads, kind)))
                continue
            if not waiting:
                return
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            unit, result = waiting.pop(ended), _result_of(partial(ray.get, ended))
            if isinstance(result, NotRun):
                alone.append(unit)
            else:
                yield unit, result


def _result_of(work: Callable[[], dict[str, Any]]) -> dict[str, Any] | NotRun:
    """The result of a unit, or why there is none."""
    try:
        return work()
    except OutOfMemoryError as error:
        # Ray puts a traceback around what was raised.
        return NotRun(str(getattr(error, "cause", error)))


def ray_resources(config: ExecutorConfig, device: str, accelerators: int) -> dict[str, float]:
    """Return the resources of a unit on Ray: its threads, and on CUDA a GPU, or a share of one between workers.

    Args:
        config: Configuration of the executor. A cluster at an address gives each unit a GPU of its own.
        device: Device of the networks.
        accelerators: Number of GPUs of this machine.

    Example:
        >>> ray_resources(ExecutorConfig(kind="ray", workers=4, threads=2), "cuda:0", 2)
        {'num_cpus': 2, 'num_gpus': 0.5}
    """
    resources: dict[str, float] = {"num_cpus": config.threads}
    if torch.device(device).type == "cuda":
        own = 1 if config.address is not None else math.ceil(config.workers / max(1, accelerators))
        # Ray counts in units of 1/10000; rounded up, the last worker of a GPU would not fit.
        resources["num_gpus"] = math.floor(10_000 / own) / 10_000
    return resources


class _RememberingContext(SpawnContext):
    """Starts processes as ``spawn`` does, and knows how they ended; a broken pool does not say."""

    def __init__(self) -> None:
        super().__init__()
        self._started: list[SpawnProcess] = []

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]  # noqa: N802
        """Return a new process."""
        process = SpawnProcess(*arguments, **options)
        self._started.append(process)
        return process

    def exit_codes(self) -> list[int]:
        """Return the exit codes of the processes that have ended, or end at once."""
        for process in self._started:
            process.join(1)
        return [process.exitcode for process in self._started if process.exitcode is not None]


def death(codes: Iterable[int]) -> str:
    """Return what ended the processes of a broken pool, as the end of a sentence.

    Args:
        codes: Their exit codes, negative for signals. The pool itself ends the others by SIGTERM.

    Example:
        >>> death([-15, -11]), death([-9, -15]), death([])
        (': signal 11 (SIGSEGV), a fault in compiled code', ': signal 9 (SIGKILL), usually for want of memory', '')
    """
    signals = sorted({-code for code in codes if code < 0}, key=lambda number: number == signal.SIGTERM)
    if not signals:
        status = next((code for code in codes if code), None)
        return "" if status is None else f": exit status {status}"
    number, faults = signals[0], (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE)
    causes = {signal.SIGKILL: ", usually for want of memory"} | dict.fromkeys(faults, ", a fault in compiled code")
    return f": signal {number} ({signal.Signals(number).name}){causes.get(signal.Signals(number), '')}"


def set_threads(threads: int) -> None:
    """Set the number of threads of a worker."""
    torch.set_num_threads(threads)


def start_worker(threads: int, driver: Connection, setup: Callable[[], None] | None) -> None:
    """Prepare a process of a pool that ends with its driver, even if the driver is killed.

    Args:
        threads: Number of threads of torch.
        driver: A pipe of which the driver has the other end, and to which nothing is written.
        setup: Called before the first unit.
    """
    set_threads(threads)
    Thread(target=_exit_with, args=(driver,), daemon=True).start()
    if setup is not None:
        setup()


def _exit_with(driver: Connection) -> None:
    try:
        driver.poll(None)
    finally:
        os._exit(1)


def carry_with_threads(carry: Carry, config: str, threads: int, device: str) -> dict[str, Any]:
    """Carry out a unit on a worker that other jobs may have used."""
    set_threads(threads)
    return carry(config, device)
