"""Several processes at one job: the one that writes, and how they wait for each other."""

import json
import os
from pathlib import Path

import torch
from accelerate import PartialState

from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed


def _state() -> PartialState:
    # Without cpu=True accelerate takes several processes on CPUs for as many single ones.
    return PartialState(cpu=not torch.accelerator.is_available())


def device() -> torch.device:
    """The device of this process: its accelerator if there is one, else the CPU."""
    return torch.device(_state().device)


def is_main_process() -> bool:
    """Whether this process is the one that writes files and talks; true where there is only one."""
    return bool(_state().is_main_process)


def wait_for_everyone() -> None:
    """Return when every process has come here; at once where there is only one."""
    _state().wait_for_everyone()


def processes() -> int:
    """Return the number of processes that work at the job."""
    return int(_state().num_processes)


def share() -> tuple[int, int]:
    """Return the rank of this process among those that share the work of training, and their number."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()


def seed_global_generator(seed: int, *purpose: str | int) -> None:
    """Seed torch's global generator, from which dropout draws; processes that share a batch draw apart.

    The first process, or a single one, has the seed of :func:`~myosotis.engine.seeding.derive_seed`; the others have
    their rank in it.
    """
    rank = share()[0]
    torch.manual_seed(derive_seed(seed, *purpose, *([rank] if rank else [])))


def check_unsharded() -> None:
    """Refuse to work where the launcher splits the weights of a model over the processes.

    Weights are measured, compared, hashed and exported as wholes here.

    Raises:
        SettingsError: ``accelerate launch`` uses FSDP or stage 3 of DeepSpeed's ZeRO.
    """
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise SettingsError(f"FSDP {_UNSUPPORTED}")
    if os.environ.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true" and _zero_stage() == 3:
        raise SettingsError(f"DeepSpeed ZeRO stage 3 {_UNSUPPORTED}")


_UNSUPPORTED = "shards the weights over processes, which is not supported; launch with DDP or ZeRO stage 2"


def _zero_stage() -> int:
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file != "none":
        stage = json.loads(Path(file).read_text(encoding="utf-8")).get("zero_optimization", {}).get("stage", 0)
    else:
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)
    return int(stage)
