"""The trainer: every method trains, whatever the model and the rows are given as."""

import pytest
import torch

from myosotis.unlearning.language import METHODS, UnlearnTrainer


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_and_without_its_retain_term(
    method, make, tokenizer, tmp_path, method_settings, trainer_for, weights
):
    own = method_settings.get(method, {})
    for changes in ({}, {"retain": None}):
        if changes and method in ("pdu", "composite"):
            continue  # their retain terms are not optional
        trainer = trainer_for(
            tmp_path, tokenizer, make, method=method, method_settings={**own, **changes}, num_train_epochs=1
        )
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert all(p.isfinite().all() for p in after.values())
        logged = trainer.state.log_history[0]
        names = [term.name for _, term in trainer.terms]
        total = sum(weight * logged[term.name] for weight, term in trainer.terms)
        assert logged["loss"] == pytest.approx(total, rel=1e-4)
        reads_retain = trainer.method.reads("retain")
        assert any(name.startswith("retain") for name in names) == reads_retain
        assert not (changes and reads_retain)


def test_a_model_name_and_rows_are_taken_as_they_are(tokenizer, tmp_path, settings_for, tiny_llama):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": "Who?", "response": "Karin."}, {"text": "Nobody knew who had lit it."}]
    trainer = UnlearnTrainer(str(tmp_path / "model"), settings_for(tmp_path / "out"), rows, rows[1:])
    trainer.train()
    assert trainer.state.global_step == 2


MAX_WAITS = {"gd": 36, "npo": 39, "ihl": 36}
"""Of a step: sizes of labelled parts, rows of a batch, selections of labelled tokens, and the guard."""


@pytest.mark.parametrize("method", MAX_WAITS)
def test_a_step_waits_for_the_device_as_often_as_is_known(method, waits, trainer_for, tokenizer, tmp_path):
    """It does not wait for every weight or token; forward and backward passes of a real model take far longer."""
    found = []
    for epochs in (1, 3):
        trainer = trainer_for(tmp_path / str(epochs), tokenizer, method=method, num_train_epochs=epochs)
        with waits.waiting() as counts:
            trainer.train()
        found.append((counts.found, trainer.state.global_step))
    (few, one), (many, other) = found
    assert (many - few).total() <= MAX_WAITS[method] * (other - one), dict(many - few)
