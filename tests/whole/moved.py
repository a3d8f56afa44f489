"""Whether a change of the code has moved a figure or a weight: tiny jobs of each kind, two seeds, before and after.

python tests/whole/moved.py keep FILE      # before: writes figures, and digests of weights and of files made
python tests/whole/moved.py compare FILE   # after, on the same machine: names what is not equal, to the bit
python tests/whole/moved.py store          # writes the figures alone to figures.json, for test_moved.py
"""

import hashlib
import json
import math
import os
import sys
import tempfile
from pathlib import Path

import tiny_jobs
import torch
from threadpoolctl import threadpool_limits
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.engine.artifact import read_weights

SEEDS = (0, 1)
STORED = Path(__file__).parent / "figures.json"
_NO_FIGURES = ("cost", "lineage", "schema_version", "name", "seed", "started", "finished", "request")


def measured(folder, seeds=SEEDS):
    """Run every job; by job and seed its figures and digests."""
    tiny_jobs.inputs(folder)
    results = {}
    for seed in seeds:
        for name in tiny_jobs.JOBS:
            out = folder / "runs" / f"{name}-{seed}"
            _invoke("run", tiny_jobs.written(folder, name, seed=seed), "--out", out)
            results[f"{name}, seed {seed}"] = {
                "figures": figures(json.loads((out / "result.json").read_text())),
                "digests": dict(sorted((str(path.relative_to(out)), weights(path)) for path in _weights_of(out))),
            }
    out = folder / "runs" / "sweep"
    path = tiny_jobs.written(folder, "pretrain", job="pretrain-sweep", ratios=[0.5, 0.75], seeds=2)
    _invoke("run", path, "--out", out)
    results["sweep"] = {"figures": figures(json.loads((out / "result.json").read_text())), "digests": {}}
    before = Path.cwd()
    os.chdir(folder)
    try:
        for name, words in tiny_jobs.FILES.items():
            _invoke(*words, "--report", f"{name}.html")
            results[name] = {
                "figures": figures(json.loads(Path(f"{name}.json").read_text())),
                "digests": {words[3]: hashlib.sha256(Path(words[3]).read_bytes()).hexdigest()},
            }
    finally:
        os.chdir(before)
    return results


def _invoke(*arguments):
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    if outcome.exit_code:
        raise RuntimeError(f"myosotis {' '.join(map(str, arguments))}: {outcome.output}")


def _weights_of(run):
    return sorted(path for path in run.rglob("*.safetensors") if "checkpoints" not in path.parts)


def weights(path):
    """A digest of names, shapes and values, whatever the order in the file."""
    total = hashlib.sha256()
    for name, tensor in sorted(read_weights(path).items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


def figures(value, where=""):
    """The numbers of a result by their keys; what is a time or a digest is none."""
    if isinstance(value, dict):
        parts = [(f"{where}.{key}" if where else key, inner) for key, inner in value.items() if key not in _NO_FIGURES]
    elif isinstance(value, list):
        parts = [(f"{where}.{number}", inner) for number, inner in enumerate(value)]
    else:
        is_figure = isinstance(value, bool | int | float) and "seconds" not in where and "bytes" not in where
        return {where: value} if is_figure else {}
    return {inner: figure for name, part in parts for inner, figure in figures(part, name).items()}


def differences(before, after, *, relative=0.0, absolute=0.0, digests=True):
    """Name what is not equal."""
    lines = [f"{job}: only {'before' if job in before else 'after'}" for job in sorted(before.keys() ^ after.keys())]
    for job in sorted(before.keys() & after.keys()):
        for kind in ("figures", "digests") if digests else ("figures",):
            one, other = before[job][kind], after[job][kind]
            lines += [f"{job}: {where} only {'before' if where in one else 'after'}" for where in one.keys() ^ other]
            lines += [
                f"{job}: {where} was {one[where]}, is {other[where]}"
                for where in one.keys() & other
                if not _equal(one[where], other[where], relative, absolute)
            ]
    return lines


def _equal(one, other, relative, absolute):
    if isinstance(one, float) and isinstance(other, float):
        both_none = math.isnan(one) and math.isnan(other)
        return both_none or math.isclose(one, other, rel_tol=relative, abs_tol=absolute)
    return one == other


def main():
    if sys.argv[1:2] not in (["keep"], ["compare"], ["store"]) or len(sys.argv) != 3 - (sys.argv[1] == "store"):
        sys.exit(__doc__)
    torch.set_num_threads(1)
    threadpool_limits(1)
    with tempfile.TemporaryDirectory() as folder:
        results = measured(Path(folder))
    if sys.argv[1] == "store":
        results = {job: {"figures": parts["figures"]} for job, parts in results.items()}
    if sys.argv[1] != "compare":
        path = STORED if sys.argv[1] == "store" else Path(sys.argv[2])
        path.write_text(json.dumps(results, indent=0, sort_keys=True) + "\n")
        return
    lines = differences(json.loads(Path(sys.argv[2]).read_text()), results)
    print("\n".join(lines) or f"{len(results)} jobs, nothing moved")
    sys.exit(bool(lines))


if __name__ == "__main__":
    main()
