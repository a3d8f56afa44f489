"""Values and gradients of losses on a few logits."""

import pytest
import torch
from torch.nn import functional


@pytest.fixture(scope="session")
def value_and_gradient():
    def value_and_gradient(loss, logits, label):
        z = torch.tensor([[logits]], dtype=torch.float64, requires_grad=True)
        value = loss(z, torch.tensor([[label]]))
        value.backward()
        return value.item(), z.grad[0, 0]

    return value_and_gradient


Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
Y = torch.tensor([[0]])


@pytest.fixture(scope="session")
def gradient():
    def gradient(loss, logits=Z, labels=Y):
        logits = logits.clone().requires_grad_()
        (grad,) = torch.autograd.grad(loss(logits, labels), logits)
        return grad

    return gradient


@pytest.fixture(scope="session")
def onehot():
    def onehot(index, size=4):
        return functional.one_hot(torch.tensor(index), size).double()

    return onehot
