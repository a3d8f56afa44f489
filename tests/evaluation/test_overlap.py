"""Cosines between what is to be forgotten and what is to be kept, and what is usual."""

import pytest
import torch

from myosotis.engine.errors import SettingsError
from myosotis.evaluation.overlap import feature_overlap

AXIS, OTHER = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])


def test_identical_features_have_a_cosine_of_one_and_orthogonal_ones_of_zero():
    same, apart = feature_overlap(AXIS, AXIS), feature_overlap(AXIS, OTHER)
    assert same.forget.tolist() == pytest.approx([1.0, 1.0])
    assert same.nearest.tolist() == [0, 1]
    assert apart.forget.tolist() == pytest.approx([0.0, 0.0])
    assert apart.control.tolist() == pytest.approx([-1.0, -1.0])
    assert apart.retained.tolist() == pytest.approx([0.0, 0.0])


def test_it_agrees_with_a_loop_over_pairs():
    stream = torch.Generator().manual_seed(0)
    forget, retain = torch.randn(4, 6, generator=stream) + 3, torch.randn(7, 6, generator=stream) + 3
    groups = ["a", "a", "b", "c", "c", "c", "d"]
    mean = torch.cat([forget, retain]).mean(0)

    def cosine(a, b):
        a, b = a - mean, b - mean
        return float(a @ b / a.norm() / b.norm())

    overlap = feature_overlap(forget, retain, groups)
    assert overlap.forget.tolist() == pytest.approx([max(cosine(f, r) for r in retain) for f in forget], abs=1e-5)
    means = [sum(cosine(f, r) for f in forget) / 4 for r in retain]
    assert overlap.retained.tolist() == pytest.approx(means, abs=1e-5)
    control = [
        max(cosine(r, other) for k, other in enumerate(retain) if groups[k] != groups[i]) for i, r in enumerate(retain)
    ]
    assert overlap.control.tolist() == pytest.approx(control, abs=1e-5)


def test_scale_and_place_of_the_features_do_not_matter():
    stream = torch.Generator().manual_seed(1)
    forget, retain = torch.randn(3, 5, generator=stream), torch.randn(6, 5, generator=stream)
    first, second = feature_overlap(forget, retain), feature_overlap(10 * forget + 4, 10 * retain + 4)
    assert torch.allclose(first.forget, second.forget, atol=1e-5)
    assert torch.allclose(first.control, second.control, atol=1e-5)


@pytest.mark.parametrize(("near", "word"), [(1.0, "nearer than"), (0.0, "as near as"), (-1.0, "farther than")])
def test_the_sentence_compares_with_what_is_usual(near, word):
    retain = torch.tensor([[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]])
    usual = feature_overlap(retain, retain).control
    overlap = feature_overlap(retain, retain)
    changed = type(overlap)(usual + near, overlap.nearest, overlap.retained, usual)
    assert f"{word} usual" in changed.sentence


def test_one_of_each_has_no_control():
    overlap = feature_overlap(AXIS[:1], OTHER[:1])
    assert len(overlap.control) == 0
    assert "nothing to compare it with" in overlap.sentence


def test_retained_samples_of_one_group_have_no_control():
    assert len(feature_overlap(AXIS, OTHER, ["a", "a"]).control) == 0


def test_features_that_are_all_equal_have_a_cosine_of_zero():
    assert feature_overlap(torch.ones(2, 3), torch.ones(4, 3)).forget.tolist() == [0.0, 0.0]


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(SettingsError, match="got 0 to forget and 2 to retain"):
        feature_overlap(AXIS[:0], OTHER)
    with pytest.raises(SettingsError, match="got 2 to forget and 0 to retain"):
        feature_overlap(AXIS, OTHER[:0])
    with pytest.raises(SettingsError, match="not finite"):
        feature_overlap(AXIS, OTHER / 0)
    with pytest.raises(SettingsError, match="expected 2 groups"):
        feature_overlap(AXIS, OTHER, ["a"])
