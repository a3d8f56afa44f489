"""Failures of units of work: which count as results, and which stop the whole search."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from myosotis.engine.errors import DivergedError
from myosotis.engine.result import FailedRuns

_LONGEST = 200  # characters of a reason
_FAULTY_DEVICE: type[Exception] | tuple[()] = getattr(torch, "AcceleratorError", ())  # from torch 2.8 on
# What allocators and libraries of accelerators say, and torch's allocator of the CPU. A handle of cuBLAS or cuDNN that
# cannot be made is "not initialized".
_NO_MEMORY = re.compile(
    r"out of memory|can(no|')t allocate memory|not enough memory|bad_alloc|"
    r"(CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|HIPBLAS|MIOPEN)\w*(ALLOC_FAILED|NOT_INITIALIZED)",
    re.IGNORECASE,
)
_FAULTY_WORDS = re.compile(r"(CUDA|HIP) error|cuDNN error: CUDNN_STATUS_(EXECUTION_FAILED|INTERNAL_ERROR)")

ResultT = TypeVar("ResultT")


class OutOfMemoryError(RuntimeError):
    """A unit did not fit the memory. That is no result: where more is free it would have one."""


@dataclass(frozen=True)
class NotRun:
    """A unit that did not fit the memory even while nothing else ran.

    Attributes:
        reason: What the allocator said.
    """

    reason: str


def attempt(work: Callable[[], ResultT]) -> tuple[ResultT | None, dict[str, str] | None]:
    """Carry out a unit, and return its result or its failure.

    A training that diverged, and one that does not fit the data, are failures of this unit. Errors that every other
    unit would have are raised: an interruption, a faulty accelerator, and errors that no setting explains, which are
    bugs.

    Returns:
        The result and None; or None and the failure, with its ``kind`` (``"diverged"`` or ``"failed"``) and ``reason``.

    Raises:
        OutOfMemoryError: An allocator of any device had no memory left.

    Example:
        >>> attempt(lambda: 1 / 0)
        (None, {'kind': 'failed', 'reason': 'ZeroDivisionError: division by zero'})
    """
    try:
        return work(), None
    except DivergedError as error:
        failure = {"kind": "diverged", "reason": str(error)}
    except (MemoryError, RuntimeError, ValueError, ArithmeticError) as error:
        without_memory = isinstance(error, MemoryError | torch.OutOfMemoryError) or _NO_MEMORY.search(str(error))
        if not without_memory and (isinstance(error, _FAULTY_DEVICE) or _FAULTY_WORDS.match(str(error))):
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        failure = {
            "kind": "memory" if without_memory else "failed",
            "reason": f"{type(error).__name__}: {first}"[:_LONGEST],
        }
    # Outside of the handler, whose traceback holds the tensors of the unit.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if failure["kind"] == "memory":
        raise OutOfMemoryError(failure["reason"])
    return None, failure


def counted(results: Iterable[Mapping[str, Any]], phase: str) -> list[FailedRuns]:
    """Return the failures among results: phase, kind, reason and number of runs; most frequent first.

    Args:
        results: Results with a ``failure`` each, None for a run that succeeded.
        phase: Phase of the runs.
    """
    counts: dict[tuple[str, str], int] = {}
    for result in results:
        if result["failure"] is not None:
            key = result["failure"]["kind"], result["failure"]["reason"]
            counts[key] = counts.get(key, 0) + 1
    return [
        FailedRuns(phase=phase, kind=kind, reason=reason, count=count)
        for (kind, reason), count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]
