"""What each masker hides, and how often."""

import numpy as np
import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import MASKERS, build_masker, check_settings
from myosotis.pretraining.maskers.block import BlockMasker, BlockSettings
from myosotis.pretraining.maskers.grid import dither_order
from myosotis.pretraining.salience import token_salience

GRID = (7, 7)
FOUR = torch.tensor([[[2.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])


def tokens(batch=8, count=49, dim=6):
    return torch.randn(batch, count, dim, generator=generator(0, "tokens"))


def guides(name, batch=8, count=49):
    guide = build_masker(name).guide
    return {} if guide is None else {guide: torch.rand(batch, count, generator=generator(1))}


@pytest.mark.parametrize("name", MASKERS)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
def test_a_masker_hides_what_it_is_asked_for_and_depends_on_its_generator_alone(name, ratio):
    masker = build_masker(name)
    state = torch.get_rng_state()
    found = [
        masker(tokens(), grid=GRID, ratio=ratio, progress=0.5, generator=generator(seed), **guides(name))
        for seed in (0, 0, 1)
    ]
    assert torch.get_rng_state().equal(state)
    assert found[0].hidden.equal(found[1].hidden)
    wanted = 49 - {0.5: 24, 0.75: 12, 0.9: 4}[ratio]
    hidden = found[0].hidden.sum(dim=1)
    if name == "block":
        assert (hidden <= wanted).all()
        assert (hidden >= 0.8 * wanted).all()
    else:
        assert hidden.eq(wanted).all()
    if name != "attention":
        assert not found[0].hidden.equal(found[2].hidden)


@pytest.mark.parametrize("name", MASKERS)
def test_every_token_is_hidden_at_times(name):
    settings = {"attention": {"mode": "hint"}}.get(name, {})
    masker, times = build_masker(name, settings), torch.zeros(49)
    for seed in range(60):
        stream = generator(seed)
        guide = masker.guide
        said = {} if guide is None else {guide: torch.rand(8, 49, generator=stream)}
        times += masker(tokens(), grid=GRID, ratio=0.75, progress=1.0, generator=stream, **said).hidden.sum(dim=0)
    assert (times > 0).all()


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


def test_warm_up_is_random_and_of_one_ratio():
    masker = build_masker("salience", {"warmup": 0.25, "spread": 0.1, "noise": 0.0})
    early = masker(tokens(), grid=GRID, ratio=0.75, progress=0.2, generator=generator(0))
    late = masker(tokens(), grid=GRID, ratio=0.75, progress=0.25, generator=generator(0))
    plain = build_masker("random")(tokens(), grid=GRID, ratio=0.75, generator=generator(0))
    assert early.hidden.equal(plain.hidden)
    assert not early.ragged
    assert late.ragged
    again = masker(tokens(), grid=GRID, ratio=0.75, progress=0.9, generator=generator(5))
    assert late.hidden.equal(again.hidden)


def test_ratios_of_images_do_not_depend_on_their_batch_unless_asked_to():
    x = tokens()
    one = build_masker("salience", {"spread": 0.2, "noise": 0.0})
    assert (
        one(x, grid=GRID, ratio=0.7, generator=generator(0))
        .counts[:1]
        .equal(one(x[:1], grid=GRID, ratio=0.7, generator=generator(0)).counts)
    )
    batch = build_masker("salience", {"spread": 0.2, "noise": 0.0, "scope": "batch"})
    assert not batch(x, grid=GRID, ratio=0.7, generator=generator(0)).ragged


def test_ranks_spread_a_skewed_salience():
    x = tokens() * 4
    plain = build_masker("salience", {"spread": 0.1})(x, grid=GRID, ratio=0.75, generator=generator(0))
    ranked = build_masker("salience", {"spread": 0.1, "normalize": "rank"})
    found = ranked(x, grid=GRID, ratio=0.75, generator=generator(0))
    assert (plain.guide > 0.5).float().mean() < 0.3
    assert (found.guide > 0.5).float().mean().item() == pytest.approx(24 / 49)
    assert found.counts.unique().numel() == 1


def test_the_guide_of_a_mask_is_its_salience():
    mask = build_masker("salience", {"scale": "sqrt_dim"})(tokens(), grid=GRID, ratio=0.5, generator=generator(0))
    assert mask.guide.equal(token_salience(tokens(), scale="sqrt_dim"))


def test_attention_hides_high_or_low():
    attention = torch.linspace(0, 1, 20).repeat(3, 1)
    x = tokens(3, 20)
    for mode, hidden in (("high", range(10, 20)), ("low", range(10))):
        mask = build_masker("attention", {"mode": mode})(
            x, grid=(4, 5), ratio=0.5, generator=generator(0), attention=attention
        )
        assert mask.hidden[0].nonzero().flatten().tolist() == list(hidden)


def test_a_hint_shows_some_of_what_is_attended_to_most():
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


def test_predicted_losses_decide_more_and_more():
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


@pytest.mark.parametrize("name", ["attention", "predicted_loss"])
def test_a_guided_masker_needs_its_guide(name):
    with pytest.raises(ValueError, match=f"needs '{name}'"):
        build_masker(name)(tokens(), grid=GRID, ratio=0.5, generator=generator(0))


def test_a_grid_of_three_quarters_shows_one_of_four():
    x = tokens(16, 64)
    mask = build_masker("grid")(x, grid=(8, 8), ratio=0.75, generator=generator(0))
    cells = (~mask.hidden).view(16, 4, 2, 4, 2).sum(dim=(2, 4))
    assert cells.eq(1).all()
    starts = {tuple(row.nonzero().flatten().tolist()) for row in ~mask.hidden}
    assert len(starts) == 4
    assert sorted(dither_order(8).flatten().tolist()) == list(range(64))


def test_blocks_hang_together():
    def borders(hidden):
        plane = hidden.view(-1, 14, 14).int()
        return (plane.diff(dim=1).abs().sum() + plane.diff(dim=2).abs().sum()).item()

    x = tokens(32, 196)
    blocks = build_masker("block", {"smallest": 16})(x, grid=(14, 14), ratio=0.4, generator=generator(0))
    plain = build_masker("random")(x, grid=(14, 14), ratio=0.4, generator=generator(0))
    assert borders(blocks.hidden) < 0.5 * borders(plain.hidden)
    assert 0.36 < blocks.ratios.mean() <= 79 / 196 + 1e-6


def test_a_block_mask_hides_something_even_where_no_block_fits():
    masker = BlockMasker(BlockSettings(smallest=4, largest_aspect=1000.0))
    for seed in range(20):
        hidden = masker._one((2, 2), 1, np.random.default_rng(seed))
        assert hidden.sum() == 1


def test_settings_are_checked():
    with pytest.raises(ValueError, match="did you mean 'salience'"):
        check_settings("saliency")
    with pytest.raises(ValueError, match="has no setting 'nois'; did you mean 'noise'"):
        check_settings("salience", {"nois": 1})
    with pytest.raises(ValueError, match="masker 'salience', warmup"):
        check_settings("salience", {"warmup": 2})
    with pytest.raises(ValueError, match="set 'spread'"):
        build_masker("salience", {"threshold": 0.3})
    assert build_masker("salience", {"spread": 0.1}).ratio_range(0.75) == pytest.approx((0.65, 0.85))
    with pytest.raises(NotImplementedError, match="'random' has no teacher"):
        _ = build_masker("random").teacher_momentum
