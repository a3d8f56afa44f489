"""Masking guided by attention."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker


def test_attention_hides_high_or_low(tokens):
    attention = torch.linspace(0, 1, 20).repeat(3, 1)
    x = tokens(3, 20)
    for mode, hidden in (("high", range(10, 20)), ("low", range(10))):
        mask = build_masker("attention", {"mode": mode})(
            x, grid=(4, 5), ratio=0.5, generator=generator(0), attention=attention
        )
        assert mask.hidden[0].nonzero().flatten().tolist() == list(hidden)


def test_a_hint_shows_some_of_what_is_attended_to_most(tokens):
    attention = torch.linspace(0, 1, 100).repeat(200, 1)
    mask = build_masker("attention", {"mode": "hint"})(
        tokens(200, 100), grid=(10, 10), ratio=0.5, generator=generator(0), attention=attention
    )
    shown = ~mask.hidden
    # floor(0.1 * 0.5 * 100) of the first floor(0.1 * 100).
    assert shown[:, 90:].sum(dim=1).eq(5).all()
    assert mask.hidden[:, 50:90].all()
    assert not mask.hidden[:, :50].any()
    assert shown[:, 90:].float().mean(dim=0).tolist() == pytest.approx([0.5] * 10, abs=0.12)
