"""The measures of MUSE."""

import pytest

from myosotis.unlearning.language import greedy_answers
from myosotis.unlearning.language.audit import muse
from myosotis.unlearning.language.audit.muse import (
    knowledge_memorization,
    privacy_leakage,
    rouge_l_f1,
    scalability,
    verbatim_memorization,
)


def test_privacy_leakage_numbers():
    assert privacy_leakage(0.98) == pytest.approx(-96)
    assert privacy_leakage(0.5) == 0
    assert privacy_leakage(0.2) == pytest.approx(60)
    assert privacy_leakage(0.4, 0.4) == 0
    for auc, retrained in ((1.2, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError, match="AUC"):
            privacy_leakage(auc, retrained)


def test_rouge_is_an_f_measure_without_stemming():
    assert rouge_l_f1(["the cats sat"], ["the cat sat"]).item() == pytest.approx(2 / 3)
    assert rouge_l_f1(["a b c d"], ["a b"]).item() == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_verbatim_memorisation_asks_for_the_first_tokens_of_the_continuation(tokenizer, monkeypatch, tiny_llama):
    seen = []

    def say(model, tokenizer, examples, *, max_new_tokens, batch_size):
        seen.extend(examples)
        assert max_new_tokens == 6
        return [tokenizer.decode(example.input_ids[example.response_start :]) for example in examples]

    prompt, continuation = "The lantern stood", " at the window, and nobody knew who had lit it."
    plain = verbatim_memorization(tiny_llama(), tokenizer, [prompt], [continuation], max_new_tokens=6)
    assert 0 <= plain.item() < 1
    monkeypatch.setattr(muse, "greedy_answers", say)
    assert verbatim_memorization(tiny_llama(), tokenizer, [prompt], [continuation], max_new_tokens=6).item() == 1
    (example,) = seen
    assert len(example.input_ids) - example.response_start == 6
    assert tokenizer.decode(example.input_ids[: example.response_start]) == prompt


def test_an_answer_ends_where_the_next_question_begins(tokenizer, monkeypatch, tiny_llama):
    monkeypatch.setattr(muse, "greedy_answers", lambda *a, **k: ["Oslo\n\nQuestion: and", "Rome Question: x"])
    found = knowledge_memorization(tiny_llama(), tokenizer, ["Where?", "Where?"], ["Oslo", "Rome"])
    assert found.tolist() == [1.0, 1.0]


def test_shown_examples_stand_before_the_question(tokenizer, monkeypatch, tiny_llama):
    seen = {}

    def record(model, tokenizer, examples, **options):
        seen["text"] = tokenizer.decode(examples[0].input_ids)
        seen["start"] = tokenizer.decode(examples[0].input_ids[examples[0].response_start :])
        return greedy_answers(model, tokenizer, examples, **options)

    monkeypatch.setattr(muse, "greedy_answers", record)
    knowledge_memorization(tiny_llama(), tokenizer, ["Where?"], ["Oslo"], shown=[("Who?", "Karin")], max_new_tokens=2)
    assert seen["text"] == "Question: Who?\nAnswer: Karin\n\nQuestion: Where?\nAnswer: Oslo"
    assert seen["start"].strip() == "Oslo"


def test_scalability_starts_anew_for_every_set():
    starts = []
    found = scalability(
        [["a"], ["a", "b"]], lambda request: starts.append(request) or len(request), lambda model: {"utility": model}
    )
    assert starts == [["a"], ["a", "b"]]
    assert found == [{"size": 1, "utility": 1}, {"size": 2, "utility": 2}]
