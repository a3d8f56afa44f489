"""Masks from scores: counts, order, and what models need of them."""

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.pretraining.token_mask import mask_from_hidden, mask_from_scores, visible_count


def test_how_many_tokens_stay_visible():
    assert [visible_count(49, ratio) for ratio in (0.5, 0.75, 0.9)] == [24, 12, 4]
    assert [visible_count(196, ratio) for ratio in (0.6, 0.75, 0.9)] == [78, 49, 19]
    assert visible_count(10, 0.9) == 1
    assert visible_count(20, 0.9) == 2
    assert (visible_count(10, 1.0), visible_count(10, 0.0)) == (1, 9)


def test_the_largest_scores_are_hidden():
    scores = torch.tensor([[1.0, 0.1771, 0.2201, 0.0]])
    for ratio, hidden in ((0.25, [0]), (0.5, [0, 2]), (0.75, [0, 1, 2])):
        mask = mask_from_scores(scores, ratio)
        assert mask.hidden[0].nonzero().flatten().tolist() == hidden
        assert mask.keep[0].tolist() == [3, 1, 2, 0][: 4 - len(hidden)]
        assert mask.counts.tolist() == [4 - len(hidden)]
        assert mask.valid.all()


@given(st.integers(0, 10_000), st.integers(2, 40))
def test_keep_and_restore_belong_together(seed, tokens):
    stream = torch.Generator().manual_seed(seed)
    scores, ratios = torch.rand(5, tokens, generator=stream), torch.rand(5, generator=stream).double()
    mask = mask_from_scores(scores, ratios)
    assert mask.counts.tolist() == [visible_count(tokens, ratio) for ratio in ratios.tolist()]
    assert mask.hidden.sum(dim=1).equal(tokens - mask.counts)
    assert mask.ragged == (len(set(mask.counts.tolist())) > 1)
    assert mask.valid.sum(dim=1).equal(mask.counts)
    for image in range(5):
        shown = mask.keep[image][mask.valid[image]]
        assert not mask.hidden[image, shown].any()
        assert mask.restore[image, shown].tolist() == list(range(len(shown)))
        assert len(set(mask.keep[image].tolist())) == mask.keep.shape[1]
        assert sorted(mask.restore[image].tolist()) == list(range(tokens))


@given(st.integers(0, 10_000), st.floats(0.05, 0.9), st.floats(0.0, 0.1))
def test_masks_of_one_score_are_nested(seed, low, more):
    scores = torch.rand(3, 30, generator=torch.Generator().manual_seed(seed))
    smaller, larger = mask_from_scores(scores, low).hidden, mask_from_scores(scores, low + more).hidden
    assert not (smaller & ~larger).any()


def test_of_equal_scores_the_later_are_hidden():
    assert mask_from_scores(torch.zeros(1, 6), 0.5).hidden.tolist() == [[False] * 3 + [True] * 3]


def test_a_mask_of_given_tokens():
    hidden = torch.tensor([[True, False, True, False], [False, False, False, True]])
    mask = mask_from_hidden(hidden)
    assert mask.hidden.equal(hidden)
    assert mask.counts.tolist() == [2, 3]
    assert mask.ragged
    for wrong in (torch.ones(1, 4, dtype=torch.bool), torch.zeros(1, 4, dtype=torch.bool)):
        with pytest.raises(ValueError, match="needs a visible and a hidden token"):
            mask_from_hidden(wrong)


@pytest.mark.parametrize("tokens", [3, 7, 49, 196, 1000])
def test_every_count_of_given_tokens_comes_back(tokens):
    counts = torch.arange(1, tokens)
    hidden = torch.arange(tokens) >= counts[:, None]
    assert mask_from_hidden(hidden).counts.equal(counts)


def test_what_cannot_be_masked():
    with pytest.raises(ValueError, match="at least two tokens"):
        mask_from_scores(torch.rand(2, 1), 0.5)
    with pytest.raises(ValueError, match="must be in \\[0, 1\\], got 1.5"):
        mask_from_scores(torch.rand(2, 4), 1.5)
    with pytest.raises(ValueError, match="must be in \\[0, 1\\]"):
        mask_from_scores(torch.rand(2, 4), torch.tensor([0.5, -0.1]))


@pytest.mark.parametrize("tokens", [20, 49, 64, 100, 196, 200, 784])
def test_ratios_of_images_round_as_one_ratio_does(tokens):
    ratios = [round(0.01 * step, 2) for step in range(1, 100)]
    scores = torch.rand(99, tokens)
    for kind in (torch.float32, torch.float64):
        found = mask_from_scores(scores, torch.tensor(ratios, dtype=kind)).counts.tolist()
        assert found == [visible_count(tokens, ratio) for ratio in ratios]
