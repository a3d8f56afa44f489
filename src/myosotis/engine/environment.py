"""The machine and the libraries that a run was made with."""

import os
import platform
import resource
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch

import myosotis
from myosotis.engine.result import rfc3339

_PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "transformers",
    "peft",
    "accelerate",
    "datasets",
    "tokenizers",
    "safetensors",
    "numpy",
)


def _git_commit() -> str | None:
    """The commit of the source tree that the package runs from, or None for an installed package."""
    root = Path(myosotis.__file__).resolve().parents[2]
    if not (root / ".git").exists() or shutil.which("git") is None:
        return None
    answer = subprocess.run(  # noqa: S603
        ["git", "-C", str(root), "rev-parse", "HEAD"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None


def now() -> str:
    """Return the time in UTC, as RFC 3339 writes it."""
    return rfc3339(datetime.now(UTC))


def describe_environment(seed: int) -> dict[str, Any]:
    """Return time, versions, devices, thread counts and the seed, as JSON-ready values; no user or host names."""
    devices = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return {
        "started": now(),
        "myosotis": myosotis.__version__,
        "git_commit": _git_commit(),
        "python": sys.version.split()[0],
        "platform": f"{platform.system()} {platform.machine()}",
        "packages": {name: metadata.version(name) for name in _PACKAGES if find_spec(name) is not None},
        "cpu_count": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "devices": devices or ["cpu"],
        "seed": seed,
    }


def peak_memory() -> int:
    """Return the most memory in use so far, in bytes: of the accelerator if there is one, else of this process."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
