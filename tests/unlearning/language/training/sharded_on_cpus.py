"""FSDP 2 and DeepSpeed on CPU processes, where accelerate itself would train a copy of the model in each (DDP).

Launched on two processes, it runs a command of myosotis so: ``sharded_on_cpus.py unlearn language JOB.yaml``.
"""

import os
import socket
import subprocess
import sys
from importlib import import_module

from accelerate.state import AcceleratorState, PartialState
from accelerate.utils import DistributedType

LAUNCHERS = {
    "fsdp": {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_RESHARD_AFTER_FORWARD": "true",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
    },
    "zero2": {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2", "DS_ACCELERATOR": "cpu"},
}
"""What ``accelerate launch`` sets for the configurations in ``examples/accelerate``."""


def shard_on_cpus():
    """Let accelerate shard on CPUs as it does on GPUs, where a launcher asks for it."""
    initialise = AcceleratorState.__init__

    def sharding(self, *args, fsdp_plugin=None, deepspeed_plugin=None, **options):
        initialise(self, *args, fsdp_plugin=fsdp_plugin, deepspeed_plugin=deepspeed_plugin, **options)
        if self.distributed_type != DistributedType.MULTI_CPU:
            return
        if fsdp_plugin is not None:
            self.distributed_type = DistributedType.FSDP
            if self._mixed_precision != "no":
                fsdp_plugin.set_mixed_precision(self._mixed_precision)
            self.fsdp_plugin = fsdp_plugin
        if deepspeed_plugin is not None:
            self.distributed_type = DistributedType.DEEPSPEED
            deepspeed_plugin.set_mixed_precision(self._mixed_precision)
            deepspeed_plugin.select(_from_accelerator_state=True)
            self.deepspeed_plugins, self._mixed_precision = deepspeed_plugin, "no"
            # It would compile an operation on shared memory for minutes; torch's own does.
            import_module("deepspeed.comm.torch").build_shm_op = lambda: None
        PartialState._shared_state["distributed_type"] = self.distributed_type

    AcceleratorState.__init__ = sharding


def start(*arguments, engine="fsdp"):
    """Start a script on two processes under an engine, as ``accelerate launch`` does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {**os.environ, **LAUNCHERS[engine], "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    common |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


def launch(*arguments, engine="fsdp"):
    """Run a script on two processes; return the exit status and the error output of those that failed."""
    running = start(*arguments, engine=engine)
    try:
        errors = [process.communicate(timeout=400)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    statuses = [process.returncode for process in running]
    return [(status, error[-3000:]) for status, error in zip(statuses, errors, strict=True) if status]


if __name__ == "__main__":
    from myosotis.cli import main

    shard_on_cpus()
    main()
