"""Which architecture a file of weights is of, whoever wrote it."""

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from myosotis.engine.errors import InputError
from myosotis.models.recognition import recognise


def saved(path, state):
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=5).state_dict()


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_a_network_of_torchvision_is_told_by_its_shapes(tmp_path, resnet, prefix):
    path = saved(tmp_path / "x.pth", {prefix + name: value for name, value in resnet.items()})
    found = recognise(path)
    assert (found.architecture, found.num_classes, found.in_channels) == ("resnet18", 5, 3)
    assert found.nearest == ()


def test_a_checkpoint_of_lightning_and_a_safetensors_file(tmp_path, resnet):
    state = {f"net.{name}": value for name, value in resnet.items()}
    path = saved(tmp_path / "x.ckpt", {"state_dict": state, "epoch": 3, "pytorch-lightning_version": "2.4"})
    assert recognise(path).architecture == "resnet18"
    save_file({name: value.contiguous() for name, value in resnet.items()}, tmp_path / "x.safetensors")
    assert recognise(tmp_path / "x.safetensors").architecture == "resnet18"


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0"])
def test_names_of_torchvision_that_timm_does_not_have(tmp_path, name):
    path = saved(tmp_path / "x.pth", getattr(torchvision.models, name)(num_classes=4).state_dict())
    assert recognise(path).architecture == {"mobilenet_v2": "mobilenetv2_100"}.get(name, name)


def test_grey_images_have_one_channel(tmp_path):
    path = saved(tmp_path / "x.pth", timm.create_model("resnet18", num_classes=7, in_chans=1).state_dict())
    found = recognise(path)
    assert (found.architecture, found.num_classes, found.in_channels) == ("resnet18", 7, 1)


def test_a_network_that_nobody_knows_has_nearest_ones(tmp_path, monkeypatch):
    from myosotis.models import recognition

    monkeypatch.setattr(recognition, "_FAMILIES", {"layer1": ("resnet10t", "resnet14t", "resnet18", "resnet26")})
    state = torchvision.models.resnet18(num_classes=5).state_dict()
    state["extra.0.weight"], state["extra.1.weight"], state["extra.2.weight"] = (torch.zeros(3, 3) for _ in range(3))
    found = recognise(saved(tmp_path / "x.pth", state))
    assert found.architecture is None
    assert found.nearest[0] == "resnet18"
    assert len(found.nearest) == 3


def test_one_tensor_more_or_of_another_shape_is_another_network(tmp_path, resnet, monkeypatch):
    from myosotis.models import recognition

    monkeypatch.setattr(recognition, "_FAMILIES", {"layer1": ("resnet18",)})
    wider = {**resnet, "layer4.1.conv2.weight": torch.zeros(512, 512, 5, 5)}
    assert recognise(saved(tmp_path / "a.pth", wider)).architecture is None
    shorter = {name: value for name, value in resnet.items() if name != "layer4.1.bn2.bias"}
    assert recognise(saved(tmp_path / "b.pth", shorter)).architecture is None


def test_what_is_no_image_classifier_is_refused(tmp_path):
    for name, state in (("a", {"w": torch.zeros(3, 3)}), ("b", nn.Conv2d(3, 4, 3).state_dict())):
        with pytest.raises(InputError, match="no weights of an image classifier"):
            recognise(saved(tmp_path / f"{name}.pth", state))
    with pytest.raises(InputError, match="no such file"):
        recognise(tmp_path / "nowhere.pth")


def test_a_pickled_model_is_not_opened_and_the_remedy_is_said(tmp_path):
    path = saved(tmp_path / "whole.pth", nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 2)))
    with pytest.raises(InputError, match=r"torch\.save\(model\.state_dict\(\), FILE\)"):
        recognise(path)
