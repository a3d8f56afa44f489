"""Failures of units of work: which count as results, and which stop the whole search."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch

from myosotis.engine.errors import DivergedError

_LONGEST = 200  # characters of a reason
_FAULTY_DEVICE: type[Exception] | tuple[()] = getattr(torch, "AcceleratorError", ())  # from torch 2.8 on

ResultT = TypeVar("ResultT")


def attempt(work: Callable[[], ResultT]) -> tuple[ResultT | None, dict[str, str] | None]:
    """Carry out a unit, and return its result or its failure.

    A training that diverged, and one that does not fit the data or the memory of the machine, are failures of this
    unit. Errors that every other unit would have are raised: an interruption, a faulty accelerator, memory that the
    driver lacks, and errors that no setting explains, which are bugs.

    Returns:
        The result and None; or None and the failure, with its ``kind`` (``"diverged"`` or ``"failed"``) and ``reason``.

    Example:
        >>> attempt(lambda: 1 / 0)
        (None, {'kind': 'failed', 'reason': 'ZeroDivisionError: division by zero'})
    """
    try:
        return work(), None
    except DivergedError as error:
        failure = {"kind": "diverged", "reason": str(error)}
    except (RuntimeError, ValueError, ArithmeticError) as error:
        if isinstance(error, _FAULTY_DEVICE) or str(error).startswith("CUDA error"):
            raise
        first = (str(error).strip().splitlines() or [""])[0]
        failure = {"kind": "failed", "reason": f"{type(error).__name__}: {first}"[:_LONGEST]}
    # Outside of the handler, whose traceback holds the tensors of the unit.
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None, failure


def counted(results: Iterable[Mapping[str, Any]], phase: str) -> list[dict[str, Any]]:
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
        {"phase": phase, "kind": kind, "reason": reason, "count": count}
        for (kind, reason), count in sorted(counts.items(), key=lambda pair: -pair[1])
    ]
