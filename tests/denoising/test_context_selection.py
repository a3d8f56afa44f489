"""Choosing a context without clean symbols."""

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.counting import dude
from myosotis.denoising.passes import Passes

LAW = Channel.binary_symmetric(0.1)
QUICK = Passes(epochs=10, learning_rate=5e-3, batch_size=256)


def test_contexts_are_chosen_without_clean_symbols(markov, noisy, small):
    clean = markov(20_000)
    seen = noisy(clean)
    candidates = [Context1d(k) for k in (1, 2, 3, 4, 5, 8)]
    best, found = select_context(seen, LAW, candidates)
    true = {context: (dude(seen, LAW, k=context.half_width).symbols != clean).mean() for context in candidates}
    assert true[best] < 1.06 * min(true.values())
    assert set(found) == set(candidates)
    # The plain estimate of counting falls for the largest.
    plain = {context: dude(seen, LAW, k=context.half_width).estimated_loss for context in candidates}
    assert min(plain, key=plain.get) == Context1d(8)
    slow = noisy(markov(20_000, flip=0.03))
    neural, _ = select_context(slow, LAW, [Context1d(1), Context1d(4)], neural=small, passes=QUICK)
    assert neural == Context1d(4)
    with pytest.raises(ValueError, match="no contexts given"):
        select_context(seen, LAW, [])


def test_of_equal_estimates_the_smallest_context_is_taken():
    """Where nothing is changed all estimates are the rate of the noise, and differ by rounding."""
    letters = np.random.default_rng(0).integers(0, 30, 3000)
    channel = Channel.symmetric(30, 0.05)
    candidates = [Context1d(k) for k in (6, 5, 4, 7)]
    context, estimates = select_context(letters, channel, candidates)
    assert max(estimates.values()) - min(estimates.values()) < 1e-12
    assert context == Context1d(4)
