"""Figures of a denoised file."""

import time
import tracemalloc

import numpy as np

from myosotis.denoising.channel import Channel
from myosotis.denoising.methods import DenoiseResult
from myosotis.denoising.summary import Tally, summarise


def summary(noisy, found, names, reference=None):
    channel = Channel.symmetric(len(names), 0.1)
    result = DenoiseResult(found, "dude", None, {}, channel, 0.1, 0.0, [])
    tally = Tally(len(names))
    tally.add(noisy, found, reference)
    return summarise(tally, result, names, time.monotonic())


def test_changes_are_counted():
    noisy = np.array([[0, 1, 2, 2], [1, 1, 0, 0]], dtype=np.uint64)
    found = np.array([[0, 0, 2, 1], [1, 1, 0, 2]], dtype=np.uint64)
    told = summary(noisy, found, "abc", np.array([[0, 0, 2, 2], [1, 1, 2, 0]]))
    assert (told["true_error_before"], told["true_error_after"]) == (2 / 8, 3 / 8)
    assert told["changes"] == [[2, 0, 1], [1, 2, 0], [0, 1, 1]]
    assert told["changed"] == 3


def test_memory_of_counting():
    """Two copies of eight bytes a symbol used to be made."""
    noisy = np.zeros(12_000_000, dtype=np.uint8)
    tracemalloc.start()
    told = summary(noisy, noisy, "ab", noisy)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert told["changes"] == [[12_000_000, 0], [0, 0]]
    assert peak < noisy.size
