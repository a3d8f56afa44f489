"""Weights in half precision are trained in float32."""

import copy

import pytest
import torch

from myosotis.unlearning.language import UnlearnTrainer


def test_mixed_precision_leaves_with_the_training(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, peft=False, bf16=True, learning_rate=0.0, num_train_epochs=1)
    ids = torch.tensor([[5, 6, 7]])
    before = trainer.model(input_ids=ids).logits
    trainer.train()
    after = trainer.model.eval()(input_ids=ids).logits
    assert after.dtype == torch.float32
    assert torch.equal(after, before)


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def changed(first, second):
    count = sum(int((value != second[name]).sum()) for name, value in first.items())
    return count / sum(value.numel() for value in first.values())


@pytest.fixture(scope="session")
def trained(forget_records, retain_records, settings_for):
    def trained(model, path, tokenizer, **changes):
        trainer = UnlearnTrainer(
            model, settings_for(path, method="ga", **changes), forget_records, retain_records, tokenizer
        )
        trainer.train()
        return state(trainer.model)

    return trained


@pytest.mark.parametrize("parameters", [None, "mlp"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_all_weights_train_in_float32_and_leave_in_their_own_dtype(
    dtype, parameters, tokenizer, tmp_path, tiny_llama, trained
):
    model = tiny_llama().to(dtype)
    before = state(model)
    options = {"learning_rate": 1e-4, "num_train_epochs": 4, "trainable_parameters": parameters}
    after = trained(model, tmp_path, tokenizer, **options)
    assert {value.dtype for value in after.values()} == {dtype}
    precision = {"bf16": dtype is torch.bfloat16, "fp16": dtype is torch.float16}
    whole = tiny_llama().to(dtype).float()
    expected = trained(whole, tmp_path, tokenizer, **options, **precision)
    chosen = [name for name in after if parameters is None or parameters in name]
    if parameters is None:
        assert all(torch.equal(value, expected[name].to(dtype)) for name, value in after.items())
    else:
        assert all(torch.equal(value, before[name]) for name, value in after.items() if name not in chosen)
    moved = changed({name: after[name] for name in chosen}, before)
    assert moved == pytest.approx(changed({name: expected[name].to(dtype) for name in chosen}, before), abs=0.05)
    assert moved > 0.3


def test_training_that_goes_on_from_a_checkpoint_keeps_what_half_precision_would_round(
    tokenizer, tmp_path, forget_records, retain_records, settings_for, tiny_llama, trained
):
    options = {"learning_rate": 1e-4, "num_train_epochs": 4}
    model = tiny_llama().to(torch.bfloat16)
    whole = trained(copy.deepcopy(model), tmp_path / "whole", tokenizer, **options)
    trainer = UnlearnTrainer(
        copy.deepcopy(model), settings_for(tmp_path / "cut", method="ga", max_steps=4, **options, save_strategy="steps",
        save_steps=4), forget_records, retain_records, tokenizer,
    )  # fmt: skip
    trainer.train()
    again = UnlearnTrainer(
        copy.deepcopy(model),
        settings_for(tmp_path / "cut", method="ga", **options),
        forget_records,
        retain_records,
        tokenizer,
    )
    again.train(resume_from_checkpoint=True)
    assert all(torch.equal(value, whole[name]) for name, value in state(again.model).items())
