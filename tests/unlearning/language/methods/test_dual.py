"""Dual ascent on the multiplier of a constraint."""

import pytest

from myosotis.unlearning.language.methods.dual import DualAscent


def test_the_multiplier_rises_above_the_limit_and_falls_to_zero_below():
    ascent = DualAscent("retain_nll", limit=0.5, step_size=0.1, start=0.0)
    assert ascent.update(0.0, 1.5) == pytest.approx(0.1)
    assert ascent.update(0.01, 0.2) == 0.0
