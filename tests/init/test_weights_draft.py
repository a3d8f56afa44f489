"""A file of weights and a folder of photos are enough for a first configuration that runs."""

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from myosotis.engine.config import load_config
from myosotis.models import recognition
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig

CLASSES = ("ash", "birch", "cedar")


def photos(folder, count, side, seed=0):
    noise = np.random.default_rng(seed)
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            pixels = noise.integers(0, 60, (side, side, 3), dtype=np.uint8)
            pixels[..., label] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Photos of three colours, and a network that was never taught."""
    folder = tmp_path_factory.mktemp("weights")
    photos(folder / "photos", 2, 40)
    photos(folder / "test", 6, 40, seed=1)
    photos(folder / "train", 8, 40, seed=2)
    torch.manual_seed(0)
    model = torchvision.models.resnet18(num_classes=3)
    torch.save(model.state_dict(), folder / "model.pth")
    return folder


def drafted(invoke, place, tmp_path, *names, model="model.pth"):
    out = tmp_path / "draft.yaml"
    done = invoke("init", "unlearn-classifier", *(place / name for name in names), place / model, "--out", out)
    return done, out


def test_the_draft_is_valid_and_says_what_was_found(invoke, place, tmp_path):
    done, out = drafted(invoke, place, tmp_path, "photos", "test", "train")
    assert done.exit_code == 0, done.output
    config = load_config(out, ClassifierUnlearningConfig)
    assert config.model.architecture == "resnet18"
    assert config.model.classes == CLASSES
    assert config.preset == "as_unseen"
    assert "The shapes of model.pth are those of resnet18, with 3 outputs." in done.output
    assert "Right with the usual normalisations: that of ImageNet" in done.output
    checked = invoke("check", out)
    assert checked.exit_code == 0, checked.output


def test_the_normalisation_is_the_one_that_is_right_most_often(invoke, place, tmp_path, monkeypatch):
    from myosotis.init import weights_draft

    shares = {"that of ImageNet": 0.4, "to -1 to 1": 0.9, "none": 0.2}
    known = {tuple(mean): name for name, (mean, _) in weights_draft._usual(3).items()}
    monkeypatch.setattr(weights_draft, "_right_with", lambda *given: shares[known[tuple(given[-2])]])
    _, out = drafted(invoke, place, tmp_path, "photos", "test")
    assert load_config(out, ClassifierUnlearningConfig).model.mean == (0.5, 0.5, 0.5)
    assert "right about 90% of images below test" in out.read_text()


def test_shares_are_of_the_model_itself(place):
    from myosotis.init.weights_draft import _right_with

    found = recognition.recognise(place / "model.pth")
    right = _right_with(place / "model.pth", found, CLASSES, place / "test", None, (0.5,) * 3, (0.5,) * 3)
    model = torchvision.models.resnet18(num_classes=3)
    model.load_state_dict(torch.load(place / "model.pth", weights_only=True))
    paths = sorted((place / "test").rglob("*.png"))
    pixels = torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255 for path in paths])
    with torch.no_grad():
        answers = model.eval()((pixels - 0.5) / 0.5).argmax(dim=1)
    expected = [CLASSES[answer] == path.parent.name for answer, path in zip(answers.tolist(), paths, strict=True)]
    assert right == pytest.approx(sum(expected) / len(expected))


def test_photos_alone_are_scaled_and_classes_must_be_named(invoke, place, tmp_path):
    photos(tmp_path / "forget", 1, 300)
    (tmp_path / "forget" / "cedar" / "0.png").unlink()
    (tmp_path / "forget" / "cedar").rmdir()
    out = tmp_path / "draft.yaml"
    done = invoke("init", "unlearn-classifier", tmp_path / "forget", place / "model.pth", "--out", out)
    assert done.exit_code == 0, done.output
    content = yaml.safe_load(out.read_text())
    assert content["data"]["forget"]["size"] == 224
    assert content["model"]["classes"] == ["???0", "???1", "???2"]
    assert "The model has 3 outputs, the folders have 2 classes" in done.output
    assert invoke("check", out).exit_code == 2
    content["model"]["classes"] = list(CLASSES)
    out.write_text(yaml.safe_dump(content))
    checked = invoke("check", out)
    assert checked.exit_code == 0, checked.output


def test_an_unknown_architecture_is_left_open(invoke, place, tmp_path, monkeypatch):
    monkeypatch.setattr(recognition, "_FAMILIES", {"layer1": ("resnet10t", "resnet26")})
    done, out = drafted(invoke, place, tmp_path, "photos")
    assert done.exit_code == 0, done.output
    assert 'architecture: "???"' in out.read_text()
    assert "the nearest: " in done.output
    checked = invoke("check", out)
    assert checked.exit_code == 2
    assert "unknown architecture '???'" in checked.output


def test_a_size_belongs_to_a_folder(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "job: unlearn-classifier\nname: x\nmodel: {architecture: resnet18}\n"
        "data: {forget: {count: 3, size: 32}, train: {packaged: digits}}\n"
    )
    from myosotis.engine.errors import InputError

    with pytest.raises(InputError, match="'size' scales the images of 'folder'"):
        load_config(path, ClassifierUnlearningConfig)


def test_grey_photos_are_refused_by_a_model_of_colours(invoke, place, tmp_path):
    for name in CLASSES:
        (tmp_path / "forget" / name).mkdir(parents=True)
        Image.fromarray(np.zeros((40, 40), np.uint8)).save(tmp_path / "forget" / name / "0.png")
    done = invoke("init", "unlearn-classifier", tmp_path / "forget", place / "model.pth", "--out", tmp_path / "x.yaml")
    assert done.exit_code == 2
    assert "images have 1 channels, the model expects 3" in done.output
