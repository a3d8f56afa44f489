"""Two processes on CPUs give the trajectory of one, and one run directory."""

import json
import os
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file
from typer.testing import CliRunner

from myosotis.cli.app import app


def launch(processes, *arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [*command, "-m", "myosotis", *map(str, arguments)], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


SUITES = {
    "data": {"people": {"forget": 3, "retain": 2, "unseen": 3}},
    "audit": {"n": 3, "max_new_tokens": 4, "membership": {}, "stress": {"relearn_steps": 2}},
}
WATCHED = {"selection": {"retain_share": 0.5}, "data": {"people": {"forget": 2, "retain": 4, "unseen": 1}}}


def leaves(value, path=()):
    """Yield what a result holds with its keys."""
    if isinstance(value, dict):
        for key in sorted(value):
            yield from leaves(value[key], (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, index))
    else:
        yield path, value


@pytest.mark.processes
@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ({"name": "ihl"}, {}),
        # Membership and stress tests, the records of which the processes share; fifteen of each set.
        ({"name": "npo"}, SUITES),
        # Gradients projected after they were summed over processes; an evaluation after every epoch.
        ({"name": "gd", "projection": "conflict"}, WATCHED),
        # A multiplier that moves by what all processes saw.
        ({"name": "pdu", "retain_limit": 1.0}, {}),
    ],
)
def test_two_processes_give_the_trajectory_of_one(method, changes, tokenizer, tmp_path, tiny_llama):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    config = {
        "job": "unlearn-language",
        "name": "two",
        "model": {"name": "./model"},
        "data": {"people": {"forget": 2, "retain": 2, "unseen": 1}},
        "method": method,
        "lora": {"rank": 2, "alpha": 4, "init": "fila"},
        # Ten records do not divide by two processes of four: nobody may be counted twice.
        "training": {"epochs": 4, "batch_size": 4, "learning_rate": 1e-3},
        "audit": {"n": 3, "max_new_tokens": 4},
        **changes,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    job = ("run", tmp_path / "job.yaml")
    two = launch(2, *job, "--out", tmp_path / "two")
    launch(1, *job, "--out", tmp_path / "one", "--set", "training.accumulate=2")
    assert two.stdout.count("report: ") == 1
    events = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    ]
    for one_event, two_event in zip(*events, strict=True):
        for key in one_event.keys() - {"epoch"}:  # which counts micro-batches
            assert two_event[key] == pytest.approx(one_event[key], rel=2e-3, abs=1e-4), key
    suites = [json.loads((tmp_path / name / "result.json").read_text())["suites"] for name in ("one", "two")]
    assert {name for name in suites[0] if suites[0][name]} == {"membership", "stress"} & set(config["audit"])
    for (one_key, one_value), (two_key, two_value) in zip(*map(leaves, suites), strict=True):
        assert one_key == two_key
        expected = one_value if one_value is None else pytest.approx(one_value, rel=2e-2, abs=2e-2)
        assert two_value == expected, one_key
    first, second = (load_file(tmp_path / name / "model" / "model.safetensors") for name in ("one", "two"))
    for name, value in first.items():
        torch.testing.assert_close(second[name], value, atol=2e-4, rtol=1e-3)
    # Steps and epochs of its checkpoints would count otherwise in one process.
    (tmp_path / "two" / "result.json").unlink()
    outcome = CliRunner().invoke(app, [*map(str, job), "--out", str(tmp_path / "two"), "--resume"])
    assert outcome.exit_code == 2
    assert "the number of processes changed since" in outcome.output


@pytest.mark.processes
def test_two_processes_measure_doses_as_one_does(tokenizer, tmp_path, tiny_llama):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    job = {
        "job": "meter",
        "name": "meter",
        "model": {"name": "./model"},
        "people": {"doses": [2], "each": 5, "unseen": 5, "otherwise": 1},
        "training": {"rank": 2, "precision": "no", "further": 1},
        "audit": {"n": 2, "max_new_tokens": 2, "samples": 1, "precision": "no"},
    }
    (tmp_path / "meter.yaml").write_text(yaml.safe_dump(job))
    found = {}
    for processes in (1, 2):
        batch = f"training.batch_size={20 // processes}"  # of each process
        out = tmp_path / str(processes)
        launch(processes, "run", tmp_path / "meter.yaml", "--set", batch, "--out", out)
        result = json.loads((out / "result.json").read_text())
        found[processes] = dict(leaves({"doses": result["doses"]["told"], "tests": result["tests"]}))
    assert found[1].keys() == found[2].keys()
    levels = [path for path in found[1] if path[-1] == "level"]
    assert len(levels) > 100
    for path in levels:
        assert found[2][path] == pytest.approx(found[1][path], rel=1e-3, abs=1e-4), path
