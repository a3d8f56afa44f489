"""Units that do not end well."""

import pytest
import torch

from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.protocol.failures import attempt, counted


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (DivergedError("training diverged in task 2"), "diverged", "training diverged in task 2"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nMore."),
            "failed",
            "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.",
        ),
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
    "error", [KeyboardInterrupt(), MemoryError(), TypeError("a bug"), RuntimeError("CUDA error: an illegal access")]
)
def test_what_would_fail_every_other_unit_too_passes(error):
    with pytest.raises(type(error)) as caught:
        attempt(raising(error))
    assert caught.value is error


def test_results_pass_and_failures_are_counted():
    assert attempt(lambda: 3) == (3, None)
    diverged, failed = ({"kind": kind, "reason": kind} for kind in ("diverged", "failed"))
    results = [{"failure": one} for one in (None, failed, diverged, failed)]
    assert counted(results, "tuning") == [
        {"phase": "tuning", "kind": "failed", "reason": "failed", "count": 2},
        {"phase": "tuning", "kind": "diverged", "reason": "diverged", "count": 1},
    ]
