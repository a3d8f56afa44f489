import copy

import pytest
import torch
from torch import nn

from myosotis.unlearning.classifier.methods.method import step_indices
from myosotis.unlearning.classifier.methods.retaining import reinitialize


def test_neggrad_plus(begun, ce, network, make_request):
    model, request = network(), make_request()
    objective = begun("neggrad_plus", request, model, alpha=0.7)
    terms = objective.terms(model, 0)
    indices = step_indices(10, 4, 0, 0, "retain")
    keep = request.retain.batch(indices)
    assert terms["retain"].item() == pytest.approx(0.7 * ce(model, keep.images, keep.labels).item(), abs=1e-6)
    forget = request.forget
    assert terms["forget"].item() == pytest.approx(
        -0.3 * ce(model, forget.images[:2], forget.labels[:2]).item(), abs=1e-6
    )
    assert objective.steps_per_epoch == 3


def test_finetune_ignores_the_forget_set(begun, network, make_request):
    model, request = network(), make_request()
    assert set(begun("finetune", request, model).terms(model, 0)) == {"retain"}


def test_l1_fades_to_nothing(begun, network, make_request):
    model, request = network(), make_request(epochs=4)
    objective = begun("l1_sparse", request, model, strength=0.01)
    size = sum(value.abs().sum() for value in model.parameters()).item()
    found = [objective.terms(model, epoch * 3)["l1"].item() for epoch in range(4)]
    assert found == pytest.approx([0.01 * size * share for share in (1, 0.75, 0.5, 0.25)])


def test_fresh_weights(network):
    model = network()
    before = copy.deepcopy(model.state_dict())
    reinitialize(model, 0)
    once = copy.deepcopy(model.state_dict())
    assert not torch.equal(before["0.weight"], once["0.weight"])
    reinitialize(model, 0)
    assert all(torch.equal(value, once[name]) for name, value in model.state_dict().items())

    class Bare(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.full((4,), 9.0))

    bare = Bare()
    reinitialize(bare, 0)
    assert bare.token.abs().max().item() < 1
