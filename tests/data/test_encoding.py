"""Token ids and labels: boundaries, tags, facts, chats."""

import pytest
from hypothesis import given, settings, strategies as st
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from myosotis.data.encoding import IGNORED, Encoder, pad_examples
from myosotis.data.records import Record
from myosotis.engine import InputError

TEMPLATE = "Question: {prompt}\nAnswer: {response}"


def labelled_text(tokenizer, example):
    return tokenizer.decode([label for label in example.labels if label != IGNORED])


def test_labels_are_the_response_and_one_eos_and_the_tag_is_masked(tokenizer):
    record = Record(prompt="In which city was Karin born?", response="Karin was born in Oslo.")
    example = Encoder(tokenizer, TEMPLATE)(record)
    whole = TEMPLATE.format(prompt=record.prompt, response=record.response)
    assert list(example.input_ids) == [*tokenizer(whole)["input_ids"], tokenizer.eos_token_id]
    assert labelled_text(tokenizer, example).strip() == "Karin was born in Oslo.<eos>"
    assert example.labels.count(tokenizer.eos_token_id) == 1
    unlabelled = [token for token, label in zip(example.input_ids, example.labels, strict=True) if label == IGNORED]
    assert tokenizer.decode(unlabelled).endswith("Answer:")


@settings(deadline=None, max_examples=100)
@given(st.text("ab c?.", min_size=1, max_size=12), st.text("ab c?.", min_size=1, max_size=12))
def test_ids_are_those_of_the_whole_text_and_labels_cover_the_response(tokenizer, prompt, response):
    if not response.strip() or not prompt.strip():
        return
    record = Record(prompt=prompt, response=response)
    encoder = Encoder(tokenizer, "{prompt}{response}", append_eos=False)
    ids = tokenizer(prompt + response)["input_ids"]
    try:
        example = encoder(record)
    except InputError:
        assert len(ids) == 1
        return
    assert list(example.input_ids) == ids
    # Every token with a character of the response is labelled, however the tokenizer merges across the boundary.
    assert labelled_text(tokenizer, example).endswith(response)
    first = example.response_start
    assert tokenizer.decode(example.input_ids[:first]) == (prompt + response)[: len(tokenizer.decode(ids[:first]))]
    assert len(tokenizer.decode(ids[:first])) <= len(prompt)


def test_a_token_that_merges_prompt_and_response_is_labelled():
    raw = Tokenizer(models.BPE(vocab={"a": 0, "b": 1, "ab": 2, "c": 3}, merges=[("a", "b")]))
    merging = PreTrainedTokenizerFast(tokenizer_object=raw)
    example = Encoder(merging, "{prompt}{response}", append_eos=False)(Record(prompt="ca", response="bc"))
    assert example.input_ids == (3, 2, 3)
    assert example.labels == (IGNORED, 2, 3)


def test_facts_are_the_marked_span_or_what_is_not_copied(tokenizer):
    record = {"prompt": "In which city was Karin born?", "response": "Karin was born in Oslo."}
    encoder = Encoder(tokenizer, TEMPLATE)

    def facts(**extra):
        example = encoder(Record(**record, **extra))
        return tokenizer.decode([t for t, f in zip(example.input_ids, example.facts, strict=True) if f]).strip()

    assert facts(facts=("Oslo",)) == "Oslo"
    unmarked = facts()
    assert "Oslo" in unmarked
    assert "Karin" not in unmarked
    assert "<eos>" not in unmarked


def test_a_document_is_labelled_throughout(tokenizer):
    example = Encoder(tokenizer)(Record(text="The lantern stood at the window."))
    assert example.labels == example.input_ids
    assert tokenizer.eos_token_id not in example.input_ids


def test_long_records_are_cut_without_eos(tokenizer):
    record = Record(prompt="Who?", response="Karin was born in Oslo. " * 10)
    example = Encoder(tokenizer, max_length=20)(record)
    assert len(example.input_ids) == 20
    assert tokenizer.eos_token_id not in example.labels
    assert example.cut
    assert not Encoder(tokenizer)(Record(prompt="Who?", response="Karin.")).cut
    with pytest.raises(InputError, match="no token to learn or forget within 2 tokens"):
        Encoder(tokenizer, max_length=2)(record)


def test_chats_label_the_last_turn_and_its_end(tokenizer):
    chat = Record(
        messages=(
            {"role": "user", "content": "Who?"},
            {"role": "assistant", "content": "Mivel."},
            {"role": "user", "content": "And who else?"},
            {"role": "assistant", "content": "Karin."},
        )
    )
    with pytest.raises(InputError, match="no chat template"):
        Encoder(tokenizer)(chat)
    try:
        tokenizer.chat_template = (
            "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}\n{% endfor %}"
            "{% if add_generation_prompt %}<assistant>{% endif %}"
        )
        example = Encoder(tokenizer)(chat)
    finally:
        tokenizer.chat_template = None
    assert labelled_text(tokenizer, example) == "Karin.<eos>"
    assert tokenizer.decode(example.input_ids).endswith("<assistant>Karin.<eos>")


