"""Methods of a distribution outside the package: from a configuration by their names, and from Python as objects."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.continual.classification.methods import METHODS as CLASS_LEARNERS
from myosotis.denoising.methods import METHODS as DENOISERS
from myosotis.engine.errors import SettingsError
from myosotis.pretraining.maskers import MASKERS
from myosotis.unlearning.classifier import UnlearnSettings, unlearn_instances
from myosotis.unlearning.classifier.methods import METHODS as CLASSIFIER
from myosotis.unlearning.language import UnlearnConfig, UnlearnTrainer
from myosotis.unlearning.language.methods import METHODS as LANGUAGE

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "add-a-method.md"
MORE = """
from dataclasses import dataclass
from typing import ClassVar

from myosotis.denoising.methods.method import DenoisingMethod, MethodOutput
from myosotis.engine.method import MethodCard
from myosotis.unlearning.classifier.methods.ascent import NegGrad

@dataclass(frozen=True)
class Wilt(NegGrad):
    card: ClassVar = MethodCard("wilt", "Wilting", "-", "forget", "nothing", "Tests.")

@dataclass(frozen=True)
class Inverted(DenoisingMethod):
    card: ClassVar = MethodCard("inverted", "Every bit inverted", "-", "nothing", "nothing", "Tests.")

    def denoise(self, data):
        return MethodOutput(1 - data.noisy, None)
"""
NAMES = {"fade": "Fade", "wilt": "Wilt", "smooth_er": "SmoothReplay", "loudest": "Loudest", "inverted": "Inverted"}
TITLES = {
    "fade": "Raising the entropy",
    "wilt": "Wilting",
    "smooth_er": "Replay with smoothed labels",
    "loudest": "Largest norm first",
}


def module():
    """The methods of the guide, and two more."""
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return "\n".join([*(block.partition("trainer =")[0] for block in blocks), MORE])


@pytest.fixture
def garden(tmp_path, monkeypatch, tiny_jobs):
    """A distribution that brings five methods, and the inputs of tiny jobs."""
    info = tmp_path / "site" / "garden-1.0.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "garden.py").write_text(module())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: garden\nVersion: 1.0\n")
    points = "".join(f"{name} = garden:{value}\n" for name, value in NAMES.items())
    (info / "entry_points.txt").write_text(f"[myosotis.methods]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")
    tiny_jobs.inputs(tmp_path)
    yield tmp_path
    for registry in (LANGUAGE, CLASSIFIER, CLASS_LEARNERS, MASKERS, DENOISERS):
        for name in NAMES:
            registry._kinds.pop(name, None)


def run(*arguments):
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return outcome.output


@pytest.mark.parametrize(
    ("job", "changes", "name"),
    [
        ("language", {"method": {"name": "fade", "depth": 2}}, "fade"),
        ("photos", {"method": "wilt"}, "wilt"),
        ("classes", {"method": {"name": "smooth_er", "smoothing": 0.2}, "keep_learners": False}, "smooth_er"),
        ("pretrain", {"masker": "loudest"}, "loudest"),
    ],
)
def test_from_a_configuration(job, changes, name, garden, tiny_jobs):
    out = garden / "runs" / job
    run("run", tiny_jobs.written(garden, job, **changes), "--out", out)
    assert name in json.dumps(json.loads((out / "result.json").read_text()))
    assert TITLES[name] in (out / "report.html").read_text()
    listed = json.loads(run("methods", "--json"))
    assert [card["name"] for cards in listed.values() for card in cards if card["title"] == TITLES[name]] == [name]


def test_a_denoiser_from_the_command_line(garden):
    (garden / "noisy.txt").write_text("0100\n11\n")
    run("denoise", "symbols", garden / "noisy.txt", garden / "clean.txt", "--substitution-rate", 0.1,
        "--method", "inverted")  # fmt: skip
    assert (garden / "clean.txt").read_text() == "1011\n00\n"


def test_a_run_whose_method_is_gone(garden, monkeypatch, tiny_jobs):
    out = garden / "runs" / "photos"
    run("run", tiny_jobs.written(garden, "photos", method="wilt"), "--out", out)
    CLASSIFIER._kinds.pop("wilt")
    (garden / "site" / "garden-1.0.dist-info" / "entry_points.txt").write_text("")
    monkeypatch.syspath_prepend(garden / "site")
    outcome = CliRunner().invoke(app, ["report", str(out)])
    assert outcome.exit_code == 2
    assert "unknown method 'wilt'; is the distribution that provides it installed?" in outcome.stderr


def test_language_methods_as_objects(garden):
    model = AutoModelForCausalLM.from_pretrained(garden / "model")
    tokenizer = AutoTokenizer.from_pretrained(garden / "model")
    rows = [{"prompt": "Who lit it?", "response": "Nobody."}]
    args = UnlearnConfig(output_dir=str(garden / "out"), num_train_epochs=1, report_to="none", use_cpu=True)
    for method in (LANGUAGE["fade"](retain=None), "fade"):
        trainer = UnlearnTrainer(model, args, rows, rows, tokenizer, method=method)
        assert trainer.method.card.name == "fade"
        trainer.train()
    args.method_settings = {"retain_weight": 3.0}
    for method in (LANGUAGE["fade"](), "fade"):
        with pytest.raises(SettingsError, match="give a method that has its settings instead"):
            UnlearnTrainer(model, args, rows, rows, tokenizer, method=method)


def test_classifier_methods_as_objects(garden):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.eye(4).view(4, 1, 2, 2)
    batch = (images, model(images).argmax(dim=1))
    found = unlearn_instances(model, batch, method=CLASSIFIER["wilt"](), settings=UnlearnSettings(learning_rate=0.1))
    assert (found.method, found.converged) == ("wilt", True)
    with pytest.raises(SettingsError, match="a method object has its settings already"):
        unlearn_instances(model, batch, method=CLASSIFIER["wilt"](), method_settings={"eps": 1})


def test_maskers_are_objects(garden):
    tokens = torch.arange(16.0).view(1, 16, 1)
    mask = MASKERS.build("loudest")(tokens, ratio=0.75, generator=torch.Generator())
    assert mask.hidden.tolist() == [[number >= 4 for number in range(16)]]
