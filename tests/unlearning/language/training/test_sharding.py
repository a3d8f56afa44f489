"""Training on shards in two CPU processes, under FSDP 2 or DeepSpeed: the weights and losses of one process."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

HERE = Path(__file__).parent


@pytest.fixture
def agree(file_module, tiny_llama, tokenizer, tmp_path):
    """Train cases on two processes that shard, then alone, and compare."""
    trajectories = file_module(HERE / "sharded_trajectories.py")
    sharded_on_cpus = file_module(HERE / "sharded_on_cpus.py")
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")

    def agree(*cases, engine="fsdp"):
        script = HERE / "sharded_trajectories.py"
        assert sharded_on_cpus.launch(script, tmp_path, *cases, engine=engine) == []
        used = {"fsdp": "FSDP", "zero2": "DEEPSPEED"}[engine]
        outcomes = {}
        for case in cases:
            model, outcome = trajectories.trained(tmp_path, case)
            for rank in (0, 1):
                sharded = json.loads((tmp_path / f"{case}-{rank}.json").read_text())
                assert sharded == {**outcome, "losses": pytest.approx(outcome["losses"], abs=1e-5), "engine": used}
                weights = load_file(tmp_path / f"{case}-{rank}.safetensors")
                for name, parameter in model.named_parameters():
                    torch.testing.assert_close(weights[name], parameter.data, atol=1e-5, rtol=0)
            outcomes[case] = outcome
        return outcomes

    return agree


def test_shards_give_the_trajectory_of_whole_weights(agree):
    outcomes = agree("ihl", "npo", "gd", "fila", "strangers", "guard", "guard-after-epoch")
    assert outcomes["guard"]["end"] == outcomes["guard-after-epoch"]["end"] == "diverged"


@pytest.mark.processes
def test_selected_and_negated_weights_of_shards_are_those_of_whole_ones(agree):
    outcomes = agree("selection", "task-vector")
    assert outcomes["selection"]["epoch"] == 2


@pytest.mark.processes
def test_shards_are_resumed_from_a_checkpoint(agree):
    outcomes = agree("resumed", "resumed-fila", "stopped")
    assert outcomes["resumed"]["epoch"] == 1  # whose weights the checkpoint holds
    assert outcomes["stopped"]["end"] == "forgotten"


@pytest.mark.processes
def test_stage_2_of_zero_gives_the_trajectory_of_one_process(agree):
    pytest.importorskip("deepspeed")
    outcomes = agree(
        "ihl", "npo", "gd", "fila", "strangers", "guard", "task-vector", "selection", "resumed", engine="zero2"
    )
    assert outcomes["resumed"]["epoch"] == 1
