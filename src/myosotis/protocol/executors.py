"""Where units of work are carried out: in this process, in a pool of them, or on a Ray cluster."""

from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import Any

import torch

from myosotis.engine.errors import InputError
from myosotis.protocol.config import ExecutorConfig
from myosotis.protocol.units import Unit, run_unit, run_with_threads, set_threads

_MOST_ATTEMPTS = 3


def execute(units: Sequence[Unit], executor: ExecutorConfig, device: str) -> Iterator[tuple[Unit, dict[str, Any]]]:
    """Carry out units and yield each with its result, as they end.

    Args:
        units: What is to be done.
        executor: Where.
        device: Of the networks.

    Raises:
        InputError: Ray is not installed.
        RuntimeError: A unit took its process down several times.
    """
    if executor.kind == "ray":
        yield from _on_ray(units, executor, device)
    elif executor.workers == 1:
        before = torch.get_num_threads()
        try:
            for unit in units:
                set_threads(executor.threads)
                yield unit, run_unit(unit.config, device)
        finally:
            set_threads(before)
    else:
        yield from _in_processes(units, executor, device)


def _in_processes(
    units: Sequence[Unit], executor: ExecutorConfig, device: str
) -> Iterator[tuple[Unit, dict[str, Any]]]:
    """A pool that is made anew when a worker was killed; what was running then is done again."""
    left, attempts = list(units), 0
    while left:
        done: set[str] = set()
        pool = ProcessPoolExecutor(
            executor.workers, mp_context=get_context("spawn"), initializer=set_threads, initargs=(executor.threads,)
        )
        try:
            waiting: dict[Future[dict[str, Any]], Unit] = {
                pool.submit(run_unit, unit.config, device): unit for unit in left
            }
            while waiting:
                ended, _ = wait(waiting, return_when=FIRST_COMPLETED)
                for future in ended:
                    unit = waiting.pop(future)
                    result = future.result()
                    done.add(unit.key)
                    yield unit, result
        except BrokenProcessPool:
            attempts = 1 if done else attempts + 1
            if attempts >= _MOST_ATTEMPTS:
                raise RuntimeError(f"a worker died {attempts} times without finishing a unit") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
        left = [unit for unit in left if unit.key not in done]


def _on_ray(units: Sequence[Unit], executor: ExecutorConfig, device: str) -> Iterator[tuple[Unit, dict[str, Any]]]:
    try:
        import ray
    except ImportError:
        raise InputError("executor 'ray': Ray is not installed; pip install 'myosotis[cluster]'") from None
    own = not ray.is_initialized()
    if own and executor.address is not None:
        ray.init(address=executor.address, log_to_driver=False)
    elif own:
        ray.init(num_cpus=executor.workers * executor.threads, include_dashboard=False, log_to_driver=False)

    remote = ray.remote(num_cpus=executor.threads, max_retries=_MOST_ATTEMPTS)(run_with_threads)
    try:
        waiting = {remote.remote(unit.config, executor.threads, device): unit for unit in units}
        while waiting:
            (ended,), _ = ray.wait(list(waiting), num_returns=1)
            yield waiting.pop(ended), ray.get(ended)
    finally:
        if own:
            ray.shutdown()
