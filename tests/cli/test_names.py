"""A single person without a reference model: the same records under invented names decide."""

import json

import pytest
import yaml

from myosotis.data.people import fictitious_people
from myosotis.engine.config import load_config
from myosotis.engine.errors import InputError
from myosotis.engine.run import Run
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.job import names
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import encode_inputs, read_records
from myosotis.unlearning.language.job.names import NamedCopies
from myosotis.unlearning.language.job.report import describe
from myosotis.unlearning.language.job.result import LanguageResult

PEOPLE = fictitious_people(8, seed=5)


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory, tiny_llama, write_jsonl, person_rows):
    place = tmp_path_factory.mktemp("names")
    tiny_llama().save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    write_jsonl(place / "forget.jsonl", person_rows(PEOPLE[:1]))
    write_jsonl(place / "retain.jsonl", person_rows(PEOPLE[1:]))
    return place


def job(place, name, **changes):
    config = {
        "job": "unlearn-language",
        "name": name,
        "model": {"name": "./model"},
        "data": {"forget": "forget.jsonl", "retain": "retain.jsonl"},
        "reference": "names",
        "method": {"name": "gd"},
        "training": {"epochs": 1, "batch_size": 5, "learning_rate": 1e-2},
        "audit": {"n": 2, "max_new_tokens": 4, "samples": 2},
    }
    path = place / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**config, **changes}))
    return path


@pytest.fixture(scope="module")
def finished(place, invoke):
    done = invoke("run", job(place, "one"), "--out", place / "one")
    assert done.exit_code == 0, done.output
    return place / "one"


@pytest.fixture(scope="module")
def copies(place):
    config = load_config(job(place, "copies"), LanguageUnlearningConfig)
    _, tokenizer = load_causal_lm(str(place / "model"))
    return NamedCopies.build(config, encode_inputs(config, *read_records(config), tokenizer))


def test_the_answers_are_about_the_records(finished):
    verdict = json.loads((finished / "result.json").read_text())["verdict"]
    assert verdict["unit"] == "record"
    assert verdict["control"]["against_of"] == "the same records under invented names"
    assert verdict["control"]["value"]["units"] == 5
    assert {row["against_of"] for row in verdict["forgetting"]} == {"the same records under invented names"}
    assert all(row["against"]["count"] == 5 for row in verdict["forgetting"] if row["against"] is not None)


def test_the_level_is_the_mean_over_copies_of_each_record(finished, copies, place):
    stored = json.loads((finished / "checkpoints" / "audit-reference.json").read_text())["content"]
    assert set(stored["values"]) == {"forget"}
    model, _ = load_causal_lm(str(place / "model"))
    expected = answer_metrics(model, copies.sets.forget)["token_probability"].reshape(5, 24).double().mean(dim=1)
    assert stored["values"]["forget"]["token_probability"] == pytest.approx(expected.tolist(), rel=1e-5)


def test_the_report_says_what_the_reference_is(finished):
    document = describe(Run.read(finished))
    assert document.table.columns == ["Before", "After", "Invented names"]
    assert "asked before unlearning" in document.table.caption
    page = (finished / "report.html").read_text()
    assert not any(word in page for word in PEOPLE[0].name.split())


def test_a_second_audit_and_check_know_it(finished, place, invoke):
    again = invoke("audit", "language", finished)
    assert again.exit_code == 0, again.output
    found = json.loads((finished / "audit.json").read_text())["verdict"]
    assert found["control"] == Run.read(finished).result()["verdict"]["control"]
    checked = invoke("check", job(place, "checked"))
    assert checked.exit_code == 0, checked.output
    assert "a reference" in checked.output
    assert "'Is it forgotten?' cannot become a yes" not in checked.output


def test_a_run_that_was_interrupted_takes_the_level_that_it_had(finished, place, invoke):
    before = json.loads((finished / "result.json").read_text())
    (finished / "result.json").unlink()
    done = invoke("run", job(place, "one"), "--out", finished, "--resume")
    assert done.exit_code == 0, done.output
    assert json.loads((finished / "result.json").read_text())["verdict"] == before["verdict"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": None}, "has no 'subject'"),
        ({"prompt": "Who is it?"}, "does not occur in its question"),
        ({"text": "Plain text.", "prompt": None, "response": None, "facts": None}, "plain text"),
    ],
)
def test_records_without_a_name_to_replace_are_refused(place, invoke, write_jsonl, person_rows, change, message):
    row = {key: value for key, value in {**person_rows(PEOPLE[:1])[0], **change}.items() if value is not None}
    write_jsonl(place / "other.jsonl", [row, *person_rows(PEOPLE[:1])[1:]])
    data = {"forget": "other.jsonl", "retain": "retain.jsonl"}
    done = invoke("run", job(place, "refused", data=data), "--out", place / "refused")
    assert done.exit_code == 2
    assert "'reference: names' cannot be used" in done.output
    assert message in done.output
    assert not (place / "refused").exists()


def test_names_of_strangers_share_no_word_with_anybody(copies):
    assert copies.names == 24
    assert len(copies.sets.forget) == 5 * 24
    known = {word for person in PEOPLE for word in person.name.split()}
    drawn = [example.subject for example in copies.sets.forget]
    assert drawn[:24] == drawn[24:48]  # the same strangers for every record
    assert not known & {word for name in drawn for word in name.split()}
    assert [len(rows) for rows in copies.sets.rewordings["forget"]] == [4] * 120


def test_other_wordings_ask_about_the_stranger_too(copies, tokenizer):
    """By the old name the level would be what the model knows."""
    for example, others in zip(copies.sets.forget, copies.sets.rewordings["forget"], strict=True):
        for other in others:
            text = tokenizer.decode(other.input_ids)
            assert example.subject in text
            assert PEOPLE[0].name not in text


def test_names_that_are_somebody_s_are_not_taken_instead(monkeypatch):
    monkeypatch.setattr(names, "invented_names", lambda like, count, seed: ["Ada King", "Bo Quill", "ADA West"])
    assert names._of_nobody("Jo Li", 1, 0, {"ada"}) == ["Bo Quill"]
    with pytest.raises(InputError, match="of 3 invented names 1 share no word"):
        names._of_nobody("Jo Li", 2, 0, {"ada"})


def test_results_have_the_reference_in_their_settings(finished):
    run = Run.read(finished)
    assert run.settings()["reference"] == "names"
    assert run.result_as(LanguageResult).metrics["reference"].keys() == {"forget"}
