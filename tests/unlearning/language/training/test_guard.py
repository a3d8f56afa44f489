"""The divergence guard: what it sees, and the weights it goes back to."""

import pytest
import torch

from myosotis.unlearning.language import answer_metrics


def forget_nll(trainer):
    values = answer_metrics(trainer.model, trainer.records.forget)["nll"]
    return values.max().item()


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("epochs", [1, 20])
def test_the_guard_goes_back_to_the_last_good_weights(epochs, accumulation, tokenizer, tmp_path, trainer_for, weights):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        method="ga",
        learning_rate=1.0,
        weight_decay=0.5,
        num_train_epochs=epochs,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        peft=False,
    )
    before, limit = weights(trainer), trainer.guard._max_nll
    trainer.train()
    assert trainer.stop_reason == "diverged"
    assert "nats" in trainer.divergence or "finite" in trainer.divergence
    assert trainer.state.global_step <= 2
    assert all(torch.equal(p, before[name]) for name, p in weights(trainer).items())
    assert forget_nll(trainer) < limit


def test_a_broken_model_is_never_called_forgotten_nor_saved(tokenizer, tmp_path, rule_at, trainer_for, weights):
    first = trainer_for(tmp_path, tokenizer)
    options = {
        "method": "ga",
        "learning_rate": 1.0,
        "num_train_epochs": 4,
        "save_strategy": "epoch",
        "stop_rule": rule_at(first.records.forget, 0.9),
        "peft": False,
    }
    trainer = trainer_for(tmp_path / "a", tokenizer, **options)
    trainer.train()
    assert trainer.stop_reason == "diverged"
    resumed = trainer_for(tmp_path / "a", tokenizer, **options)
    resumed.train(resume_from_checkpoint=True)
    assert (resumed.stop_reason, resumed.divergence) == ("diverged", trainer.divergence)
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(trainer).items())


def test_weights_that_are_not_finite_are_never_left_behind(tokenizer, tmp_path, trainer_for, weights):
    trainer = trainer_for(tmp_path, tokenizer, method="ga", learning_rate=float("inf"), num_train_epochs=3)
    before = weights(trainer)
    trainer.train()
    assert trainer.stop_reason == "diverged"
    assert all(torch.equal(p, before[name]) for name, p in weights(trainer).items())
