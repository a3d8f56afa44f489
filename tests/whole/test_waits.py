"""A step of a training waits for an accelerator no more often than is stated here; see `waits.py`."""

import json

import pytest
import torch
import yaml
from typer.testing import CliRunner

from myosotis.cli.app import app

REPLAY = {"training.memory_batch_size": 4}


def count(waits, tiny_jobs, folder, name, changes, key, length):
    """Waits and copies of a job by where they are."""
    content = tiny_jobs.JOBS[name]
    content = {"name": name} | json.loads(json.dumps(content))
    for path, value in {**changes, key: length}.items():
        part = content
        *parents, last = path.split(".")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    path = folder / f"{name}-{length}.yaml"
    path.write_text(yaml.safe_dump(content))
    with waits.waiting() as found:
        given = ["run", path, "--out", folder / f"{name}-{length}"]
        outcome = CliRunner().invoke(app, [str(one) for one in given], catch_exceptions=False)
    assert outcome.exit_code == 0, outcome.output
    return found


@pytest.mark.parametrize(
    ("name", "changes", "steps", "most"),
    [
        # Steps that the longer job has more; besides, two waits for each of four epochs more of each of two tasks.
        ("classes", {}, 36, 0),
        ("classes", {"method.name": "dark_er", **REPLAY}, 64, 0),
        ("classes", {"method.name": "lucir", **REPLAY}, 64, 0),
        ("classes", {"method.name": "ssil", **REPLAY}, 64, 0),
        ("classes", {"method.name": "icarl", "norm": "tbbn", **REPLAY}, 64, 0),
        ("streams", {"method.name": "pnr"}, 16, 0),
        ("segments", {"training.first_iterations": 4}, 8, 0),
        ("segments", {"training.first_iterations": 4, "method.name": "dkd_m", "memory.total": 6}, 8, 0),
        ("pretrain", {"probes": None, "shown": 0}, 16, 0),
        # Ratios of single images decide sizes, which the host has to know.
        ("pretrain", {"probes": None, "shown": 0, "masker": {"name": "salience", "spread": 0.1}}, 16, 1),
        ("pretrain", {"probes": None, "shown": 0, "masker": {"name": "block"}}, 16, 1),
        # The rule that ends it is judged after each step.
        ("photos", {"method.name": "neggrad"}, 4, 2),
        ("denoiser", {}, 32, 0),
    ],
)
def test_a_step_does_not_wait_for_the_device(name, changes, steps, most, waits, tiny_jobs, tmp_path):
    tiny_jobs.inputs(tmp_path, extras=False)
    key, short, long = ("training.iterations", 4, 12) if name == "segments" else ("training.epochs", 2, 6)
    one, other = (count(waits, tiny_jobs, tmp_path, name, changes, key, length) for length in (short, long))
    more = other.found - one.found
    per_epoch = 16
    assert more.total() <= most * steps + per_epoch, dict(more)
    assert not (other.copies - one.copies), dict(other.copies - one.copies)


def test_what_waits_is_counted(waits):
    """The counter itself: reads of what was moved, and nothing that stays on the host."""

    def work():
        weight = torch.nn.Linear(2, 1).to(torch.device("cpu"))
        host = torch.ones(3, 2)
        int(host.sum())
        host[host > 0].tolist()
        moved = host.to(torch.device("cpu"), non_blocking=True)
        output = weight(moved)
        moved[:1].to(torch.float64)
        return output

    with waits.waiting() as found:
        output = work()
    assert (found.found.total(), found.copies.total()) == (0, 0)
    reads = {
        "_local_scalar_dense": lambda: output.sum().item(),
        "nonzero": lambda: output.nonzero(),
        ".cpu()": lambda: output.cpu(),
        ".tolist()": lambda: output.detach().tolist(),
        "index": lambda: output[output > 0],
    }
    for name, read in reads.items():
        with waits.waiting() as found:
            code = compile("read()", "/myosotis/somewhere.py", "eval")
            eval(code, {"read": read})  # noqa: S307 - a frame of the package
        assert [key.partition(" ")[0] for key in found.found] == [name]
    assert output.cpu().tolist() == output.tolist()
