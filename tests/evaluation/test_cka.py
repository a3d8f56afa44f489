import pytest
import torch
from torch import nn

from myosotis.evaluation.cka import layer_cka, layer_features, linear_cka


def by_gram(a, b):
    """HSIC of linear kernels, with the centring matrix written out."""
    n = len(a)
    centre = torch.eye(n, dtype=torch.float64) - 1 / n
    one, two = (centre @ (x.double() @ x.double().T) @ centre for x in (a, b))
    return ((one * two).sum() / (one.norm() * two.norm())).item()


@pytest.mark.parametrize(("p", "q"), [(3, 4), (30, 4), (3, 50)])
def test_agrees_with_the_kernel_form(p, q):
    a, b = torch.randn(20, p), torch.randn(20, q)
    assert linear_cka(a, b) == pytest.approx(by_gram(a, b), rel=1e-9)


def test_invariances():
    a = torch.randn(30, 5)
    turned, _ = torch.linalg.qr(torch.randn(5, 5))
    assert linear_cka(a, a) == pytest.approx(1)
    assert linear_cka(a, 3 * a @ turned + 7) == pytest.approx(1, abs=1e-5)
    b = torch.randn(30, 2)
    assert linear_cka(a, b) == pytest.approx(linear_cka(b, a))


def test_unrelated_features_of_many_samples():
    stream = torch.Generator().manual_seed(0)
    assert linear_cka(torch.randn(2000, 3, generator=stream), torch.randn(2000, 3, generator=stream)) < 0.01


def test_wrong_input():
    with pytest.raises(ValueError, match="two or more"):
        linear_cka(torch.randn(1, 2), torch.randn(1, 2))
    with pytest.raises(ValueError, match="same for every sample"):
        linear_cka(torch.ones(3, 2), torch.randn(3, 2))


def test_layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 5)).train()
    images = torch.rand(10, 1, 6, 6)
    found = layer_features(model, images, ["0", "3"], batch_size=4)
    assert {name: value.shape for name, value in found.items()} == {"0": (10, 3), "3": (10, 5)}
    torch.testing.assert_close(found["0"], model[0](images).mean(dim=(2, 3)))
    assert model.training
    assert layer_cka(model, model, images, ["0", "3"]) == {"0": pytest.approx(1), "3": pytest.approx(1)}
    with pytest.raises(ValueError, match="no layer"):
        layer_features(model, images, ["9"])
    assert not model[0]._forward_hooks
