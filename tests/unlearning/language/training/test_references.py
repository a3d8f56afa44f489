"""References of the model before unlearning: which, when, and at which positions."""

import gc
import math
import weakref

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language import kl_divergence_loss


@pytest.mark.parametrize("method", ["wga", "satimp", "ihl", "simnpo", "ceu", "ga"])
def test_methods_that_read_no_reference_keep_none(method, tokenizer, tmp_path, trainer_for):
    # Released code of two of them copies the whole model and never reads the copy.
    kept = trainer_for(tmp_path, tokenizer, method=method).references
    assert not kept.log_probs
    assert not kept.logits
    assert not kept.hidden


def test_references_are_computed_in_the_precision_of_training(tokenizer, tmp_path, tiny_llama, trainer_for):
    torch.manual_seed(0)
    wide = LlamaConfig(**{**tiny_llama().config.to_dict(), "hidden_size": 128, "num_hidden_layers": 4, "head_dim": 32})
    trainer = trainer_for(
        tmp_path, tokenizer, model=LlamaForCausalLM(wide), method="npo", method_settings={"retain": "kl"}, bf16=True,
        per_device_train_batch_size=8, num_train_epochs=1,
    )  # fmt: skip
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["forget_npo"] == pytest.approx(20 * math.log(2), abs=1e-4)  # 2 / beta * ln 2: nothing has changed yet
    assert logged["retain_kl"] < 1e-4


def test_references_are_those_of_the_model_that_came_in_even_under_fila(tokenizer, tmp_path, trainer_for):
    plain = trainer_for(tmp_path, tokenizer, method="npo")
    fila = trainer_for(tmp_path, tokenizer, method="npo", lora_init="fila")
    torch.testing.assert_close(
        fila.references.log_probs["forget"], plain.references.log_probs["forget"], atol=1e-5, rtol=1e-5
    )
    fila.train()
    # At the start the model is the reference, so NPO is 2 log 2 / beta.
    npo = next(entry["forget_npo"] for entry in fila.state.log_history if "forget_npo" in entry)
    assert npo == pytest.approx(20 * math.log(2), rel=1e-3)
    with fila.model.disable_adapter():
        fila.compute_references()
    assert (fila.references.log_probs["forget"] - plain.references.log_probs["forget"]).abs().max() > 1


def test_kl_reference_logits_are_put_back_at_their_places(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, method="kl")
    batch = trainer.data_collator([(0, (3,)), (1, (0,))])
    with torch.no_grad():
        retain = trainer.step_loss.sides(trainer.forward_pass(trainer.model, batch), batch).retain
    assert kl_divergence_loss(retain.logits, retain.reference_logits, retain.labels).item() == pytest.approx(
        0, abs=1e-6
    )


def test_kl_refuses_to_keep_more_than_allowed(tokenizer, tmp_path, trainer_for):
    with pytest.raises(ValueError, match="reference_cache_gb"):
        trainer_for(tmp_path, tokenizer, method="kl", reference_cache_gb=1e-9)


def test_kl_keeps_what_max_steps_will_deal(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, method="kl", num_train_epochs=1, max_steps=9)
    trainer.train()
    assert trainer.state.global_step == 9


class TestAnotherTeacher:
    SETTINGS = {"method": "counterfactual", "method_settings": {"teacher": "base"}}

    def test_the_loss_falls_to_its_answers_on_every_token(self, tokenizer, tmp_path, trainer_for, tiny_llama):
        teacher = tiny_llama(seed=5)
        trainer = trainer_for(tmp_path, tokenizer, teacher=teacher, num_train_epochs=6, **self.SETTINGS)
        example = trainer.records.forget[0]
        labels = torch.tensor(example.labels[1:])
        logits = teacher(torch.tensor([example.input_ids])).logits[0, :-1][labels != IGNORED]
        torch.testing.assert_close(trainer.references.teacher["forget"][0], logits.log_softmax(-1))
        assert len(logits) > sum(example.facts)
        trainer.train()
        losses = [row["forget_counterfactual"] for row in trainer.state.log_history if "forget_counterfactual" in row]
        assert losses[-1] < losses[0]

    def test_its_memory_is_free_once_it_was_asked(self, tokenizer, tmp_path, trainer_for, tiny_llama):
        teacher = tiny_llama(seed=5)
        alive = weakref.ref(teacher)
        trainer = trainer_for(tmp_path, tokenizer, teacher=teacher, **self.SETTINGS)
        del teacher
        gc.collect()
        assert alive() is None
        assert trainer.references.teacher["forget"]

    def test_missing_needless_and_foreign_ones_are_refused(self, tokenizer, tmp_path, trainer_for, tiny_llama):
        with pytest.raises(ValueError, match="never saw the forget records as 'teacher'"):
            trainer_for(tmp_path, tokenizer, **self.SETTINGS)
        with pytest.raises(ValueError, match="reads no 'teacher'"):
            trainer_for(tmp_path, tokenizer, method="kl", teacher=tiny_llama())
        other = tiny_llama()
        other.config.vocab_size += 1
        with pytest.raises(ValueError, match="must have one vocabulary"):
            trainer_for(tmp_path, tokenizer, teacher=other, **self.SETTINGS)
