"""What each masker hides, and how often."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.maskers import MASKERS, build_masker

GRID = (7, 7)


@pytest.mark.parametrize("name", MASKERS)
@pytest.mark.parametrize("ratio", [0.5, 0.75, 0.9])
def test_a_masker_hides_what_it_is_asked_for_and_depends_on_its_generator_alone(tokens, guides, name, ratio):
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
def test_every_token_is_hidden_at_times(tokens, name):
    settings = {"attention": {"mode": "hint"}}.get(name, {})
    masker, times = build_masker(name, settings), torch.zeros(49)
    for seed in range(60):
        stream = generator(seed)
        guide = masker.guide
        said = {} if guide is None else {guide: torch.rand(8, 49, generator=stream)}
        times += masker(tokens(), grid=GRID, ratio=0.75, progress=1.0, generator=stream, **said).hidden.sum(dim=0)
    assert (times > 0).all()


@pytest.mark.parametrize("name", ["attention", "predicted_loss"])
def test_a_guided_masker_needs_its_guide(tokens, name):
    with pytest.raises(ValueError, match=f"needs '{name}'"):
        build_masker(name)(tokens(), grid=GRID, ratio=0.5, generator=generator(0))


def test_settings_are_checked():
    with pytest.raises(ValueError, match="did you mean 'salience'"):
        MASKERS.settings("saliency")
    with pytest.raises(ValueError, match="has no setting 'nois'; did you mean 'noise'"):
        MASKERS.settings("salience", {"nois": 1})
    with pytest.raises(ValueError, match="masker 'salience', warmup"):
        MASKERS.settings("salience", {"warmup": 2})
    with pytest.raises(ValueError, match="set 'spread'"):
        build_masker("salience", {"threshold": 0.3})
    assert build_masker("salience", {"spread": 0.1}).ratio_range(0.75) == pytest.approx((0.65, 0.85))
    with pytest.raises(NotImplementedError, match="'random' has no teacher"):
        _ = build_masker("random").teacher_momentum
