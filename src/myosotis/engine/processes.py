"""Several processes at one job: the one that writes, and how they wait for each other."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object, is_deepspeed_available
from torch import Tensor

from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed

T = TypeVar("T")


def _state() -> PartialState:
    # Without cpu=True accelerate takes several processes on CPUs for as many single ones.
    return PartialState(cpu=not torch.accelerator.is_available())


def device() -> torch.device:
    """The device of this process: its accelerator if there is one, else the CPU."""
    return torch.device(_state().device)


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """Return values on a device; those of the host go to a CUDA device while earlier work is still under way there.

    Example:
        >>> to_device(torch.ones(2), "cpu").tolist()
        [1.0, 1.0]
    """
    device = torch.device(device)
    if values.device.type != "cpu" or device.type not in ("cpu", "cuda"):
        return values.to(device)
    # A copy from memory that may be paged out would wait.
    return (values.pin_memory() if device.type == "cuda" else values).to(device, non_blocking=True)


def as_double(values: Tensor) -> Tensor:
    """Return values in float64: on their device, or on the CPU where the device has no float64 (Apple's MPS).

    Example:
        >>> as_double(torch.tensor([1.0])).dtype
        torch.float64
    """
    return (values.cpu() if values.device.type == "mps" else values).double()


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


def process_indices(count: int) -> list[int]:
    """Return the indices of the items that this process works on: every n-th one of ``count``, with n processes."""
    rank, world = share()
    return list(range(rank, count, world))


def gather_by_index(own: Mapping[int, T]) -> dict[int, T]:
    """Return the results of all processes by index, sorted by index; every process must call it.

    Args:
        own: Results of this process by index, see :func:`process_indices`; picklable.
    """
    if share()[1] == 1:
        return dict(own)
    results = {index: value for rows in gather_object([dict(own)]) for index, value in rows.items()}
    return {index: results[index] for index in sorted(results)}


def sum_over_processes(value: Tensor) -> Tensor:
    """Return the sum of the values of all processes, in place; every process must call it."""
    if share()[1] > 1:
        torch.distributed.all_reduce(value)
    return value


def seed_global_generator(seed: int, *purpose: str | int) -> None:
    """Seed torch's global generator, from which dropout draws; processes that share a batch draw apart.

    The first process, or a single one, has the seed of :func:`~myosotis.engine.seeding.derive_seed`; the others have
    their rank in it.
    """
    rank = share()[0]
    torch.manual_seed(derive_seed(seed, *purpose, *([rank] if rank else [])))


def shards_weights() -> bool:
    """Whether the launcher splits the weights over the processes while a model trains, by FSDP."""
    return _launched_with("ACCELERATE_USE_FSDP")


def check_unsharded() -> None:
    """Refuse to work where the launcher splits the weights of a model over the processes.

    Raises:
        SettingsError: ``accelerate launch`` uses FSDP or stage 3 of DeepSpeed's ZeRO.
    """
    if shards_weights():
        raise SettingsError(f"FSDP {_UNSUPPORTED}")
    _check_zero_stage()


def check_sharding() -> None:
    """Refuse ways of splitting the weights other than FSDP 2 on models that every process has loaded.

    Raises:
        SettingsError: ``accelerate launch`` uses FSDP 1, an option of FSDP 2 that would go wrong, or stage 3 of
            DeepSpeed's ZeRO; or DeepSpeed, which is not installed.
    """
    _check_zero_stage()
    if _launched_with("ACCELERATE_USE_DEEPSPEED") and not is_deepspeed_available():
        raise SettingsError("the launcher uses DeepSpeed, which is not installed: pip install deepspeed")
    if not shards_weights():
        return
    if os.environ.get("FSDP_VERSION", "1") != "2":
        raise SettingsError("FSDP 1 is not supported; set fsdp_version: 2")
    for variable, default, expected, why in _FSDP_OPTIONS:
        value = os.environ.get(variable, default)
        if value.lower() != expected.lower():
            raise SettingsError(f"{variable.lower()} is {value}; set it to {expected}: {why}")


_UNSUPPORTED = "shards the weights over processes, which is not supported here; launch with DDP or ZeRO stage 2"

_FSDP_OPTIONS = (
    ("FSDP_STATE_DICT_TYPE", "SHARDED_STATE_DICT", "FULL_STATE_DICT", "checkpoints of shards are pickles"),
    ("FSDP_CPU_RAM_EFFICIENT_LOADING", "false", "false", "every process measures the whole model before it trains"),
    ("FSDP_ACTIVATION_CHECKPOINTING", "false", "false", "it renames weights; training.gradient_checkpointing does not"),
)


def _launched_with(variable: str) -> bool:
    return os.environ.get(variable, "").lower() == "true"


def _check_zero_stage() -> None:
    if _launched_with("ACCELERATE_USE_DEEPSPEED") and _zero_stage() == 3:
        raise SettingsError(f"DeepSpeed ZeRO stage 3 {_UNSUPPORTED}")


def _zero_stage() -> int:
    file = os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none")
    if file != "none":
        stage = json.loads(Path(file).read_text(encoding="utf-8")).get("zero_optimization", {}).get("stage", 0)
    else:
        stage = os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2)
    return int(stage)
