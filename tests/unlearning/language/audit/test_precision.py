import torch
from torch import nn

from myosotis.unlearning.language.audit.precision import cached_casts


def layers():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).eval()
    model[0].requires_grad_(False)
    model.register_parameter("packed", nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False))
    return model


def casts(model, inputs):
    """Conversions to another type in three passes under one autocast."""
    with torch.profiler.profile() as profile, torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        outputs = [model[:2](inputs) for _ in range(3)]
    return outputs[-1], sum(event.count for event in profile.key_averages() if event.key == "aten::_to_copy")


def test_frozen_weights_are_converted_once():
    model, inputs = layers(), torch.rand(2, 8)
    expected, plain = casts(model, inputs)
    with cached_casts(model):
        outputs, cached = casts(model, inputs)
    assert torch.equal(outputs, expected)
    assert cached <= plain - 4  # weight and bias of the frozen layer, in the second and the third pass


def test_flags_come_back_and_packed_weights_keep_theirs():
    model = layers()
    before = [weight.requires_grad for weight in model.parameters()]
    with cached_casts(model):
        assert [weight.requires_grad for weight in model.parameters()] == [False, True, True, True, True]
    assert [weight.requires_grad for weight in model.parameters()] == before
