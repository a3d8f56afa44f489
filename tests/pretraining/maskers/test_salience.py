"""Masking guided by salience."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import build_masker
from myosotis.pretraining.salience import token_salience

GRID = (7, 7)
FOUR = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])


def test_salience_without_noise_hides_the_salient_tokens():
    for ratio, hidden in ((0.25, [0]), (0.5, [0, 2]), (0.75, [0, 1, 2])):
        masker = build_masker("salience", {"noise": 0.0})
        mask = masker(FOUR, grid=(2, 2), ratio=ratio, generator=generator(0))
        assert mask.hidden[0].nonzero().flatten().tolist() == hidden
        inverted = build_masker("salience", {"noise": 0.0, "invert": True})
        assert not inverted(FOUR, grid=(2, 2), ratio=ratio, generator=generator(0)).hidden[0, 0]


def test_the_probability_of_being_hidden_follows_salience():
    salience = torch.tensor([0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])
    masker = build_masker("salience", {"noise": 0.5, "warmup": 0.0})
    many = salience.expand(200_000, 10)
    half = masker.from_salience(many, 0.5, 1.0, generator(0)).hidden.float().mean(dim=0)
    wanted = [0.000, 0.003, 0.033, 0.149, 0.364, 0.638, 0.851, 0.966, 0.997, 1.000]
    assert half.tolist() == pytest.approx(wanted, abs=0.01)
    most = masker.from_salience(many, 0.8, 1.0, generator(0)).hidden.float().mean(dim=0)
    assert most.tolist()[:7] == pytest.approx([0.156, 0.370, 0.654, 0.857, 0.966, 0.997, 1.0], abs=0.01)
    random = build_masker("salience", {"noise": 1e6}).from_salience(many, 0.5, 1.0, generator(0))
    assert random.hidden.float().mean(dim=0).tolist() == pytest.approx([0.5] * 10, abs=0.01)


def test_identical_tokens_are_hidden_at_random():
    same = torch.full((2000, 10, 4), 0.3)
    mask = build_masker("salience")(same, grid=(2, 5), ratio=0.5, generator=generator(0))
    times = mask.hidden.sum(dim=0).double()
    # Chi-square over ten tokens; 0.999 of nine degrees of freedom is 27.9.
    assert ((times - 1000) ** 2 / 1000).sum().item() / 0.5 * 0.9 < 27.9
    assert mask.counts.eq(5).all()


def test_warm_up_is_random_and_of_one_ratio(tokens):
    masker = build_masker("salience", {"warmup": 0.25, "spread": 0.1, "noise": 0.0})
    early = masker(tokens(), grid=GRID, ratio=0.75, progress=0.2, generator=generator(0))
    late = masker(tokens(), grid=GRID, ratio=0.75, progress=0.25, generator=generator(0))
    plain = build_masker("random")(tokens(), grid=GRID, ratio=0.75, generator=generator(0))
    assert early.hidden.equal(plain.hidden)
    assert not early.ragged
    assert late.ragged
    again = masker(tokens(), grid=GRID, ratio=0.75, progress=0.9, generator=generator(5))
    assert late.hidden.equal(again.hidden)


def test_ratios_of_images_do_not_depend_on_their_batch_unless_asked_to(tokens):
    x = tokens()
    one = build_masker("salience", {"spread": 0.2, "noise": 0.0})
    assert (
        one(x, grid=GRID, ratio=0.7, generator=generator(0))
        .counts[:1]
        .equal(one(x[:1], grid=GRID, ratio=0.7, generator=generator(0)).counts)
    )
    batch = build_masker("salience", {"spread": 0.2, "noise": 0.0, "scope": "batch"})
    assert not batch(x, grid=GRID, ratio=0.7, generator=generator(0)).ragged


def test_ranks_spread_a_skewed_salience(tokens):
    x = tokens() * 4
    plain = build_masker("salience", {"spread": 0.1})(x, grid=GRID, ratio=0.75, generator=generator(0))
    ranked = build_masker("salience", {"spread": 0.1, "normalize": "rank"})
    found = ranked(x, grid=GRID, ratio=0.75, generator=generator(0))
    assert (plain.guide > 0.5).float().mean() < 0.3
    assert (found.guide > 0.5).float().mean().item() == pytest.approx(24 / 49)
    assert found.counts.unique().numel() == 1


def test_the_guide_of_a_mask_is_its_salience(tokens):
    mask = build_masker("salience", {"scale": "sqrt_dim"})(tokens(), grid=GRID, ratio=0.5, generator=generator(0))
    assert mask.guide.equal(token_salience(tokens(), scale="sqrt_dim"))
