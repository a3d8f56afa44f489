"""What is done to a model before it unlearns."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_trainer import lora

from conftest import tiny_gpt2, tiny_llama
from myosotis.unlearning.language.training.preparation import add_adapter

IN_ANOTHER_PROCESS = """
import json, sys
sys.path[:0] = sys.argv[1:]
from test_preparation import adapter
print(json.dumps({name: value.tolist() for name, value in adapter().items()}))
"""


def adapter(make=tiny_llama, **options):
    """The factors of a fresh adapter, drawn while torch's generator is anywhere."""
    model = make()
    torch.seed()
    added = add_adapter(model, lora(make), **{"seed": 3, **options})
    return {name: value for name, value in added.state_dict().items() if ".lora_" in name}


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.processes
def test_an_adapter_starts_from_the_seed_and_the_request_in_every_process():
    here = Path(__file__).parent
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(here), str(here.parents[1])]
    other = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert equal(adapter(), {name: torch.tensor(value) for name, value in other.items()})
    assert not equal(adapter(), adapter(seed=4))
    assert not equal(adapter(), adapter(request=2))


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_an_adapter_leaves_the_global_generator_alone(make):
    model = make()
    torch.manual_seed(5)
    add_adapter(model, lora(make), 3)
    found = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(found, torch.rand(3))
