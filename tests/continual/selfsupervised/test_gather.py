"""Tests of :mod:`myosotis.continual.selfsupervised.gather`."""

import os
import subprocess
import sys

import pytest
import torch

TWO = """
import sys
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from myosotis.continual.selfsupervised.bases import build_base
from myosotis.continual.selfsupervised.methods import build_learner
from myosotis.continual.selfsupervised.learner import SslBatch, SslTask

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
views = torch.rand(2, 8, 1, 4, 4)
samples = torch.arange(8)
grads = {}
for name in ("moco", "simclr", "vicreg"):
    settings = {"dim": 6, "hidden": 8}
    if name == "moco":
        settings["queue"] = 8
    torch.manual_seed(1)
    encoder = nn.Sequential(nn.Flatten(), nn.Linear(16, 6))
    learner = build_learner("less_forget", {}, build_base(name, settings), encoder, 6, 0)
    # Batch statistics are those of each process; without them both ways must agree.
    for part in (learner.net, learner.base):
        for module in part.modules():
            for key, child in list(module.named_children()):
                if isinstance(child, nn.BatchNorm1d):
                    setattr(module, key, nn.Identity())
    learner.before_task(SslTask(1, lambda: iter(()), None))
    wrapped = DistributedDataParallel(learner.net)
    mine = slice(4 * rank, 4 * rank + 4)
    batch = SslBatch((views[0, mine], views[1, mine]), samples[mine], None, samples[:0], 0)
    sum(learner.loss(wrapped, batch).values()).backward()
    grads[name] = {key: value.grad.clone() for key, value in learner.net.named_parameters() if value.grad is not None}
    if learner.base.queue is not None:
        grads["queue"] = learner.base.queue.samples.clone()
if rank == 0:
    torch.save(grads, sys.argv[1])
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.processes
def test_two_processes_have_the_gradient_of_the_whole_batch(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    outcomes = {}
    for count in (1, 2):
        text = TWO if count == 2 else TWO.replace("slice(4 * rank, 4 * rank + 4)", "slice(0, 8)")
        script.write_text(text)
        place = tmp_path / f"{count}.pt"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
        done = subprocess.run(
            [*command, str(script), str(place)],
            capture_output=True,
            text=True,
            env=environment,
            timeout=120,
            check=False,
        )
        assert place.is_file(), done.stderr
        outcomes[count] = torch.load(place, weights_only=True)
    for name in ("moco", "simclr", "vicreg"):
        one, two = outcomes[1][name], outcomes[2][name]
        assert one.keys() == two.keys()
        for key, value in one.items():
            torch.testing.assert_close(value, two[key], rtol=1e-4, atol=1e-6)
            assert value.abs().sum() > 0
    assert outcomes[2]["queue"].tolist() == outcomes[1]["queue"].tolist() == list(range(8))
