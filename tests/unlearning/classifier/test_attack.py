import copy

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from myosotis.unlearning.classifier.attack import attack_success, draw_targets, pgd_attack


def linear(rows, bias=False):
    layer = nn.Linear(len(rows[0]), len(rows), bias=bias)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows, dtype=torch.float32))
    return nn.Sequential(nn.Flatten(), layer)


W = [[1.0, 2.0, 0.0, -1.0], [0.0, 1.0, 1.0, 0.0], [2.0, 0.0, -1.0, 1.0]]
MIDDLE = torch.full((1, 1, 2, 2), 0.5)
TARGET = torch.tensor([1])


def convolutional(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5)
    )


@pytest.mark.parametrize(
    ("eps", "step_size", "steps", "expected"),
    [
        (4.0, 0.1, 1, [0.429289, 0.5, 0.570711, 0.5]),
        (0.25, 0.1, 5, [0.32375, 0.48638, 0.67625, 0.51362]),
        (4.0, 0.1, 100, [0.0, 0.25002, 1.0, 0.74998]),
    ],
)
def test_steps_of_a_linear_model(eps, step_size, steps, expected):
    moved = pgd_attack(linear(W), MIDDLE, TARGET, eps=eps, step_size=step_size, steps=steps, generator=None)
    torch.testing.assert_close(moved.flatten(), torch.tensor(expected), atol=2e-5, rtol=0)


def test_linf_step_goes_along_the_sign():
    moved = pgd_attack(linear(W), MIDDLE, TARGET, norm="linf", eps=0.2, step_size=0.15, steps=2, generator=None)
    # The gradient of the cross-entropy with class 1 is (1, 0, -1, 0) at the start, and nowhere turns its sign.
    assert moved.flatten()[0].item() == pytest.approx(0.3)
    assert moved.flatten()[2].item() == pytest.approx(0.7)


def test_a_targeted_step_raises_the_target():
    model = linear(W)
    moved = pgd_attack(model, MIDDLE, TARGET, eps=1.0, step_size=0.1, steps=3, generator=None)
    before, after = (model(x).log_softmax(dim=1)[0, 1].item() for x in (MIDDLE, moved))
    assert after > before


def test_a_gradient_of_rounding_moves_nothing():
    rows = [W[0], W[1], [-1.0, 0.0, 2.0, 1.0]]
    moved = pgd_attack(linear(rows), MIDDLE, TARGET, eps=1.0, step_size=0.1, steps=1, generator=None)
    assert torch.equal(moved, MIDDLE)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 1000), eps=st.floats(0.01, 3.0))
def test_ball_and_box_hold(norm, seed, eps):
    stream = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 2, 6, 6, generator=stream)
    targets = torch.randint(5, (3,), generator=stream)
    moved = pgd_attack(
        convolutional(), images, targets, norm=norm, eps=eps, step_size=eps / 2, steps=4, generator=stream
    )
    size = (moved - images).flatten(1)
    size = size.norm(dim=1) if norm == "l2" else size.abs().amax(dim=1)
    assert size.max().item() <= eps * (1 + 1e-5) + 1e-7
    assert moved.min().item() >= 0
    assert moved.max().item() <= 1


def test_an_example_does_not_depend_on_its_batch():
    model = convolutional().eval()
    images, targets = torch.rand(8, 2, 6, 6), torch.arange(8) % 5

    def attack(count, batch_size):
        stream = torch.Generator().manual_seed(3)
        return pgd_attack(
            model,
            images[:count],
            targets[:count],
            eps=1.0,
            step_size=0.2,
            steps=6,
            generator=stream,
            batch_size=batch_size,
        )

    together = attack(8, 8)
    torch.testing.assert_close(attack(1, 8), together[:1], atol=1e-6, rtol=0)
    torch.testing.assert_close(attack(8, 3), together, atol=1e-6, rtol=0)
    assert torch.equal(attack(8, 8), together)


def test_the_model_is_left_as_it_was():
    model = convolutional().train()
    model[1].eval()
    state = copy.deepcopy(model.state_dict())
    pgd_attack(
        model, torch.rand(4, 2, 6, 6), torch.zeros(4, dtype=torch.long), eps=1.0, step_size=0.2, steps=3, generator=None
    )
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(value.grad is None for value in model.parameters())
    assert [module.training for module in model] == [True, False, True, True, True]


def test_success_counts_targets():
    model = linear(W)
    found = attack_success(model, torch.cat([MIDDLE, torch.tensor([[[[0.0, 1.0], [1.0, 0.0]]]])]), torch.tensor([1, 0]))
    assert found.tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": MIDDLE * 3}, "must lie in"),
        ({"eps": 0.0}, "eps must be positive"),
        ({"steps": 0}, "steps must be positive"),
    ],
)
def test_wrong_input(change, message):
    arguments = {"images": MIDDLE, "targets": TARGET, "eps": 1.0, "step_size": 0.1, "steps": 1, "generator": None}
    with pytest.raises(ValueError, match=message):
        pgd_attack(linear(W), **{**arguments, **change})


def test_targets_are_uniform_over_the_wrong_classes():
    labels = torch.arange(10).repeat(10_000)
    targets = draw_targets(labels, 10, 1, torch.Generator().manual_seed(0))[0]
    assert not bool((targets == labels).any())
    offsets = torch.bincount((targets - labels) % 10, minlength=10)[1:]
    # Expected 11111 each; four standard deviations of a binomial count are 398.
    assert int(offsets.min()) > 10_713
    assert int(offsets.max()) < 11_509
    # The released redraw gives class C//2 whenever it collides.
    assert (targets[labels != 5] == 5).float().mean().item() == pytest.approx(1 / 9, abs=0.005)


def test_targets_for_each_copy():
    targets = draw_targets(torch.tensor([0, 1, 2]), 3, 4, torch.Generator().manual_seed(1))
    assert targets.shape == (4, 3)
    assert bool((targets != torch.tensor([0, 1, 2])).all())


@pytest.mark.parametrize(("labels", "classes", "copies"), [([0], 1, 1), ([3], 3, 1), ([-1], 3, 1), ([0], 3, 0)])
def test_wrong_targets(labels, classes, copies):
    with pytest.raises(ValueError, match="class|copies|labels"):
        draw_targets(torch.tensor(labels), classes, copies, torch.Generator())


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_agrees_with_an_independent_attack(norm):
    """One image at a time, one step at a time, in plain numbers."""
    model = convolutional().eval()
    images, targets = torch.rand(3, 2, 6, 6), torch.tensor([1, 4, 0])
    eps, size = 0.8 if norm == "l2" else 0.1, 0.3 if norm == "l2" else 0.04
    found = pgd_attack(model, images, targets, norm=norm, eps=eps, step_size=size, steps=5, generator=None)
    for image, target, moved in zip(images, targets, found, strict=True):
        x = image.clone()
        for _ in range(5):
            x.requires_grad_(True)
            loss = -model(x.unsqueeze(0)).log_softmax(dim=1)[0, target]
            gradient = torch.autograd.grad(loss, x)[0]
            step = gradient / gradient.norm() if norm == "l2" else gradient.sign()
            x = (x.detach() - size * step).clamp(0, 1)
            delta = x - image
            delta = delta * min(1.0, eps / delta.norm().item()) if norm == "l2" else delta.clamp(-eps, eps)
            x = image + delta
        torch.testing.assert_close(moved, x, atol=1e-5, rtol=0)
