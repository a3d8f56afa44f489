"""Every family of models: training with a Fisher-initialised adapter, and memorisation equal to plain generation."""

import pytest
import torch
from peft import LoraConfig
from test_trainer import FORGET, RETAIN, settings, weights
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from myosotis.unlearning.language import UnlearnTrainer, extraction_likelihood

COMMON = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 160,
    "initializer_range": 0.3,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
FAMILIES = {
    "llama": {"num_key_value_heads": 2},
    "mistral": {"num_key_value_heads": 2, "sliding_window": None, "head_dim": 8},
    "qwen2": {"num_key_value_heads": 2},
    "qwen3": {"num_key_value_heads": 2, "head_dim": 8},
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
    "gemma3_text": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 16},
    "phi": {},
    "phi3": {"num_key_value_heads": 2},
    "gpt_neox": {},
    "smollm3": {"num_key_value_heads": 2},
    "opt": {"ffn_dim": 48, "word_embed_proj_dim": 32},
}


def tiny(family):
    torch.manual_seed(0)
    options = {**COMMON, **FAMILIES[family]}
    if family == "opt":
        del options["intermediate_size"]
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**options)).eval()


def naive(model, sequence, n):
    total = 0.0
    for start in range(1, len(sequence) - n + 1):
        ids = sequence[:start].tolist()
        while len(ids) < len(sequence):
            with torch.no_grad():
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        said, truth = ids[start:], sequence[start:].tolist()
        known = {tuple(truth[at : at + n]) for at in range(len(truth) - n + 1)}
        grams = [tuple(said[at : at + n]) for at in range(len(said) - n + 1)]
        total += sum(gram in known for gram in grams) / len(grams)
    return total / (len(sequence) - n)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_unlearns_with_fila_and_steered_blocks(family, tokenizer, tmp_path):
    for method, changes in (("ihl", {"lora_init": "fila"}), ("rmu", {"method_settings": {"block": 1}})):
        trainer = UnlearnTrainer(
            tiny(family),
            settings(tmp_path, method=method, num_train_epochs=1, **changes),
            FORGET,
            RETAIN,
            tokenizer,
            LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_the_extraction_likelihood_of_a_family_is_that_of_plain_generation(family):
    model = tiny(family)
    stream = torch.Generator().manual_seed(1)
    sequences = [torch.randint(1, 300, (length,), generator=stream) for length in (14, 25)]
    # Something that the model itself says, so that not all is 0.
    with torch.no_grad():
        for sequence in sequences:
            for place in range(4, len(sequence), 2):
                sequence[place] = model(sequence[None, :place]).logits[0, -1].argmax()
    values = extraction_likelihood(model, sequences, 2)
    assert values.tolist() == pytest.approx([naive(model, sequence, 2) for sequence in sequences], abs=1e-6)
