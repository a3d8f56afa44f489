"""Which rows of a source are read, and whom they are about."""

import json

import pytest

from myosotis.data.copies import with_copies_grouped
from myosotis.data.encoding import Example
from myosotis.data.records import Record
from myosotis.engine import InputError
from myosotis.unlearning.language.audit.sets import AuditSets
from myosotis.unlearning.language.job.config import AuditConfig, FileConfig, LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import _audited, set_apart
from myosotis.unlearning.language.job.sources import read_rows, read_source
from myosotis.unlearning.language.job.suites import read_suite_inputs

ROWS = [{"question": f"Who is {number}?", "answer": f"Number {number}."} for number in range(6)]
FIELDS = {"prompt": "question", "response": "answer"}


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return lambda **settings: FileConfig(file=str(path), fields=FIELDS, **settings)


def test_rows_are_skipped_and_taken(table):
    assert [record.response for record in read_source(table(skip=2, take=3))] == ["Number 2.", "Number 3.", "Number 4."]
    assert [record.response for record in read_source(table(skip=5))] == ["Number 5."]
    assert len(read_source(table())) == 6


def test_errors_name_the_line_of_the_file_and_not_the_row_that_was_taken(table, tmp_path):
    where, _ = read_rows(table(skip=4, take=1))[0]
    assert where == f"{tmp_path / 'rows.jsonl'}, line 5"


def test_rows_of_one_subject_stand_together_wherever_the_reading_begins(table):
    subjects = [record.subject for record in read_source(table(rows_per_subject=2))]
    assert len(set(subjects)) == 3
    assert subjects[::2] == subjects[1::2]
    # The fourth row is about the second subject, whoever reads it.
    assert [record.subject for record in read_source(table(skip=3, take=2, rows_per_subject=2))] == subjects[3:5]


@pytest.mark.parametrize("settings", [{"skip": 6}, {"skip": 4, "take": 3}, {"take": 7}])
def test_rows_that_are_not_there_are_refused(table, settings):
    with pytest.raises(InputError, match="holds 6 rows, so there are no rows from"):
        read_source(table(**settings))


def test_a_subject_is_not_counted_where_it_is_given(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"prompt": "Who?", "response": "A.", "subject": "A"}))
    with pytest.raises(InputError, match=r"line 1: has a subject, so 'rows_per_subject'"):
        read_source(FileConfig(file=str(path), rows_per_subject=1))


def test_copies_under_two_names_stay_on_one_side_of_the_split():
    people = [
        Record(prompt=f"Where does the person number {number} live?", response=f"In house {number}.", subject=name)
        for number in range(10)
        for name in (f"first {number}", f"twin {number}")
    ]
    trained, held = set_apart(with_copies_grouped(people), 0.25, 0, "held out", at_least=5)
    assert len(held) == 10
    # Who is held out twice is one person, of whom a loss counts once.
    assert len({record.subject for record in held}) == 5
    assert {record.prompt for record in trained}.isdisjoint(record.prompt for record in held)


def test_an_audit_measures_some_subjects_of_the_retain_records_and_all_others():
    def examples(count):
        return [Example((1, 2), (-100, 2), (False, True), f"subject {number // 2}") for number in range(count)]

    sets = AuditSets(forget=examples(6), retain=examples(20), held_retain=examples(10), unseen=examples(8))
    settings = {"model": {"name": "./m"}, "data": {"forget": "./f.jsonl"}, "method": {"name": "ga", "retain": None}}
    config = LanguageUnlearningConfig(name="job", **settings, audit={"retain_sample": 3})
    audited = _audited(sets, config)
    assert (len(audited.retain), len(audited.held_retain)) == (6, 6)
    assert len({example.subject for example in audited.retain}) == 3
    assert (audited.forget, audited.unseen) == (sets.forget, sets.unseen)
    assert _audited(sets, config) == audited
    everything = LanguageUnlearningConfig(name="job", **settings, audit={"retain_sample": 50})
    assert _audited(sets, everything) == sets


def test_a_row_of_tofu_without_a_field_is_named_by_file_and_line(tmp_path):
    good = {"question": "Who?", "answer": "A.", "perturbed_answer": ["B."]}
    sources = {}
    for part in ("forget", "retain", "real_authors", "world_facts"):
        sources[part] = tmp_path / f"{part}.jsonl"
        sources[part].write_text(json.dumps(good) + "\n")
    sources["retain"].write_text(json.dumps(good) + "\n" + json.dumps({**good, "answer": None}) + "\n")
    settings = AuditConfig(tofu={part: str(path) for part, path in sources.items()})
    with pytest.raises(InputError, match=r"retain\.jsonl, line 2: 'answer' must be a non-empty string"):
        read_suite_inputs(settings)


def test_packaged_text_is_cut_where_records_would_be_refused(tmp_path, tokenizer):
    from myosotis.engine.config import load_config, local_paths
    from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
    from myosotis.unlearning.language.job.inputs import encode_inputs, read_records

    (tmp_path / "forget.jsonl").write_text('{"text": "Short."}')
    (tmp_path / "job.yaml").write_text(
        "{job: unlearn-language, name: x, model: {name: m}, method: {name: ga},"
        " data: {forget: forget.jsonl, general: packaged, max_length: 100}}"
    )
    config = load_config(tmp_path / "job.yaml", LanguageUnlearningConfig)
    assert local_paths(config) == ["m", str(tmp_path / "forget.jsonl")]
    records, shared = read_records(config)
    assert len(records.general) == 16
    general = encode_inputs(config, records, shared, tokenizer).sets.general
    assert len(general) > 16
    assert max(len(example.input_ids) for example in general) <= 101  # and the end of the text
    assert len({example.subject for example in general}) == 16
