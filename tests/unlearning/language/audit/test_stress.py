"""What may bring a memory back: relearning, quantisation, other wordings; and what must be left as it was."""

import copy

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.data.encoding import IGNORED, Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.engine.errors import DivergedError, InputError
from myosotis.unlearning.language.audit.answers import mean_accuracy
from myosotis.unlearning.language.audit.stress import (
    quantized,
    relearning_curve,
    reworded_examples,
    round_to_nearest,
    split_for_relearning,
)

TEMPLATE = "Question: {prompt}\nAnswer: {response}"
RECORDS = [record for person in fictitious_people(3, seed=9) for record in person.records()]


@pytest.fixture
def encoder(tokenizer):
    return Encoder(tokenizer, TEMPLATE, max_length=128)


@given(st.integers(2, 8), st.integers(0, 100))
def test_rounding_errs_by_half_a_step_at_most_and_is_done_once(bits, seed):
    weight = torch.randn(5, 70, generator=torch.Generator().manual_seed(seed))
    rounded = round_to_nearest(weight, bits, group=32)
    size = 70 if bits >= 8 else 32
    for begin in range(0, 70, size):
        part = weight[:, begin : begin + size]
        step = part.abs().amax(dim=1, keepdim=True) / (2 ** (bits - 1) - 1)
        assert ((rounded[:, begin : begin + size] - part).abs() <= step / 2 + 1e-6).all()
    torch.testing.assert_close(round_to_nearest(rounded, bits, group=32), rounded)


def test_rounding_numbers():
    weight = torch.tensor([[7.0, -3.4, 0.6, 0.0]])
    torch.testing.assert_close(round_to_nearest(weight, 4), torch.tensor([[7.0, -3.0, 1.0, 0.0]]))
    torch.testing.assert_close(round_to_nearest(torch.zeros(2, 3), 4), torch.zeros(2, 3))
    with pytest.raises(ValueError, match="bits"):
        round_to_nearest(weight, 1)


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_quantised_layers_hold_few_values_and_come_back_to_the_bit(make, tiny_llama):
    model = make()
    before = copy.deepcopy(model.state_dict())
    with quantized(model, 4):
        name = "model.layers.0.mlp.up_proj.weight" if make is tiny_llama else "transformer.h.0.mlp.c_fc.weight"
        weight = model.state_dict()[name]
        row = weight[0] if make is tiny_llama else weight[:, 0]  # of one output unit
        assert len(row.unique()) <= 15
        assert torch.equal(model.get_output_embeddings().weight, before["lm_head.weight"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_attacker_gets_records_of_every_subject_first(encoder):
    examples = [encoder(record) for record in RECORDS]
    shown, held = split_for_relearning(examples, 0.2)
    assert len(shown) == 3
    assert {example.subject for example in shown} == {example.subject for example in examples}
    assert len(held) == 12
    assert not set(shown) & set(held)
    for share, message in ((0.0, "share"), (1.0, "share")):
        with pytest.raises(ValueError, match=message):
            split_for_relearning(examples, share)
    with pytest.raises(ValueError, match="too few"):
        split_for_relearning(examples[:1], 0.5)


def test_relearning_moves_the_held_records_and_leaves_the_model_as_it_was(encoder, tokenizer, tiny_llama):
    torch.manual_seed(0)
    model = tiny_llama()
    model.model.embed_tokens.weight.requires_grad_(False)
    model.train()
    before = copy.deepcopy(model.state_dict())
    examples = [encoder(record) for record in RECORDS]
    curve = relearning_curve(model, tokenizer, examples, steps=30, every=10, learning_rate=1e-2)
    assert curve.steps == (0, 10, 20, 30)
    _, held = split_for_relearning(examples, 0.2)
    assert curve.accuracy[0] == pytest.approx(mean_accuracy(model, held))
    assert curve.accuracy[-1] != curve.accuracy[0]
    assert model.training
    assert not model.model.embed_tokens.weight.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_relearning_a_model_in_half_precision_is_that_of_its_weights_in_float32(dtype, encoder, tokenizer, tiny_llama):
    model = tiny_llama().to(dtype)
    before = copy.deepcopy(model.state_dict())
    examples = [encoder(record) for record in RECORDS]
    options = {"steps": 30, "every": 10, "learning_rate": 1e-2}
    curve = relearning_curve(model, tokenizer, examples, **options)
    assert curve == relearning_curve(copy.deepcopy(model).float(), tokenizer, examples, **options)
    assert len(set(curve.accuracy)) > 1
    assert {value.dtype for value in model.state_dict().values()} == {dtype}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_relearning_that_diverges_says_so_and_counts_nothing_as_forgotten(encoder, tokenizer, tiny_llama):
    model = tiny_llama()
    before = copy.deepcopy(model.state_dict())
    examples = [encoder(record) for record in RECORDS]
    curve = relearning_curve(model, tokenizer, examples, steps=4, every=1, learning_rate=1e35)
    assert curve.diverged == len(curve.steps) == len(curve.accuracy) < 4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(DivergedError, match="not finite"):
        relearning_curve(model, tokenizer, examples)


def test_records_are_asked_for_in_other_words(encoder, tokenizer):
    changes = reworded_examples(RECORDS[:2], encoder)
    assert set(changes) == {"bare", "short tags", "instruction", "chat-like", "lower case", "paraphrased"}
    assert len(changes["paraphrased"]) == 4
    for name, examples in changes.items():
        for place, example in enumerate(examples):
            record = RECORDS[place // 2 if name == "paraphrased" else place]
            answer = [label for label in example.labels if label not in (IGNORED, tokenizer.eos_token_id)]
            assert tokenizer.decode(answer).strip() == record.response
            prompt = tokenizer.decode(example.input_ids[: example.response_start])
            assert "Question:" in prompt or name not in ("lower case", "paraphrased")
            if name == "lower case":
                assert record.prompt.lower() in prompt


def test_texts_and_chats_are_asked_for_otherwise_too(encoder, tokenizer):
    text = Record(text="The lantern stood at the window and nobody knew who had lit it.")
    changes = reworded_examples([text], encoder)
    assert set(changes) == {"from the middle", "behind a heading"}
    assert tokenizer.decode(changes["from the middle"][0].input_ids) == "and nobody knew who had lit it."
    (headed,) = changes["behind a heading"]
    assert tokenizer.decode([label for label in headed.labels if label != IGNORED]) == text.text
    assert headed.input_ids[headed.response_start :] != ()
    with pytest.raises(InputError, match="middle"):
        reworded_examples([Record(text="Word")], encoder)
    tokenizer.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}\n{% endfor %}"
    try:
        chat = Record(
            messages=({"role": "user", "content": "Where Is It?"}, {"role": "assistant", "content": "In Oslo."})
        )
        (lower,) = reworded_examples([chat], encoder)["lower case"]
        assert "where is it?" in tokenizer.decode(lower.input_ids)
        assert "In Oslo." in tokenizer.decode(lower.input_ids)
    finally:
        tokenizer.chat_template = None
