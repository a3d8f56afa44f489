"""A run that is resumed with another file of weights is refused by name, whatever its kind."""

import copy
import json

import pytest
import yaml
from safetensors.torch import save_file
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.engine.config import load_config
from myosotis.engine.errors import InputError
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.sweep.units import run_sweep_unit, sweep_units


def small_resnet(jobs, seed):
    return build_classifier(ClassifierSpec("small-resnet", 0, 1, (0.5,), (0.25,), jobs.SMALL["options"]), seed=seed)


def transformer(jobs, seed):
    model = jobs.JOBS["pretrain"]["model"]
    options = model["options"] | {"global_pool": "avg", "fc_norm": False}
    return build_classifier(ClassifierSpec(model["architecture"], 0, 1, (0.5,), (0.25,), options), seed=seed)


@pytest.mark.parametrize(
    ("name", "changes", "make", "label"),
    [
        ("classes", {}, small_resnet, "weights"),
        ("streams", {}, small_resnet, "weights"),
        ("pretrain", {}, transformer, "weights"),
        ("pretrain", {"job": "pretrain-sweep", "ratios": [0.5], "seeds": 1}, transformer, "weights"),
        ("protocol", {}, small_resnet, "weights of er"),
    ],
)
def test_weights_are_an_input_of_every_kind(name, changes, make, label, tiny_jobs, tmp_path):
    """A sweep and a protocol mixed what began with one file and what began with another."""
    tiny_jobs.inputs(tmp_path, extras=False)
    content = {"name": name} | copy.deepcopy(tiny_jobs.JOBS[name]) | changes
    weights, out = tmp_path / "weights.safetensors", tmp_path / "run"
    owner = content["shared"] if name == "protocol" else content
    owner["model"] = owner["model"] | {"weights": str(weights), "mean": [0.5], "std": [0.25]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))

    def run(seed, *arguments):
        save_file(make(tiny_jobs, seed).classifier.state_dict(), weights)
        given = ["run", tmp_path / "job.yaml", "--out", out, *arguments]
        return CliRunner().invoke(app, [str(argument) for argument in given])

    first = run(1)
    assert first.exit_code == 0, first.output
    figures = json.loads((out / "result.json").read_text())
    (out / "result.json").unlink()
    other = run(2, "--resume")
    assert other.exit_code == 2, other.output
    assert f"was started with other input: {label} changed since" in other.output
    again = run(1, "--resume")
    assert again.exit_code == 0, again.output
    assert json.loads((out / "result.json").read_text()).keys() == figures.keys()


def test_weights_that_change_during_a_sweep_end_it(tiny_jobs, tmp_path):
    tiny_jobs.inputs(tmp_path, extras=False)
    weights = tmp_path / "weights.safetensors"
    save_file(transformer(tiny_jobs, 1).classifier.state_dict(), weights)
    content = tiny_jobs.JOBS["pretrain"] | {"job": "pretrain-sweep", "name": "sweep", "ratios": [0.5], "seeds": 1}
    content["model"] = content["model"] | {"weights": str(weights), "mean": [0.5], "std": [0.25]}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(content))
    units = sweep_units(load_config(tmp_path / "job.yaml", SweepConfig))
    assert run_sweep_unit(units[0].config)["failure"] is None
    save_file(transformer(tiny_jobs, 2).classifier.state_dict(), weights)
    with pytest.raises(InputError, match="weights changed during the sweep"):
        run_sweep_unit(units[0].config)
