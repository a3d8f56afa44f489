import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from myosotis.unlearning.classifier.importance import importance_penalty, weight_importance


def diagonal():
    layer = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0]]))
    return nn.Sequential(nn.Flatten(), layer)


X = torch.tensor([[1.0, 2.0], [3.0, -1.0]]).view(2, 1, 1, 2)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        ("per_sample", [[0.0, 1.0], [0.073471, 0.171432]]),
        ("batch", [[0.0, 1.0], [0.854924, 0.101894]]),
    ],
)
def test_closed_form(reduction, expected):
    found = weight_importance(diagonal(), X, reduction)["1.weight"]
    torch.testing.assert_close(found, torch.tensor(expected), atol=2e-5, rtol=0)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 4)
    )


def by_loop(model, images):
    """One backward pass for each image, with plain autograd."""
    model = copy.deepcopy(model).eval()
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    for image in images:
        model.zero_grad()
        model(image.unsqueeze(0)).norm().backward()
        for name, value in model.named_parameters():
            total[name] += value.grad.abs() / len(images)
    return {name: 1 - (value - value.min()) / (value.max() - value.min()) for name, value in total.items()}


def test_agrees_with_a_loop_over_images():
    model, images = network(), torch.rand(5, 1, 4, 4)
    expected = by_loop(model, images)
    for name, found in weight_importance(model, images).items():
        torch.testing.assert_close(found, expected[name], atol=1e-5, rtol=1e-4)


def test_per_sample_ignores_order_and_batch():
    model, images = network(), torch.rand(7, 1, 4, 4)
    one = weight_importance(model, images)
    other = weight_importance(model, images.flip(0), batch_size=2)
    for name, value in one.items():
        torch.testing.assert_close(value, other[name], atol=1e-5, rtol=0)


def test_a_batch_starts_without_the_gradients_of_the_one_before():
    """f = |w * x| at w = (1, 0): right [3, 4]; with stale gradients [4.5, 2]."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.tensor([1.0, 0.0]))

        def forward(self, x):
            return (x.flatten(1) @ self.w).unsqueeze(1)

    images = torch.tensor([[3.0, 4.0], [-3.0, 4.0]]).view(2, 1, 1, 2)
    found = weight_importance(Scaled(), images, "batch", batch_size=1)["w"]
    # The second weight is the more sensitive one: free. Stale gradients turn the two round.
    assert found.tolist() == [1.0, 0.0]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000))
def test_every_tensor_spans_0_to_1(seed):
    found = weight_importance(network(seed), torch.rand(3, 1, 4, 4))
    assert all(value.min() >= 0 and value.max() <= 1 for value in found.values())
    # The weights are all alike where every feature below them is dead; the bias is not.
    assert found["5.bias"].min() == 0
    assert found["5.bias"].max() == 1


def test_alike_weights_are_frozen():
    class OneNumber(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.tensor([2.0]))

        def forward(self, x):
            return self.scale * x.flatten(1)

    assert weight_importance(OneNumber(), torch.rand(2, 1, 1, 2))["scale"].tolist() == [1.0]


def test_the_model_is_left_as_it_was():
    model = network().train()
    state = copy.deepcopy(model.state_dict())
    weight_importance(model, torch.rand(3, 1, 4, 4))
    assert model.training
    assert all(value.grad is None for value in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_wrong_input():
    with pytest.raises(ValueError, match="at least one image"):
        weight_importance(network(), torch.rand(0, 1, 4, 4))
    with pytest.raises(ValueError, match="no parameter"):
        weight_importance(network().requires_grad_(False), torch.rand(1, 1, 4, 4))


def test_penalty_and_its_gradient():
    theta = torch.tensor([1.0, -2.0, 0.5], requires_grad=True)
    anchor, held = torch.tensor([0.0, -1.0, 0.5]), torch.tensor([0.0, 0.25, 1.0])
    value = importance_penalty({"w": theta}, {"w": anchor}, {"w": held}, 3.0)
    value.backward()
    assert value.item() == pytest.approx(0.375)
    assert theta.grad.tolist() == [0.0, -0.75, 0.0]


def test_penalty_is_zero_at_the_anchor():
    theta = torch.rand(4, requires_grad=True)
    value = importance_penalty({"w": theta}, {"w": theta.detach().clone()}, {"w": torch.rand(4)}, 7.0)
    value.backward()
    assert value.item() == 0
    assert theta.grad.abs().sum().item() == 0


def test_penalty_is_a_sum_over_all_weights():
    one, two = {"a": torch.ones(2, 2), "b": torch.ones(3)}, {"a": torch.zeros(2, 2), "b": torch.zeros(3)}
    assert importance_penalty(one, two, {"a": torch.ones(2, 2), "b": torch.ones(3)}, 2.0).item() == 7
    assert importance_penalty(one, two, {"b": torch.ones(3)}, 2.0).item() == 3


def test_wrong_penalty():
    with pytest.raises(ValueError, match="strength"):
        importance_penalty({"w": torch.ones(1)}, {"w": torch.ones(1)}, {"w": torch.ones(1)}, -1.0)
    with pytest.raises(ValueError, match="no weight"):
        importance_penalty({}, {}, {}, 1.0)
