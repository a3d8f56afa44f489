"""Alternate answers of the model's own making."""

from conftest import tiny_llama
from myosotis.data.encoding import IGNORED, Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.unlearning.language.alternates import alternate_examples


def test_alternates_keep_the_form_and_change_the_content(tokenizer):
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


def test_a_record_may_bring_its_own_alternate(tokenizer):
    encoder = Encoder(tokenizer, max_length=128)
    record = Record(prompt="Where?", response="In Oslo.", alternate="In Rome.")
    (made,) = alternate_examples(tiny_llama(), encoder, [record], seed=0)
    assert made.input_ids == encoder(Record(prompt="Where?", response="In Rome.")).input_ids
