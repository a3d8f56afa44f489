import pytest
import torch

from myosotis.unlearning.classifier.stopping import StopRule, forgotten, reference_level


def test_a_tie_that_argmax_gives_to_the_true_class_is_not_forgotten():
    assert forgotten(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), None).tolist() == [False]


def test_stop_at_the_goal_needs_every_instance():
    logits, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0])
    assert not StopRule().reached(logits, labels, None)
    assert StopRule().reached(logits[:1], labels[:1], None)
    assert StopRule().reached(logits, labels, torch.tensor([1, 0])) is True
    assert not StopRule("never").reached(logits[:1], labels[:1], None)


def test_stop_at_the_reference_where_at_most_the_margin_of_what_was_learnt_is_left():
    labels = torch.zeros(10, dtype=torch.long)
    logits = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0]] * 4)  # six of ten are right
    assert reference_level(1.0, 0.5, 0.2) == pytest.approx(0.6)
    assert StopRule("reference", accuracy=reference_level(1.0, 0.5, 0.2)).reached(logits, labels, None)
    assert not StopRule("reference", accuracy=reference_level(1.0, 0.5, 0.1)).reached(logits, labels, None)
    # How unsure the model is of the rest does not matter, and a model that is not above the reference may stop at once.
    assert StopRule("reference", accuracy=0.6).reached(100 * logits, labels, None)
    assert reference_level(0.5, 0.7) == 0.7


def test_a_rule_whose_parts_do_not_fit():
    with pytest.raises(ValueError, match="an accuracy is needed"):
        StopRule("reference")
    with pytest.raises(ValueError, match="an accuracy is needed"):
        StopRule("goal", accuracy=0.5)
    with pytest.raises(ValueError, match="margin"):
        StopRule(margin=-1.0)
