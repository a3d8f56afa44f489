"""Alternate answers of the model's own making."""

import torch
from transformers import GenerationConfig, GPT2Config, GPT2LMHeadModel

from myosotis.data.encoding import IGNORED, Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.unlearning.language.training.alternates import alternate_examples


def test_alternates_keep_the_form_and_change_the_content(tokenizer, tiny_llama):
    encoder = Encoder(tokenizer, max_length=128)
    model = tiny_llama()
    records = [record for person in fictitious_people(2, seed=1) for record in person.records()[:2]]
    made = alternate_examples(model, encoder, records, seed=4)
    assert made == alternate_examples(model, encoder, records, seed=4)
    for record, alternate in zip(records, made, strict=True):
        original = encoder(record)
        leave = next(place for place in range(original.response_start, len(original.facts)) if original.facts[place])
        assert alternate.input_ids[:leave] == original.input_ids[:leave]
        assert alternate.input_ids[leave] != original.input_ids[leave]
        start = original.response_start
        assert alternate.labels[:start] == (IGNORED,) * start
        assert alternate.labels[start:] == alternate.input_ids[start:]


def test_alternates_are_greedy_and_end_at_the_first_of_all_end_tokens(tokenizer, tiny_llama):
    encoder = Encoder(tokenizer, max_length=128)
    model = tiny_llama()
    records = [record for person in fictitious_people(2, seed=1) for record in person.records()[:2]]
    plain = alternate_examples(model, encoder, records, seed=4)
    # Settings of chat models that plain greedy decoding does not know.
    penalties = {"repetition_penalty": 5.0, "forced_eos_token_id": 7, "max_length": 5}
    model.generation_config = GenerationConfig(eos_token_id=0, **penalties)
    assert alternate_examples(model, encoder, records, seed=4) == plain
    leaves = [next(place for place, fact in enumerate(encoder(record).facts) if fact) for record in records]
    said = [example.input_ids[leave + 1 :] for example, leave in zip(plain, leaves, strict=True)]
    end = said[0][2]
    model.generation_config = GenerationConfig(eos_token_id=[0, end], pad_token_id=299)
    for example, leave, tokens in zip(alternate_examples(model, encoder, records, seed=4), leaves, said, strict=True):
        cut = tokens[: tokens.index(end) + 1] if end in tokens else tokens
        assert example.input_ids[leave + 1 :] == cut
        assert example.labels[leave + 1 :] == cut


def test_alternates_do_not_leave_the_positions_of_the_model(tokenizer):
    encoder = Encoder(tokenizer, max_length=128)
    records = [record for person in fictitious_people(1, seed=1) for record in person.records()]
    longest = max(len(encoder(record).input_ids) for record in records)
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=300, n_positions=longest, n_embd=16, n_layer=1, n_head=2)).eval()
    assert max(len(example.input_ids) for example in alternate_examples(model, encoder, records, seed=4)) == longest


def test_a_record_may_bring_its_own_alternate(tokenizer, tiny_llama):
    encoder = Encoder(tokenizer, max_length=128)
    record = Record(prompt="Where?", response="In Oslo.", alternate="In Rome.")
    (made,) = alternate_examples(tiny_llama(), encoder, [record], seed=0)
    assert made.input_ids == encoder(Record(prompt="Where?", response="In Rome.")).input_ids
