"""Fine-tuning on records."""

import pytest
import torch
from transformers import TrainerCallback

from myosotis.data.encoding import Encoder, pad_examples
from myosotis.unlearning.language.job import fine_tuning
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.fine_tuning import fine_tune


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def changed(first, second):
    count = sum(int((value != second[name]).sum()) for name, value in first.items())
    return count / sum(value.numel() for value in first.values())


def test_teaching_in_half_precision_moves_what_teaching_in_float32_moves(
    tokenizer, tmp_path, forget_records, tiny_llama
):
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    taught = []
    for half in (True, False):
        model = tiny_llama().to(torch.bfloat16)
        before = state(model)
        model = model if half else model.float()
        precision = "no" if half else "bf16"
        options = FineTuneConfig(epochs=2, learning_rate=1e-4, batch_size=4, precision=precision)
        fine_tune(model, tokenizer, examples, options, seed=0, directory=tmp_path / "own")
        taught.append({name: value.to(torch.bfloat16) for name, value in model.state_dict().items()})
        assert {value.dtype for value in model.state_dict().values()} == {torch.bfloat16 if half else torch.float32}
        assert changed(taught[-1], before) > 0.1
    assert all(torch.equal(value, taught[1][name]) for name, value in taught[0].items())


def test_a_step_is_that_of_the_mean_loss_over_its_labelled_tokens(tokenizer, tmp_path, forget_records, tiny_llama):
    examples = [Encoder(tokenizer)(record) for record in forget_records[:4]]
    model, plain = tiny_llama(), tiny_llama()
    plain.load_state_dict(model.state_dict())
    options = FineTuneConfig(epochs=1, learning_rate=1e-3, batch_size=4, schedule="constant")
    fine_tune(model, tokenizer, examples, options, seed=0, directory=tmp_path / "own")
    loss = plain.train()(**pad_examples(examples, 0)).loss  # of transformers, from the logits of all positions
    loss.backward()
    torch.nn.utils.clip_grad_norm_(plain.parameters(), 1.0)
    torch.optim.AdamW(plain.parameters(), lr=1e-3, weight_decay=0.0).step()
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=1e-5, atol=2e-6)


def test_interrupted_teaching_goes_on_from_its_last_epoch(tokenizer, tmp_path, forget_records, tiny_llama, monkeypatch):
    class Interrupt(TrainerCallback):
        def on_epoch_begin(self, args, state, control, **kwargs):
            begun.append(round(state.epoch))
            if round(state.epoch) == interrupted_at:
                raise KeyboardInterrupt

    begun, interrupted_at, quiet = [], None, fine_tuning.quiet

    def watched(trainer, description):
        quiet(trainer, description)
        trainer.add_callback(Interrupt())

    monkeypatch.setattr(fine_tuning, "quiet", watched)
    monkeypatch.setattr(fine_tuning, "BETWEEN_CHECKPOINTS", 0.0)
    examples = [Encoder(tokenizer)(record) for record in forget_records]
    options = FineTuneConfig(epochs=4, learning_rate=1e-3, batch_size=4)
    whole, parts = tiny_llama(), tiny_llama()
    fine_tune(whole, tokenizer, examples, options, seed=0, directory=tmp_path / "whole")
    assert begun == [0, 1, 2, 3]
    begun, interrupted_at = [], 2
    with pytest.raises(KeyboardInterrupt):
        fine_tune(parts, tokenizer, examples, options, seed=0, directory=tmp_path / "parts")
    assert [path.name for path in (tmp_path / "parts").iterdir()] != []
    assert not list((tmp_path / "parts").rglob("*.bin")), "a pickle of the settings"
    begun, interrupted_at, parts = [], None, tiny_llama()
    fine_tune(parts, tokenizer, examples, options, seed=0, directory=tmp_path / "parts")
    assert begun == [2, 3]
    assert changed(state(parts), state(whole)) == 0


def test_short_teaching_writes_no_checkpoint(tokenizer, tmp_path, forget_records, tiny_llama, monkeypatch):
    written = []
    monkeypatch.setattr(fine_tuning._Teacher, "_save_checkpoint", lambda *_: written.append(1))
    examples = [Encoder(tokenizer)(record) for record in forget_records[:4]]
    options = FineTuneConfig(epochs=3, learning_rate=1e-3, batch_size=4)
    fine_tune(tiny_llama(), tokenizer, examples, options, seed=0, directory=tmp_path / "own")
    assert not written
