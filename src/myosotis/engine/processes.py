"""Several processes at one job: which of them writes, and how they wait for each other."""

import torch
from accelerate import PartialState


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
    """How many processes work at the job."""
    return int(_state().num_processes)


def share() -> tuple[int, int]:
    """The place of this process among those that share the work of training, and how many they are."""
    distributed = torch.distributed
    if not (distributed.is_available() and distributed.is_initialized()):
        return 0, 1
    return distributed.get_rank(), distributed.get_world_size()
