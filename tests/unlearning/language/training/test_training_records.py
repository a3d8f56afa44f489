"""The records of a training, and which tokens of them are to be forgotten."""

import pytest

from myosotis.data.encoding import IGNORED, Encoder, only_facts
from myosotis.unlearning.language import UnlearnTrainer
from myosotis.unlearning.language.training.records import encode_rows, texts_of


def test_only_the_facts_may_be_forgotten(tokenizer, tmp_path, forget_records, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, forget_tokens="facts")
    encoder = Encoder(tokenizer, max_length=512)
    for example, record in zip(trainer.records.forget, forget_records, strict=True):
        whole = encoder(record)
        assert example == only_facts(whole)
        labelled = [place for place, label in enumerate(example.labels) if label != IGNORED]
        assert labelled == [place for place, is_fact in enumerate(whole.facts) if is_fact]


def test_encoded_records_are_not_encoded_again(
    tokenizer, tmp_path, forget_records, retain_records, settings_for, tiny_llama, monkeypatch
):
    encoder = Encoder(tokenizer, max_length=512)
    rows, retain = encode_rows(forget_records, encoder), encode_rows(retain_records, encoder)
    asked = []
    encode = Encoder.__call__
    monkeypatch.setattr(Encoder, "__call__", lambda self, record: asked.append(record) or encode(self, record))
    trainer = UnlearnTrainer(tiny_llama(), settings_for(tmp_path, method="altpo"), rows, retain, tokenizer)
    assert asked == []
    assert trainer.records.forget == [row.example for row in rows]
    assert texts_of(encode_rows(rows, encoder)) == forget_records


def test_tokens_alone_have_no_text(tokenizer, forget_records):
    encoder = Encoder(tokenizer)
    with pytest.raises(ValueError, match="text of the records is needed"):
        texts_of(encode_rows([forget_records[0], encoder(forget_records[1])], encoder))
