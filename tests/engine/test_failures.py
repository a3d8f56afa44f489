"""Units that do not end well."""

import pytest
import torch

from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.engine.failures import OutOfMemoryError, attempt, counted


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (DivergedError("training diverged in task 2"), "diverged", "training diverged in task 2"),
        (RuntimeError("shapes do not fit"), "failed", "RuntimeError: shapes do not fit"),
        (SettingsError("a batch of 8"), "failed", "SettingsError: a batch of 8"),
        (InputError("architecture 'x'"), "failed", "InputError: architecture 'x'"),
        (OverflowError(""), "failed", "OverflowError: "),
    ],
)
def test_a_unit_that_fails_is_a_result(error, kind, reason):
    """Every ValueError used to count as divergence, and every other error to end the search."""
    assert attempt(raising(error)) == (None, {"kind": kind, "reason": reason})


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        TypeError("a bug"),
        RuntimeError("CUDA error: an illegal access"),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_what_would_fail_every_other_unit_too_passes(error):
    with pytest.raises(type(error)) as caught:
        attempt(raising(error))
    assert caught.value is error


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore."),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] . DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError("Unable to allocate 9.00 GiB for an array"),
    ],
    ids=str,
)
def test_no_memory_is_no_score(error):
    """It was stored as a score of 0, which depended on how many workers shared a card."""
    with pytest.raises(OutOfMemoryError, match=type(error).__name__):
        attempt(raising(error))


def test_results_pass_and_failures_are_counted():
    assert attempt(lambda: 3) == (3, None)
    diverged, failed = ({"kind": kind, "reason": kind} for kind in ("diverged", "failed"))
    results = [{"failure": one} for one in (None, failed, diverged, failed)]
    assert [dict(each) for each in counted(results, "tuning")] == [
        {"phase": "tuning", "kind": "failed", "reason": "failed", "count": 2},
        {"phase": "tuning", "kind": "diverged", "reason": "diverged", "count": 1},
    ]
