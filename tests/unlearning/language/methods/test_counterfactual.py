"""Counterfactual teacher: the choice of strangers, the divergence, and where it has its minimum."""

import math

import pytest
import torch

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import counterfactual_loss, stranger_distribution
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.methods.term import Side, Sides


def test_names_are_quantiles_of_the_third_under_which_the_fact_is_least_known():
    first = torch.tensor([0.7, 0.1, 0.2, 0.6, 0.5, 0.4], dtype=torch.float64)
    under = torch.stack([first, 1 - first], dim=-1)[:, None]
    labels = torch.tensor([0])
    assert torch.allclose(stranger_distribution(under.log(), labels, 2).exp(), (under[1] + under[2]) / 2)

    def at(*quantiles, **options):
        found = [stranger_distribution(under.log(), labels, 1, q, **options).exp()[0, 0].item() for q in quantiles]
        return pytest.approx(found)

    assert at(0.0, 0.4, 0.6, 0.99) == [0.1, 0.1, 0.2, 0.2]
    assert at(0.0, 0.3, 0.6, 0.99, shared=True) == [0.1, 0.2, 0.4, 0.5]  # of two thirds, where others hold the fact
    apart = stranger_distribution(under.log(), labels, 2, 0.3, shared=True).exp()
    assert torch.allclose(apart, (under[2] + under[4]) / 2)  # the second is half the part further
    for names in (0, 3):
        with pytest.raises(ValueError, match="between 1 and 2"):
            stranger_distribution(under.log(), labels, names)


def test_names_are_ranked_by_the_whole_fact():
    """Of two tokens: .9 and .1 is less known than .6 and .6."""
    one = torch.tensor([[0.9, 0.1], [0.9, 0.1]]).log()
    other = torch.tensor([[0.6, 0.4], [0.4, 0.6]]).log()
    labels = torch.tensor([0, 1])
    assert torch.equal(stranger_distribution(torch.stack([other, one, other]), labels, 1).exp(), one.exp())


def test_the_loss_is_the_divergence_and_its_gradient_is_the_difference(gradient):
    teacher = torch.tensor([[[0.5, 0.25, 0.125, 0.125]]], dtype=torch.float64)
    logits = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
    labels = torch.tensor([[0]])
    p = logits[0, 0].softmax(-1)
    expected = (teacher[0, 0] * (teacher[0, 0].log() - p.log())).sum().item()
    assert counterfactual_loss(logits, teacher.log(), labels).item() == pytest.approx(expected, rel=1e-12)
    assert counterfactual_loss(teacher.log(), teacher.log(), labels).item() == pytest.approx(0, abs=1e-12)


def test_ignored_positions_count_for_nothing():
    logits, teacher = torch.randn(2, 3, 7), torch.randn(2, 3, 7).log_softmax(-1)
    labels = torch.tensor([[1, IGNORED, 2], [IGNORED, IGNORED, 3]])
    values = counterfactual_loss(logits, teacher, labels, "none")
    assert (values[labels == IGNORED] == 0).all()
    assert counterfactual_loss(logits, teacher, labels) == pytest.approx((values.sum() / 3).item(), rel=1e-6)


def test_the_excess_counts_what_the_true_token_is_likelier_and_only_that():
    teacher = torch.tensor([[[0.98, 0.01, 0.01], [0.2, 0.4, 0.4]]], dtype=torch.float64)
    model = torch.tensor([[[0.90, 0.09, 0.01], [0.1, 0.5, 0.4]]], dtype=torch.float64)
    labels = torch.tensor([[1, 0]])
    plain, more = (counterfactual_loss(model.log(), teacher.log(), labels, "none", weight) for weight in (0.0, 2.0))
    # At the second token the model is surer of another answer than the teacher is.
    torch.testing.assert_close(more - plain, torch.tensor([[2 * math.log(9), 0.0]], dtype=torch.float64))
    assert counterfactual_loss(teacher.log(), teacher.log(), labels, excess_weight=2.0) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="excess_weight must be at least 0"):
        build_method("counterfactual", {"excess_weight": -1.0})


def test_what_is_retained_weighs_more_next_to_facts_alone():
    weights = {
        teacher: [weight for weight, _ in build_method("counterfactual", {"teacher": teacher}).terms()]
        for teacher in ("names", "proxy", "base")
    }
    assert weights == {"names": [1.0, 100.0], "proxy": [1.0, 1.0], "base": [1.0, 1.0]}
    assert build_method("counterfactual", {"retain_weight": 0.5}).terms()[1][0] == 50.0
    assert len(build_method("counterfactual", {"retain": None}).terms()) == 1


@pytest.mark.parametrize("setting", [{"names": 2}, {"candidates": 30}])
def test_names_have_no_effect_on_another_teacher(setting):
    with pytest.raises(ValueError, match="names and candidates have no effect with teacher 'proxy'"):
        build_method("counterfactual", {"teacher": "proxy", **setting})


@pytest.mark.parametrize("teacher", ["names", "proxy"])
def test_it_cannot_be_a_part_of_a_composite(teacher):
    part = {"name": "counterfactual", "teacher": teacher}
    with pytest.raises(ValueError, match="counterfactual cannot be a part of a composite"):
        build_method("composite", {"forget": [part]})


@pytest.mark.parametrize(
    ("settings", "weight"),
    [
        ({}, 0.6),
        ({"teacher": "proxy"}, 0.1),
        ({"teacher": "base"}, 0.1),
        ({"teacher": "base", "excess_weight": 0.0}, 0.0),
    ],
)
def test_the_excess_weighs_less_where_all_tokens_count(settings, weight):
    logits, teacher = torch.randn(1, 3, 5), torch.randn(1, 3, 5).log_softmax(-1)
    side = Side(torch.tensor([[1, 4, 2]]), logits, teacher=teacher)
    found = build_method("counterfactual", settings).forget_term().items(Sides(side))
    assert torch.equal(found, counterfactual_loss(logits, teacher, side.labels, "none", weight))
