"""Every family of models: training with a Fisher-initialised adapter, and memorisation equal to plain generation."""

import pytest
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM, LlamaForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from myosotis.data.encoding import Example
from myosotis.unlearning.language import UnlearnTrainer, extraction_likelihood, greedy_answers
from myosotis.unlearning.language.audit.greedy import GreedyPass

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
    # Attention that counts slots of the cache: in a window, and by a slope.
    "gpt_neo": {"window_size": 8, "attention_types": [[["global", "local", "local"], 1]]},
    "mpt": {"expansion_ratio": 2, "max_seq_len": 160},
}


# Positions that count slots of the cache. Published checkpoints of it have encoders, so it is generated from alone.
DECODERS = {"bigbird_pegasus": {"decoder_layers": 2, "decoder_attention_heads": 4, "init_std": 0.3}}


def tiny(family, seed=0, **changes):
    torch.manual_seed(seed)
    options = {**COMMON, **{**FAMILIES, **DECODERS}[family], **changes}
    if family in DECODERS:
        options |= {"is_decoder": True, "is_encoder_decoder": False}
    if family == "opt":
        del options["intermediate_size"]
    return AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**options)).eval()


def generated(model, ids, count):
    """Greedy tokens after a prefix, each by a pass over everything before it."""
    ids = list(ids)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids[-count:]


def naive(model, sequence, n):
    total = 0.0
    for start in range(1, len(sequence) - n + 1):
        said, truth = generated(model, sequence[:start].tolist(), len(sequence) - start), sequence[start:].tolist()
        known = {tuple(truth[at : at + n]) for at in range(len(truth) - n + 1)}
        grams = [tuple(said[at : at + n]) for at in range(len(said) - n + 1)]
        total += sum(gram in known for gram in grams) / len(grams)
    return total / (len(sequence) - n)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_unlearns_with_fila_and_steered_blocks(
    family, tokenizer, tmp_path, forget_records, retain_records, settings_for, weights
):
    for method, changes in (("ihl", {"lora_init": "fila"}), ("rmu", {"method_settings": {"block": 1}})):
        trainer = UnlearnTrainer(
            tiny(family),
            settings_for(tmp_path, method=method, num_train_epochs=1, **changes),
            forget_records,
            retain_records,
            tokenizer,
            LoraConfig(r=2, lora_alpha=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert all(value.isfinite().all() for value in after.values())


@pytest.mark.parametrize("family", [*FAMILIES, *DECODERS])
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


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_neo", "mpt", "bigbird_pegasus"])
def test_greedy_answers_do_not_depend_on_the_batch(family, tokenizer):
    stream = torch.Generator().manual_seed(7)
    for seed in range(3):
        model = tiny(family, seed)
        prompts = [torch.randint(1, 300, (length,), generator=stream).tolist() for length in (3, 6, 30)]
        # A right answer of three tokens each, so that some continuations begin later than others.
        examples = [
            Example((*prompt, *(said := generated(model, prompt, 3))), (*(-100,) * len(prompt), *said), (False,) * 36)
            for prompt in prompts
        ]
        expected = []
        for prompt in prompts:
            said = generated(model, prompt, 20)
            expected.append(tokenizer.decode(said[: said.index(0)] if 0 in said else said).strip())
        assert greedy_answers(model, tokenizer, examples, max_new_tokens=20) == expected


@pytest.mark.parametrize("family", ["opt", "gpt_neo", "llama"])
def test_texts_that_fill_the_context_are_continued_to_its_end(family):
    model = tiny(family, max_position_embeddings=24)
    sequence = torch.randint(1, 300, (24,), generator=torch.Generator().manual_seed(1))
    assert extraction_likelihood(model, [sequence], 1).item() == pytest.approx(naive(model, sequence, 1), abs=1e-6)
    with torch.no_grad():
        (said,) = GreedyPass(model, [sequence[:20]]).continuations([(0, 15, 30)])
        assert said == generated(model, sequence[:15].tolist(), 9)
        # One continuation is done, the other has met its end, as the last slot is reached.
        ends = frozenset(generated(model, sequence[:3].tolist(), 5)[-1:])
        starts = [(0, 3, 21), (0, 18, 2)]
        continued = GreedyPass(model, [sequence[:20]]).continuations(starts, ends)
    for (_, start, length), said in zip(starts, continued, strict=True):
        plain = generated(model, sequence[:start].tolist(), length)
        assert said == plain[: next((place + 1 for place, token in enumerate(plain) if token in ends), length)]


def test_a_short_prefix_beside_one_longer_than_the_window_of_gpt_neo():
    config = {"attention_types": [[["global", "local"], 1]], "num_hidden_layers": 2, "max_position_embeddings": 512}
    for seed in range(3):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING["gpt_neo"](**{**COMMON, **config})).eval()
        sequence = torch.randint(1, 300, (310,), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            continued = GreedyPass(model, [sequence]).continuations([(0, 30, 10), (0, 290, 10)])
        assert continued == [generated(model, sequence[:start].tolist(), 10) for start in (30, 290)]


class SlotPositions(LlamaForCausalLM):
    """Takes positions and passes over them, as a model whose code counts slots would."""

    def forward(self, input_ids=None, attention_mask=None, position_ids=None, cache=None, **options):
        return super().forward(input_ids=input_ids, attention_mask=attention_mask, cache=cache, **options)


def test_a_model_whose_cache_is_not_exact_is_found_out():
    torch.manual_seed(0)
    model = SlotPositions(CONFIG_MAPPING["llama"](**COMMON)).eval()
    sequences = [torch.randint(1, 300, (length,), generator=torch.Generator().manual_seed(2)) for length in (12, 25)]
    with torch.no_grad():
        greedy = GreedyPass(model, sequences)
        continued = greedy.continuations([(0, 3, 8), (1, 20, 8)])
    assert continued == [generated(model, sequences[row][:start].tolist(), 8) for row, start in ((0, 3), (1, 20))]
