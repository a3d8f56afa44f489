import json

import pytest
import torch

from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.models.image_classifier import ClassifierSpec, build_classifier, load_classifier, save_classifier

SPEC = ClassifierSpec("small-resnet", 10, 1, (0.3,), (0.4,), {"widths": [4, 8], "blocks": [1, 2], "stem_stride": 2})


def test_saved_and_loaded_are_one(tmp_path):
    model = build_classifier(SPEC, seed=1).train()
    model(torch.rand(8, 1, 28, 28))
    save_classifier(model, SPEC, tmp_path / "model")
    loaded, spec = load_classifier(tmp_path / "model")
    assert spec == ClassifierSpec(**vars(SPEC))
    assert weights_hash(loaded) == weights_hash(model)
    assert not loaded.training
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(loaded(x), model.eval()(x))


def test_the_seed_decides_the_weights_and_leaves_the_global_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one = build_classifier(SPEC, seed=1)
    assert torch.equal(torch.rand(1), expected)
    assert (
        weights_hash(one)
        == weights_hash(build_classifier(SPEC, seed=1))
        != weights_hash(build_classifier(SPEC, seed=2))
    )


def test_resnet18_has_its_usual_size():
    spec = ClassifierSpec("small-resnet", 10, 3, (0.5,) * 3, (0.5,) * 3)
    count = sum(value.numel() for value in build_classifier(spec).parameters())
    # The ResNet-18 for CIFAR as the literature counts it.
    assert count == 11_173_962


def test_timm(tmp_path):
    spec = ClassifierSpec("resnet10t", 5, 3, (0.5,) * 3, (0.5,) * 3)
    model = build_classifier(spec, seed=0)
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    save_classifier(model, spec, tmp_path)
    import timm
    from safetensors.torch import load_file

    own = timm.create_model("resnet10t", num_classes=5)
    own.load_state_dict(load_file(tmp_path / "model.safetensors"))
    normalized = (torch.zeros(1, 3, 32, 32) - 0.5) / 0.5
    torch.testing.assert_close(own.eval()(normalized), model.eval()(torch.zeros(1, 3, 32, 32)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": "resnet5"}, "unknown architecture 'resnet5'; did you mean"),
        ({"options": {"depth": 3}}, "architecture 'small-resnet'"),
        ({"mean": (0.5, 0.5)}, "mean and std need 1"),
    ],
)
def test_wrong_spec(change, message):
    with pytest.raises(InputError, match=message):
        build_classifier(ClassifierSpec(**{**vars(SPEC), **change}))


def test_bad_directories(tmp_path):
    with pytest.raises(InputError, match="holds no classifier.json"):
        load_classifier(tmp_path)
    (tmp_path / "learner.json").write_text("{}")
    with pytest.raises(InputError, match="a class learner, like iCaRL, that is not one linear head"):
        load_classifier(tmp_path)
    (tmp_path / "classifier.json").write_text("{}")
    with pytest.raises(InputError, match="does not describe"):
        load_classifier(tmp_path)
    (tmp_path / "classifier.json").write_text(json.dumps({**vars(SPEC)}))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_classifier(tmp_path)
    save_classifier(build_classifier(SPEC), SPEC, tmp_path)
    (tmp_path / "classifier.json").write_text(json.dumps({**vars(SPEC), "num_classes": 3}))
    with pytest.raises(InputError, match="cannot be loaded"):
        load_classifier(tmp_path)
