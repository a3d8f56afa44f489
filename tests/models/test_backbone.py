"""The memory layout of convolutions: which bodies it may change, and that nothing is written out of bounds in it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from myosotis.models.backbone import CHANNELS_LAST, Backbone, build_backbone, use_channels_last
from myosotis.models.image_classifier import ClassifierSpec
from myosotis.models.normalization import NormalizedClassifier

CHECKED_HEAP = next(iter(sorted(Path("/").glob("lib*/*/libc_malloc_debug.so.0"))), None)


def body(architecture="small-resnet", channels=3, **options):
    spec = ClassifierSpec(architecture, 0, channels, (0.5,) * channels, (0.25,) * channels, options)
    return build_backbone(spec, seed=0)


def lies_channels_last(module):
    weights = [weight for weight in module.parameters() if weight.ndim == 4 and min(weight.shape[1:3]) > 1]
    return [weight.is_contiguous(memory_format=torch.channels_last) for weight in weights]


@pytest.mark.parametrize(
    ("options", "changed"),
    [
        ({"widths": [16, 32], "blocks": [1, 1]}, True),
        ({"widths": [8], "blocks": [2]}, True),  # no shortcut of stride 2
        ({"widths": [8, 16], "blocks": [1, 1]}, False),
        ({"widths": [15, 30], "blocks": [1, 1]}, False),
        ({"widths": [16, 8, 16], "blocks": [1, 1, 1]}, False),
    ],
)
def test_a_body_with_a_narrow_strided_shortcut_keeps_its_layout(options, changed):
    """OneDNN writes the weight gradient of such a convolution out of bounds: jobs died by signal 11."""
    one = body(**options)
    use_channels_last(one)
    found = lies_channels_last(one)
    assert found
    assert set(found) == {changed}


@pytest.mark.parametrize("architecture", sorted(CHANNELS_LAST))
def test_each_architecture_of_the_list_is_changed(architecture):
    one = nn.ModuleDict({"net": body(architecture)})
    use_channels_last(one)
    assert all(lies_channels_last(one))


@pytest.mark.parametrize(
    "network",
    [
        lambda: nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten()),
        lambda: NormalizedClassifier(nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten()), (0.5,) * 3, (0.25,) * 3),
        lambda: body("resnet18"),
        lambda: body("fastvit_t8"),
        lambda: body("lambda_resnet26t"),
    ],
    ids=["own", "own behind its normalisation", "not faster", "dies in it", "five dimensions"],
)
def test_other_bodies_stay_as_they_are(network):
    one = network()
    before = [weight.stride() for weight in one.parameters()]
    use_channels_last(one)
    assert [weight.stride() for weight in one.parameters()] == before


PASSES = """
import sys, torch
torch.set_num_threads(1)
from myosotis.models.backbone import build_backbone, use_channels_last
from myosotis.models.image_classifier import ClassifierSpec
options = {"small-resnet": ({"widths": [16, 32], "blocks": [1, 1]}, {"widths": [8, 16], "blocks": [1, 1]})}
for side in (64, 112):
    for kind in options.get(sys.argv[1], ({},)):
        net = build_backbone(ClassifierSpec(sys.argv[1], 0, 3, (0.5,) * 3, (0.25,) * 3, kind), seed=0).train()
        use_channels_last(net)
        for _ in range(2):
            net(torch.rand(2, 3, side, side)).features.sum().backward()
            others = [torch.randn(37 * number) for number in range(1, 200)]
"""


@pytest.mark.processes
@pytest.mark.skipif(CHECKED_HEAP is None, reason="there is no libc_malloc_debug.so.0")
@pytest.mark.parametrize("architecture", sorted(CHANNELS_LAST))
def test_no_pass_of_a_changed_body_damages_the_heap(architecture):
    environment = {**os.environ, "LD_PRELOAD": str(CHECKED_HEAP), "MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", PASSES, architecture], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]


def test_backbones_are_found_wherever_they_are():
    """A grown network holds several; what is not a body stays as it is."""
    net = nn.Module()
    net.bodies = nn.ModuleList([body(widths=[16, 16], blocks=[1, 1]) for _ in range(2)])
    net.other = nn.Conv2d(16, 16, 3)
    use_channels_last(net)
    assert all(isinstance(one, Backbone) and all(lies_channels_last(one)) for one in net.bodies)
    assert lies_channels_last(net.other) == [False]
