"""Masking guided by predicted losses."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker


def test_predicted_losses_decide_more_and_more(tokens):
    losses = torch.linspace(0, 1, 40).repeat(400, 1)
    masker = build_masker("predicted_loss")
    for progress, chosen in ((0.0, 0), (0.5, 7), (1.0, 15)):
        mask = masker(
            tokens(400, 40), grid=(5, 8), ratio=0.75, progress=progress, generator=generator(0), predicted_loss=losses
        )
        assert mask.counts.eq(10).all()
        if chosen:
            assert mask.hidden[:, -chosen:].all()
        rest = mask.hidden[:, : 40 - chosen].float().mean().item()
        assert rest == pytest.approx((30 - chosen) / (40 - chosen))
        assert mask.hidden[:, 0].float().mean().item() == pytest.approx(rest, abs=0.08)
