"""Estimating an unknown channel."""

import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.channel_estimation import estimate_channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.passes import Passes

QUICK = Passes(epochs=10, learning_rate=5e-3, batch_size=256)


def test_an_unknown_channel_is_found(markov, noisy, small):
    clean = markov(20_000, flip=0.04)
    law = Channel.binary_symmetric(0.12)
    seen = noisy(clean, law)
    found = estimate_channel(small(Context1d(4)), seen, Channel.binary_symmetric(0.3), rounds=4, passes=QUICK)
    assert found.channel.matrix[0, 1] == pytest.approx(0.12, abs=0.04)
    assert found.channel.matrix[1, 0] == pytest.approx(0.12, abs=0.04)
    assert len(found.history) == 5
