import pytest
import torch

from myosotis.unlearning.classifier.goals import misclassify_loss, relabel_loss, true_label_confidence, true_margin
from myosotis.unlearning.classifier.stopping import forgotten, goal_margins

Z = torch.tensor([[2.0, 1.0, 0.0]])

Y = torch.tensor([0])


def test_misclassify_gradient_is_onehot_minus_p():
    logits = Z.clone().requires_grad_(True)
    misclassify_loss(logits, Y).sum().backward()
    # Descent on the loss lowers the logit of the true class.
    torch.testing.assert_close(logits.grad, torch.tensor([[0.334759, -0.244728, -0.090031]]), atol=1e-6, rtol=0)


def test_relabel_gradient_is_p_minus_onehot():
    logits = Z.clone().requires_grad_(True)
    relabel_loss(logits, torch.tensor([2])).sum().backward()
    expected = Z.softmax(dim=1) - torch.tensor([[0.0, 0.0, 1.0]])
    torch.testing.assert_close(logits.grad, expected)


def test_margin_loss_ends_by_itself():
    done = torch.tensor([[0.0, 1.5, 0.0]], requires_grad=True)
    loss = misclassify_loss(done, Y, "margin", 1.0)
    loss.sum().backward()
    assert loss.item() == 0
    assert done.grad.abs().sum() == 0
    open_ = Z.clone().requires_grad_(True)
    loss = misclassify_loss(open_, Y, "margin", 1.0)
    loss.sum().backward()
    assert loss.item() == 2.0
    assert open_.grad.tolist() == [[1.0, -1.0, 0.0]]


def test_margin_loss_of_a_new_label_ends_by_itself():
    done = torch.tensor([[0.0, 1.5, 0.0]], requires_grad=True)
    loss = relabel_loss(done, torch.tensor([1]), "margin", 1.0)
    loss.sum().backward()
    assert loss.item() == 0
    assert done.grad.abs().sum() == 0
    open_ = Z.clone().requires_grad_(True)
    loss = relabel_loss(open_, torch.tensor([2]), "margin", 1.0)
    loss.sum().backward()
    assert loss.item() == 3.0
    assert open_.grad.tolist() == [[1.0, 0.0, -1.0]]


def test_confidence_is_the_logit_of_the_probability():
    p = Z.softmax(dim=1)[0, 0]
    assert true_label_confidence(Z, Y).item() == pytest.approx(torch.logit(p).item(), abs=1e-6)
    assert true_label_confidence(torch.tensor([[9.0, 9.0 - 2.197225]]).double(), Y).item() == pytest.approx(2.197225)
    # Where p rounds to 1, the logit of p is infinite.
    assert true_label_confidence(torch.tensor([[60.0, 0.0, 0.0]]), Y).item() == pytest.approx(60 - 0.693147)


def test_margins():
    assert true_margin(Z, torch.tensor([2])).item() == -2
    assert goal_margins(Z, torch.tensor([2]), None).item() == 2
    assert goal_margins(Z, torch.tensor([1]), torch.tensor([0])).item() == 1
    assert forgotten(Z, torch.tensor([1]), None, margin=1.0).tolist() == [True]
    assert forgotten(Z, torch.tensor([1]), None, margin=1.1).tolist() == [False]
