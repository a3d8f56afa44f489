"""The adapting weight of a term, in a training."""

import pytest


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_trainer_moves_the_multiplier_once_a_step(accumulation, tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        method="pdu",
        method_settings={"retain_limit": 1.0, "dual_step_size": 0.5},
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    trainer.train()
    multiplier = 1.0
    for entry in trainer.state.log_history:
        if "retain_nll" in entry:
            assert entry["loss"] == pytest.approx(
                entry["forget_flattening"] + multiplier * entry["retain_nll"], rel=1e-4
            )
            multiplier = max(0.0, multiplier + 0.5 * (entry["retain_nll"] - 1.0))
            assert entry["multiplier"] == pytest.approx(multiplier, rel=1e-4)
    assert multiplier > 1
