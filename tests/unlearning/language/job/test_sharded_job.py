"""A whole job on shards, in two CPU processes under FSDP 2."""

import json
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from myosotis.engine.checkpoint import newest_complete
from myosotis.engine.fingerprint import weights_hash

ON_CPUS = Path(__file__).parents[1] / "training" / "sharded_on_cpus.py"
JOB = {
    "job": "unlearn-language",
    "name": "shards",
    "model": {"name": "./model"},
    "data": {"people": {"forget": 2, "retain": 4, "unseen": 1}},
    "method": {"name": "npo"},
    # Thirty records to teach divide by two processes of five, so that no process is given one twice.
    "fine_tune": {"epochs": 2, "batch_size": 5, "learning_rate": 1e-3},
    "training": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3},
    "audit": {"n": 3, "max_new_tokens": 4, "stress": {"relearn_steps": 2}},
}


@pytest.fixture(scope="module")
def fsdp(file_module):
    return file_module(ON_CPUS)


@pytest.fixture(scope="module")
def job(tokenizer, tmp_path_factory, tiny_llama):
    directory = tmp_path_factory.mktemp("shards")
    tiny_llama().save_pretrained(directory / "model")
    tokenizer.save_pretrained(directory / "model")
    (directory / "job.yaml").write_text(yaml.safe_dump(JOB))
    return "run", directory / "job.yaml"


@pytest.fixture(scope="module")
def sharded(job, fsdp, tmp_path_factory):
    """The run of two processes."""
    run = tmp_path_factory.mktemp("runs") / "two"
    assert fsdp.launch(ON_CPUS, *job, "--out", run) == []
    return run


def figures(run):
    """What a result says, but for times, salted fingerprints and hashes."""
    result = json.loads((run / "result.json").read_text())
    for worst in ("worst_remembered", "worst_kept"):
        if result["verdict"][worst] is not None:
            del result["verdict"][worst]["subject"]
    return {key: result[key] for key in ("verdict", "metrics", "thresholds", "training", "records", "suites")}


def rounded(value):
    """Floats of a nested value as they compare after two summations in another order."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item) for item in value]
    return pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value


@pytest.mark.processes
def test_a_job_on_shards_has_the_result_of_one_process(job, sharded, invoke, settings, tmp_path):
    alone = settings("training.accumulate=2", "fine_tune.batch_size=10")
    assert invoke(*job, "--out", tmp_path / "one", *alone).exit_code == 0
    one, two = figures(tmp_path / "one"), figures(sharded)
    one["training"].pop("epochs"), two["training"].pop("epochs")  # which count micro-batches
    assert two == rounded(one)
    # The export is a plain model, and the one that the result names.
    exported = AutoModelForCausalLM.from_pretrained(sharded / "model")
    lineage = json.loads((sharded / "result.json").read_text())["lineage"]
    assert weights_hash(exported) == lineage["model_out"]
    first, second = (load_file(run / "model" / "model.safetensors") for run in (tmp_path / "one", sharded))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=1e-5, rtol=0)


@pytest.mark.processes
def test_a_killed_job_on_shards_is_resumed_to_the_same_weights(job, sharded, fsdp, tmp_path):
    killed = fsdp.start(ON_CPUS, *job, "--out", tmp_path / "killed")
    checkpoints = tmp_path / "killed" / "checkpoints" / "unlearn"
    while newest_complete(checkpoints) is None:
        assert all(process.poll() is None for process in killed)
        time.sleep(0.01)
    for process in killed:
        process.kill()
        process.wait()
    assert not (tmp_path / "killed" / "result.json").exists()
    assert fsdp.launch(ON_CPUS, *job, "--out", tmp_path / "killed", "--resume") == []
    whole, resumed = (load_file(run / "model" / "model.safetensors") for run in (sharded, tmp_path / "killed"))
    assert all(torch.equal(resumed[name], value) for name, value in whole.items())
    assert figures(tmp_path / "killed") == figures(sharded)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (("method.name=gd", "method.projection=conflict"), "projection works on whole gradients"),
        (("training.optimizer=adafactor",), "optimizer adafactor is not known to work on shards"),
    ],
)
def test_what_cannot_be_sharded_is_refused_in_one_line(
    changes, message, job, fsdp, invoke, settings, tmp_path, monkeypatch
):
    for variable, value in fsdp.LAUNCHERS["fsdp"].items():
        monkeypatch.setenv(variable, value)
    outcome = invoke(*job, "--out", tmp_path / "run", *settings(*changes))
    assert outcome.exit_code == 2
    errors = [line for line in outcome.stderr.splitlines() if not line.startswith(("records: ", "loading "))]
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "run").exists()
