"""Hashes of weights and fingerprints of records."""

import torch
from transformers import AutoModelForCausalLM

from myosotis.engine.fingerprint import salted_fingerprint, weights_hash


def test_a_saved_and_reloaded_model_has_the_same_hash(tmp_path, tiny_llama):
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    assert weights_hash(AutoModelForCausalLM.from_pretrained(tmp_path)) == weights_hash(model)


def test_one_changed_weight_changes_the_hash(tiny_llama):
    model = tiny_llama()
    before = weights_hash(model)
    with torch.no_grad():
        model.model.norm.weight[0] += 1e-6
    assert weights_hash(model) != before
    assert weights_hash(model.bfloat16()) != before


def test_fingerprints_are_short_and_salted():
    assert salted_fingerprint("text", "a") == salted_fingerprint("text", "a")
    assert salted_fingerprint("text", "a") != salted_fingerprint("text", "b")
    assert len(salted_fingerprint("text", "a")) == 64