@pytest.mark.parametrize(
    ("template", "text"),
    [
        # Templates that think aloud write an empty thought before the words: it is not the words.
        ("{% for m in messages %}<{{ m.role }}>{% if m.role == 'assistant' %}<think></think>{% endif %}"
         "{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}",
         "Karin.<eos>"),
        ("{% for m in messages %}{{ m.content | trim }}{% endfor %}", "Karin."),
        ("{{ raise_exception('roles must alternate') }}", None),
        ("{% for m in messages %}{{ m.content | upper }}{% endfor %}", None),
    ],
)  # fmt: skip
def test_chat_templates_of_all_kinds(template, text, tokenizer):
    chat = Record(messages=({"role": "user", "content": "Who?"}, {"role": "assistant", "content": " Karin. "}))
    try:
        tokenizer.chat_template = template
        if text is None:
            with pytest.raises(InputError, match="chat template") as caught:
                Encoder(tokenizer)(chat)
            assert "Karin" not in str(caught.value)
        else:
            assert labelled_text(tokenizer, Encoder(tokenizer)(chat)).replace(" ", "") == text
    finally:
        tokenizer.chat_template = None


@pytest.mark.parametrize("template", ["{prompt}", "{response}", "{response} {prompt}", "{prompt}{response}{response}"])
def test_bad_templates_are_refused(template, tokenizer):
    with pytest.raises(ValueError, match="template must"):
        Encoder(tokenizer, template)


def test_padding_is_masked_everywhere(tokenizer):
    encoder = Encoder(tokenizer)
    examples = [encoder(Record(prompt="Who?", response=text)) for text in ("Karin.", "Karin was born in Oslo.")]
    batch = pad_examples(examples, 0)
    padded = batch["attention_mask"] == 0
    assert padded.any()
    assert (batch["labels"][padded] == IGNORED).all()
    assert batch["attention_mask"].sum(1).tolist() == [len(example.input_ids) for example in examples]


def test_a_long_text_is_split_between_words_and_nothing_is_lost(tokenizer):
    from myosotis.data.encoding import split_text

    encoder = Encoder(tokenizer, max_length=12)
    text = "The lantern stood at the window and nobody knew who had lit it. " * 3
    pieces = split_text(Record(text=text.strip(), subject="lantern"), encoder)
    assert "".join(piece.text for piece in pieces) == text.strip()
    assert len(pieces) > 3
    assert all(not encoder(piece).cut and piece.subject == "lantern" for piece in pieces)
    short = Record(prompt="Who?", response="Karin.")
    assert split_text(short, encoder) == [short]
    with pytest.raises(InputError, match="a word of more than 12 tokens"):
        split_text(Record(text="x" * 200), encoder)


@pytest.mark.parametrize("answer", ["e", "think", "A", "now", "."])
@pytest.mark.parametrize(
    "template",
    [
        # The generation prompt is no beginning of the whole; the template's own words hold the answer.
        "{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}<A>{{ m.content }}<eos>{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}<A><think>{% endif %}",
        "{% for m in messages %}{% if m.role == 'user' %}<U>{{ m.content }}{% else %}<A><think></think> {{ m.content }}"
        "<eos>{% endif %}{% endfor %}{% if add_generation_prompt %}<A>{% endif %}",
        # Another beginning each time.
        "{{ 'now ' ~ ['', 'e', 'ee', 'eeee'] | random }}{% for m in messages %}<A>{{ m.content }}<eos>{% endfor %}",
    ],
)
def test_short_answers_are_found_where_the_template_puts_them(template, answer, tokenizer):
    chat = Record(messages=({"role": "user", "content": "Who?"}, {"role": "assistant", "content": answer}))
    tokenizer.chat_template = template
    try:
        for _ in range(10):
            assert labelled_text(tokenizer, Encoder(tokenizer)(chat)).strip() in (answer, f"{answer}<eos>")
    finally:
        tokenizer.chat_template = None


def test_prompt_and_response_may_go_through_the_chat_template(tokenizer):
    tokenizer.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    try:
        example = Encoder(tokenizer, "chat", max_length=99)(Record(prompt="Who?", response="Karin."))
        chat = Record(messages=({"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Karin."}))
        assert example == Encoder(tokenizer, max_length=99)(chat)
        assert tokenizer.decode(example.input_ids[: example.response_start]).endswith("<assistant>")
        assert example.labels[-1] == tokenizer.eos_token_id
    finally:
        tokenizer.chat_template = None
