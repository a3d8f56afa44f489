"""What a check says about records: their forms, their activations, and no word of what is to be forgotten."""

import json

import pytest
import torch

from myosotis.data.encoding import Encoder, Example
from myosotis.data.people import fictitious_people
from myosotis.unlearning.language.job import overlap
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.overlap import overlap_lines, response_states


def rows_of(people, facts):
    return [
        {"prompt": row.prompt, "response": row.response, "facts": list(row.facts), "subject": row.subject}
        for person in people
        for row in person.records()[:facts]
    ]


@pytest.fixture
def config(tmp_path):
    """Write records and return the configuration of a job on them."""

    def config(forget, retain):
        data = {}
        for name, rows in (("forget", forget), ("retain", retain)):
            if rows:
                data[name] = str(tmp_path / f"{name}.jsonl")
                (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        values = {"name": "x", "model": {"name": "tiny"}, "data": data, "method": {"name": "ga"}}
        return LanguageUnlearningConfig.model_validate(values)

    return config


@pytest.fixture(scope="module")
def people():
    return fictitious_people(8, seed=2)


def test_forms_are_counted_and_named_by_number(config, people, tokenizer, tiny_model):
    own, others = rows_of(people[:2], 2), rows_of(people[2:], 3)
    lines = overlap_lines(config(own, others), tokenizer, tiny_model)
    assert lines[0].startswith("overlap of texts: 12 of 18 records to retain have the form of a record to forget")
    assert lines[1].endswith("records of such a form lost most: records 1, 2, 4, 5, 7, 8, 10, 11, ...")
    assert any(line.startswith("overlap of activations (answers, block 1 of the model): cosine") for line in lines)
    assert not any("drawn by the seed" in line or "no record to retain has" in line for line in lines)


def test_no_word_of_a_record_to_forget_is_printed(config, people, tokenizer, llama):
    own, others = rows_of(people[:2], 5), rows_of(people[2:], 5)
    text = " ".join(overlap_lines(config(own, others), tokenizer, llama))
    for row in own:
        assert not any(part in text for part in (*row["subject"].split(), *row["facts"], row["prompt"]))


def test_forms_that_nothing_retained_has_are_counted(config, people, tokenizer, llama):
    lines = overlap_lines(config(rows_of(people[:2], 5), rows_of(people[2:], 3)), tokenizer, llama)
    assert "  no record to retain has the form of 4 of those to forget" in lines


def test_prose_without_a_subject(config, tokenizer, llama):
    own = [{"text": "Nobody knew who had lit the lantern at the window."}]
    others = [{"text": f"The train to town {number} was late again."} for number in range(4)]
    lines = overlap_lines(config(own, others), tokenizer, llama)
    assert lines[0].startswith("overlap of texts: 0 of 4 records")
    assert "0 others that of its answer or 5 words in a row" in lines[0]
    assert lines[1].startswith("overlap of activations")


def test_passages_are_named_and_nothing_is_said_of_what_they_lose(config, tokenizer, llama):
    own = [{"text": "Nobody knew who had lit the lantern at the window."}]
    others = [{"text": "It rained."}, {"text": "Nobody knew who had lit the lamp."}]
    lines = overlap_lines(config(own, others), tokenizer, llama)
    assert lines[1] == "  these others: record 2"
    assert not any("lost most" in line for line in lines)


def test_without_records_to_retain_it_says_so(config, people, tokenizer, llama):
    (line,) = overlap_lines(config(rows_of(people[:1], 2), []), tokenizer, llama)
    assert "no records to retain are given" in line


def test_one_record_of_each(config, people, tokenizer, llama):
    lines = overlap_lines(config(rows_of(people[:1], 1), rows_of(people[1:2], 1)), tokenizer, llama)
    assert "1 of 1 records" in lines[0]
    assert any("there is nothing to compare it with" in line for line in lines)


def test_large_sets_are_sampled_by_the_seed(config, people, tokenizer, llama, monkeypatch):
    monkeypatch.setattr(overlap, "_MOST", 9)
    job = config(rows_of(people[:2], 5), rows_of(people[2:], 5))
    lines = overlap_lines(job, tokenizer, llama)
    assert any("drawn by the seed: 9 of 10 to forget, 9 of 30 to retain" in line for line in lines)
    assert lines == overlap_lines(job, tokenizer, llama)
    assert lines != overlap_lines(job.model_copy(update={"seed": 1}), tokenizer, llama)


def test_a_model_that_is_too_large_for_a_check_is_not_asked(config, people, tokenizer, llama, monkeypatch):
    monkeypatch.setattr(overlap, "_WORK", {"cpu": 1e6})
    lines = overlap_lines(config(rows_of(people[:2], 5), rows_of(people[2:], 5)), tokenizer, llama)
    assert lines[0].startswith("overlap of texts: 30 of 30")
    assert lines[-1] == "overlap of activations: not measured: too slow for 0.0 million weights here"


def test_weights_that_are_not_finite_are_no_fault_of_the_check(config, people, tokenizer, llama):
    llama.get_input_embeddings().weight.data[:] = torch.nan
    lines = overlap_lines(config(rows_of(people[:1], 2), rows_of(people[1:], 2)), tokenizer, llama)
    assert lines[-1] == "overlap of activations: not measured: a feature is not finite"


def test_states_are_means_over_the_labelled_tokens_after_the_first(tiny_model):
    examples = [
        Example((5, 6, 7, 8), (-100, -100, 7, 8), (False,) * 4),
        Example((9, 4, 3), (9, 4, 3), (False,) * 3),
    ]
    states = response_states(tiny_model, examples, 1)
    for example, own, positions in zip(examples, states, ([2, 3], [1, 2]), strict=True):
        with torch.no_grad():
            hidden = tiny_model(torch.tensor([example.input_ids]), output_hidden_states=True).hidden_states[1][0]
        assert torch.allclose(own, hidden[positions].mean(0), atol=1e-5)


def test_the_model_is_left_as_it_was(people, tokenizer, llama):
    llama.train()
    encoder = Encoder(tokenizer)
    response_states(llama, [encoder(row) for row in people[0].records()], 1)
    assert llama.training
    assert all(parameter.grad is None for parameter in llama.parameters())


def test_who_shares_a_word_of_a_name_is_named_by_number(config, tokenizer, llama):
    def row(subject):
        return {"prompt": f"Where does {subject} live?", "response": f"{subject} lives in Oslo.", "subject": subject}

    names = ("Cai Moss", "ann Marsh", "Annabel Ross", "Ann Moor", "Ivo Pell")
    lines = overlap_lines(config([row("Ann Moor")], [row(name) for name in names]), tokenizer, llama)
    (said,) = (line for line in lines if line.startswith("overlap of names"))
    assert said.endswith("of 1 of 5 records to retain share a word of their name with one to forget: record 2")
    lines = overlap_lines(config([row("Ann Moor")], [row("Ivo Pell")]), tokenizer, llama)
    assert not any("overlap of names" in line for line in lines)
    numbered = [{**row("Ann Moor"), "subject": f"row, subject {number}"} for number in range(2)]
    lines = overlap_lines(config(numbered[:1], numbered[1:]), tokenizer, llama)
    assert not any("overlap of names" in line for line in lines)
