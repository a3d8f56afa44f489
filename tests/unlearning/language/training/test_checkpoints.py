"""Checkpoints: a resumed training ends with the same weights."""

import pytest
import torch
from safetensors.torch import load_file

from myosotis.engine.checkpoint import newest_complete


@pytest.mark.parametrize("lora_init", ["default", "fila"])
def test_a_resumed_run_ends_with_the_same_weights(lora_init, tokenizer, tmp_path, trainer_for, weights):
    options = {
        "lora_init": lora_init,
        "per_device_train_batch_size": 3,
        "num_train_epochs": 3,
        "lr_scheduler_type": "linear",
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 4,
    }
    whole = trainer_for(tmp_path / "whole", tokenizer, **options)
    whole.train()
    kept = sorted(path.name for path in (tmp_path / "whole").glob("step-*"))
    assert kept == ["step-4", "step-6", "step-8", "step-9"]
    # Step 4 lies in the middle of the second epoch of three steps.
    for step in ("step-4", "step-6"):
        checkpoint = tmp_path / "whole" / step
        assert not list(checkpoint.glob("*.bin"))
        initial = load_file(checkpoint / "fila_initial.safetensors") if lora_init == "fila" else None
        resumed = trainer_for(tmp_path / "resumed", tokenizer, initial_factors=initial, **options)
        resumed.train(resume_from_checkpoint=checkpoint)
        for name, value in weights(whole).items():
            assert torch.equal(weights(resumed)[name], value), name


def test_a_checkpoint_at_an_early_end_is_taken_up_and_not_trained_further(
    tokenizer, tmp_path, rule_at, trainer_for, weights
):
    first = trainer_for(tmp_path, tokenizer)
    rule = rule_at(first.records.forget, 0.9)
    options = {"stop_rule": rule, "num_train_epochs": 4, "save_strategy": "epoch"}
    stopped = trainer_for(tmp_path / "a", tokenizer, **options)
    stopped.train()
    assert stopped.stop_reason == "forgotten"
    resumed = trainer_for(tmp_path / "b", tokenizer, **options)
    resumed.train(resume_from_checkpoint=newest_complete(tmp_path / "a"))
    assert resumed.stop_reason == "forgotten"
    assert resumed.state.global_step == stopped.state.global_step == 2
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(stopped).items())


def test_a_rule_that_a_step_checkpoint_came_before_speaks_on_resume(tokenizer, tmp_path, rule_at, trainer_for, weights):
    first = trainer_for(tmp_path, tokenizer)
    rule = rule_at(first.records.forget, 0.9)
    options = {"stop_rule": rule, "num_train_epochs": 4, "save_strategy": "steps", "save_steps": 1}
    stopped = trainer_for(tmp_path / "a", tokenizer, **options)
    stopped.train()
    assert stopped.state.global_step == 2
    resumed = trainer_for(tmp_path / "b", tokenizer, **options)
    resumed.train(resume_from_checkpoint=tmp_path / "a" / "step-2")
    assert (resumed.stop_reason, resumed.state.global_step) == ("forgotten", 2)
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(stopped).items())


def test_resuming_takes_what_transformers_takes(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer)
    with pytest.raises(ValueError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=False)
    assert trainer.state.global_step == 4


def test_a_truncated_newest_checkpoint_is_passed_over(tokenizer, tmp_path, trainer_for):
    trainer_for(tmp_path, tokenizer, save_strategy="steps", save_steps=1, num_train_epochs=2).train()
    newest = newest_complete(tmp_path)
    assert newest.name == "step-4"
    file = newest / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert newest_complete(tmp_path).name == "step-3"
    (tmp_path / "step-3" / "manifest.json").unlink()
    assert newest_complete(tmp_path).name == "step-2"
