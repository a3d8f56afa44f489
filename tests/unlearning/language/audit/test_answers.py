"""What a model answers: extraction strength, exact memorisation, recall."""

import pytest
import torch
from hypothesis import given, strategies as st

from myosotis.data.encoding import IGNORED, Encoder, pad_examples
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.engine.errors import DivergedError
from myosotis.unlearning.language import answer_metrics, extraction_strength, greedy_answers, memorization, perplexity
from myosotis.unlearning.language.audit import answers
from myosotis.unlearning.language.audit.answers import rouge_l_recall


def strength(choices, labels):
    return extraction_strength(torch.tensor([choices]), torch.tensor([labels])).item()


def test_extraction_strength_numbers():
    assert strength([1, 2, 9], [1, 2, 3]) == 0  # released code: 1/3
    assert strength([9, 2, 3], [1, 2, 3]) == pytest.approx(2 / 3)
    assert strength([1, 2, 3], [1, 2, 3]) == 1
    assert strength([1, 9, 3], [1, 2, 3]) == pytest.approx(1 / 3)
    # The last labelled token counts, whatever it is; released code drops it as an end-of-sequence token.
    assert strength([1, 2, 9, 0], [1, 2, 3, IGNORED]) == 0
    assert strength([5, 1, 2], [IGNORED, 1, 2]) == 1


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_extraction_strength_is_the_longest_right_ending(tokens):
    labels = [7 if labelled else IGNORED for labelled, _ in tokens]
    choices = [7 if right else 8 for _, right in tokens]
    rights = [right for labelled, right in tokens if labelled]
    if not rights:
        assert strength(choices, labels) != strength(choices, labels)  # not a number
        return
    k = next((k for k in range(len(rights)) if all(rights[k:])), len(rights))
    assert strength(choices, labels) == pytest.approx(1 - k / len(rights))


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_measures_from_labelled_positions_are_those_of_the_whole_sequence(make, tokenizer):
    model = make()
    encoder = Encoder(tokenizer, max_length=120)
    records = [record for person in fictitious_people(2, seed=2) for record in person.records()[:3]]
    examples = [encoder(record) for record in [*records, Record(text="The lantern stood at the window.")]]
    values = answer_metrics(model, examples, batch_size=4)
    for place, example in enumerate(examples):
        batch = pad_examples([example], 0)
        with torch.no_grad():
            logits = model(input_ids=batch["input_ids"]).logits[0, :-1]
        labels, facts = torch.tensor(example.labels[1:]), torch.tensor(example.facts[1:])
        labelled = labels != IGNORED
        log_p = logits.log_softmax(dim=-1)
        right = logits.argmax(dim=-1) == labels
        nll = -log_p[labelled].gather(1, labels[labelled, None]).mean().item()
        expected = {
            "nll": nll,
            "token_accuracy": right[labelled].float().mean().item(),
            "fact_accuracy": right[facts].float().mean().item(),
            "entropy": -(log_p.exp() * log_p).sum(dim=-1)[labelled].mean().item(),
            "top_probability": log_p.max(dim=-1).values.exp()[labelled].mean().item(),
        }
        for name, value in expected.items():
            assert values[name][place].item() == pytest.approx(value, rel=1e-4, abs=1e-6), name


@given(st.integers(1, 5), st.integers(0, 100))
def test_values_do_not_depend_on_how_many_records_are_looked_at_together(rows, seed):
    stream = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 4, 7, generator=stream)
    labels = torch.randint(0, 7, (5, 4), generator=stream)
    labels[torch.rand(5, 4, generator=stream) < 0.3] = IGNORED
    labels[:, 0] = 3
    facts = (torch.rand(5, 4, generator=stream) < 0.5) & (labels != IGNORED)
    whole = answers._answer_values(logits, labels, facts)
    parts = [answers._values_of_rows(*(x[i : i + rows] for x in (logits, labels, facts))) for i in range(0, 5, rows)]
    for name, values in whole.items():
        joined = torch.cat([part[name] for part in parts])
        torch.testing.assert_close(joined, values, rtol=1e-6, atol=1e-6, equal_nan=True)
    log_p = logits.double().log_softmax(-1)
    entropy = -(log_p.exp() * log_p).sum(-1)
    labelled = labels != IGNORED
    expected = (entropy * labelled).sum(1) / labelled.sum(1)
    torch.testing.assert_close(whole["entropy"].double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_a_model_whose_logits_are_not_finite_is_measured_by_nothing(make, wrong, tokenizer):
    examples = [Encoder(tokenizer)(record) for record in fictitious_people(1, seed=3)[0].records()]
    model = make()
    with torch.no_grad():
        model.get_output_embeddings().weight[7] = wrong
    measures = (
        lambda: answer_metrics(model, examples),
        lambda: perplexity(model, examples),
        lambda: greedy_answers(model, tokenizer, examples),
        lambda: memorization(model, [torch.tensor(example.input_ids) for example in examples], 3),
    )
    for measure in measures:
        with pytest.raises(DivergedError, match="logits are not finite"):
            measure()


def test_empty_answers_have_a_recall(tokenizer):
    examples = [Encoder(tokenizer, "{prompt} {response}")(Record(prompt="Who?", response="Karin was born in Oslo."))]
    recall = rouge_l_recall(tokenizer, examples, [""])
    assert (recall.tolist(), recall.dtype) == ([0.0], torch.float32)
