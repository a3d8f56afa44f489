import pytest
import torch

from myosotis.unlearning.classifier.stopping import ReferenceLevel, StopRule, forgotten


def test_a_tie_that_argmax_gives_to_the_true_class_is_not_forgotten():
    assert forgotten(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), None).tolist() == [False]


def test_stop_at_the_goal_needs_every_instance():
    logits, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([0, 0])
    assert not StopRule().reached(logits, labels, None)
    assert StopRule().reached(logits[:1], labels[:1], None)
    assert StopRule().reached(logits, labels, torch.tensor([1, 0])) is True
    assert not StopRule("never").reached(logits[:1], labels[:1], None)


def test_stop_at_the_reference_needs_both_levels():
    labels = torch.tensor([0, 0])
    logits = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    loss = torch.nn.functional.cross_entropy(logits, labels).item()
    assert StopRule("reference", reference=ReferenceLevel(0.5, loss - 0.01)).reached(logits, labels, None)
    assert not StopRule("reference", reference=ReferenceLevel(0.5, loss + 0.01)).reached(logits, labels, None)
    assert not StopRule("reference", reference=ReferenceLevel(0.4, 0.0)).reached(logits, labels, None)


def test_a_rule_whose_parts_do_not_fit():
    with pytest.raises(ValueError, match="reference level"):
        StopRule("reference")
    with pytest.raises(ValueError, match="reference level"):
        StopRule("goal", reference=ReferenceLevel(0.5, 1.0))
    with pytest.raises(ValueError, match="margin"):
        StopRule(margin=-1.0)
