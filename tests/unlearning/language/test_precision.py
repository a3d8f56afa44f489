"""Weights in half precision are trained in float32."""

import copy

import pytest
import torch
from test_trainer import FORGET, RETAIN, settings

from conftest import tiny_llama
from myosotis.data.encoding import Encoder
from myosotis.unlearning.language import UnlearnTrainer
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def changed(first, second):
    count = sum(int((value != second[name]).sum()) for name, value in first.items())
    return count / sum(value.numel() for value in first.values())


def trained(model, path, tokenizer, **changes):
    trainer = UnlearnTrainer(model, settings(path, method="ga", **changes), FORGET, RETAIN, tokenizer)
    trainer.train()
    return state(trainer.model)


@pytest.mark.parametrize("parameters", [None, "mlp"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_all_weights_train_in_float32_and_leave_in_their_own_dtype(dtype, parameters, tokenizer, tmp_path):
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


def test_training_that_goes_on_from_a_checkpoint_keeps_what_half_precision_would_round(tokenizer, tmp_path):
    options = {"learning_rate": 1e-4, "num_train_epochs": 4}
    model = tiny_llama().to(torch.bfloat16)
    whole = trained(copy.deepcopy(model), tmp_path / "whole", tokenizer, **options)
    trainer = UnlearnTrainer(
        copy.deepcopy(model), settings(tmp_path / "cut", method="ga", max_steps=4, **options, save_strategy="steps",
        save_steps=4), FORGET, RETAIN, tokenizer,
    )  # fmt: skip
    trainer.train()
    again = UnlearnTrainer(
        copy.deepcopy(model), settings(tmp_path / "cut", method="ga", **options), FORGET, RETAIN, tokenizer
    )
    again.train(resume_from_checkpoint=True)
    assert all(torch.equal(value, whole[name]) for name, value in state(again.model).items())


def test_teaching_in_half_precision_moves_what_teaching_in_float32_moves(tokenizer, tmp_path):
    examples = [Encoder(tokenizer)(record) for record in FORGET]
    taught = []
    for half in (True, False):
        model = tiny_llama().to(torch.bfloat16)
        before = state(model)
        model = model if half else model.float()
        precision = "fp32" if half else "bf16"
        options = FineTuneConfig(epochs=2, learning_rate=1e-4, batch_size=4, precision=precision)
        fine_tune(model, tokenizer, examples, options, seed=0, directory=tmp_path)
        taught.append({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
        assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16 if half else torch.float32}
        assert changed(taught[-1], before) > 0.1
    assert all(torch.equal(value, taught[1][name]) for name, value in taught[0].items())
