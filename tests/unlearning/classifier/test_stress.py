import copy

import pytest
import torch
from torch import nn

from myosotis.unlearning.classifier.stress import augmented_copies, copies_accuracy, relearning_curve, steps_to_return


def test_copies_stay_in_the_box_and_keep_their_order():
    images = torch.rand(3, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    copies = augmented_copies(images)
    assert {kind: len(found) for kind, found in copies.items()} == {
        "shifted": 12,
        "mirrored": 3,
        "noisy": 3,
        "lighting": 6,
    }
    for found in copies.values():
        assert float(found.min()) >= 0
        assert float(found.max()) <= 1
    assert torch.equal(copies["mirrored"].flip(3), images)
    up, down, left, right = copies["shifted"].chunk(4)
    assert torch.equal(up[:, :, 1:], images[:, :, :-1])
    assert torch.equal(down[:, :, :-1], images[:, :, 1:])
    assert torch.equal(left[..., 1:], images[..., :-1])
    assert torch.equal(right[..., :-1], images[..., 1:])
    assert torch.allclose(copies["lighting"][3:], images * 0.9)
    assert torch.equal(augmented_copies(images, 1)["noisy"], augmented_copies(images, 1)["noisy"])


def test_accuracy_on_copies():
    class Brightness(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused = nn.Parameter(torch.zeros(1))

        def forward(self, images):
            bright = images.mean(dim=(1, 2, 3)) - 0.5
            return torch.stack([-bright, bright], dim=1)

    images = torch.cat([torch.full((1, 1, 4, 4), 0.1), torch.full((1, 1, 4, 4), 0.52)])
    found = copies_accuracy(Brightness(), images, torch.tensor([0, 1]))
    # The second image is bright, but not when a tenth darker: 0.468.
    assert found["shifted"] == found["mirrored"] == 1
    assert found["lighting"] == 0.75


def test_relearning():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    before = copy.deepcopy(model.state_dict())
    images = torch.cat([torch.eye(4)[:1].repeat(4, 1), torch.eye(4)[1:2].repeat(4, 1)]).view(8, 1, 2, 2)
    labels = torch.tensor([0] * 4 + [1] * 4)
    curve = relearning_curve(model, images, labels, steps=60, learning_rate=0.5)
    assert [point["step"] for point in curve] == list(range(61))
    assert curve[-1]["shown"] == curve[-1]["held"] == 1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert steps_to_return(curve, 1.0) == next(point["step"] for point in curve if point["held"] == 1)
    assert steps_to_return(curve, 1.1) is None
    with pytest.raises(ValueError, match="two"):
        relearning_curve(model, images[:1], labels[:1])
