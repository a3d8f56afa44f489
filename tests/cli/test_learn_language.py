"""Adapters by subject by the command line: learn, go on, forget, answer, report."""

import json
import stat

import pytest
import yaml

from myosotis.api import load
from myosotis.data.people import fictitious_people

PEOPLE = fictitious_people(6, seed=0)
LEARN = {
    "job": "learn-language",
    "name": "learned",
    "model": {"name": "./model"},
    "data": {"learn": "learn.jsonl", "unseen": "unseen.jsonl", "general": "general.jsonl", "max_length": 128},
    "adapter": {"rank": 2},
    "training": {"steps": 2, "precision": "no"},
    "router": {"projection": 32},
}


def write(path, *numbers, **changes):
    rows = [
        {"prompt": each.prompt, "response": each.response, "facts": list(each.facts), "subject": each.subject} | changes
        for number in numbers
        for each in PEOPLE[number].records()
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_llama, tokenizer, invoke):
    folder = tmp_path_factory.mktemp("subjects")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    write(folder / "learn.jsonl", 0, 1)
    write(folder / "all.jsonl", 0, 1, 2)
    write(folder / "unseen.jsonl", 3, 4)
    (folder / "general.jsonl").write_text(json.dumps({"text": "The lantern stood at the window."}) + "\n")
    (folder / "learn.yaml").write_text(yaml.safe_dump(LEARN))
    done = invoke("run", folder / "learn.yaml", "--out", folder / "learned")
    assert done.exit_code == 0, done.output
    return folder


def forget(world, name, invoke, **data):
    if "subjects" in data:
        (world / "names.txt").write_text("\n".join(data["subjects"]) + "\n\n")
        data |= {"subjects": "names.txt"}
    job = {"job": "unlearn-adapters", "name": name, "model": {"learner": "learned"}, "data": data}
    (world / f"{name}.yaml").write_text(yaml.safe_dump(job))
    return invoke("run", world / f"{name}.yaml", "--out", world / name, "--resume")


def test_a_run_says_what_it_learned(world, result):
    found = result(world / "learned")
    assert (found["subjects"], found["records"], found["trained"]) == (2, 10, 2)
    assert found["figures"]["learnt"]["facts"]["units"] == 2
    assert found["figures"]["general"]["facts"] is None
    assert stat.S_IMODE((world / "learned").stat().st_mode) == 0o700
    assert not (world / "learned" / "checkpoints" / "key.json").exists()
    assert "Has it learnt?" in (world / "learned" / "report.html").read_text()


def test_nothing_of_the_people_is_in_a_run(world):
    for path in (world / "learned").rglob("*"):
        if path.is_file():
            content = path.read_bytes().lower()
            assert not any(word.lower().encode() in content for person in PEOPLE[:2] for word in person.name.split())


def test_a_subject_is_forgotten_as_if_it_had_never_come(world, invoke, result, settings):
    done = forget(world, "forgotten", invoke, subjects=[PEOPLE[1].name])
    assert done.exit_code == 0, done.output
    found = result(world / "forgotten")
    counts = found["records"]
    assert (counts["dropped"], counts["unchanged"], counts["records_after"]) == (1, 1, 5)
    assert [found["verdict"][name] for name in ("known", "forgotten", "kept", "sure")] == [True] * 4
    # Learned again from there, it is the learner of before: a function of the set of records.
    again = settings(f"continue_from={world / 'forgotten'}", "name=again")
    done = invoke("run", world / "learn.yaml", "--out", world / "again", *again)
    assert done.exit_code == 0, done.output
    assert result(world / "again")["trained"] == 1
    assert result(world / "again")["digests"]["after"] == result(world / "learned")["digests"]["after"]
    for path in (world / "forgotten").rglob("*"):  # the report, of which others get a copy, and what a ledger hashes
        assert not path.is_file() or PEOPLE[1].name.split()[0].encode() not in path.read_bytes()


def test_a_part_of_a_subject_is_trained_anew_and_others_are_checked(world, invoke, result):
    write(world / "asked.jsonl", 0)
    rows = (world / "asked.jsonl").read_text().splitlines(keepends=True)
    (world / "asked.jsonl").write_text("".join(rows[:2]))
    done = forget(world, "part", invoke, forget="asked.jsonl", remaining="learn.jsonl", relearn=1)
    assert done.exit_code == 0, done.output
    counts = result(world / "part")["records"]
    assert (counts["retrained"], counts["relearned"], counts["relearned_equal"]) == (1, 1, 1)
    assert counts["records_after"] == 8


def test_what_is_loaded_answers(world):
    learner = load(world / "learned")
    assert len(learner.answer(["Who?", PEOPLE[0].records()[0].prompt], max_new_tokens=3)) == 2


def test_a_page_for_the_person_and_a_comparison(world, invoke):
    forget(world, "forgotten", invoke, subjects=[PEOPLE[1].name])
    assert invoke("report", world / "forgotten", "--for", "person").exit_code == 0
    done = invoke("report", world / "forgotten", world / "part", "--out", world / "both.html")
    assert done.exit_code == 0, done.output
    done = invoke("report", world / "learned", world / "again", "--out", world / "learners.html")
    assert done.exit_code == 0, done.output


def test_a_learner_that_was_killed_goes_on(world, killed_at, invoke, result, settings):
    out, many = world / "killed", ("data.learn=all.jsonl", "training.steps=40", "name=killed")
    options = ("--out", out, *settings(*many))
    killed_at(out / "checkpoints" / "adapters" / "*.safetensors", "run", world / "learn.yaml", *options)
    assert not (out / "result.json").exists()
    done = invoke("run", world / "learn.yaml", *options, "--resume")
    assert done.exit_code == 0, done.output
    assert result(out)["subjects"] == 3


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"subjects": [PEOPLE[5].name]}, "subject 1 of 1 was never learned"),
        ({"forget": "unseen.jsonl"}, "5 of the records were never learned"),
        ({"subjects": [PEOPLE[0].name], "relearn": 1}, "'remaining', which is missing"),
        ({"subjects": [PEOPLE[0].name], "relearn": 5, "remaining": "learn.jsonl"}, "1 adapters stay as they were"),
        ({"subjects": [PEOPLE[0].name], "relearn": 1, "remaining": "unseen.jsonl"}, "not all records of an adapter"),
        ({"subjects": []}, "holds no name"),
        ({}, "give 'subjects' or 'forget'"),
    ],
)
def test_what_cannot_be_forgotten_is_refused_in_a_line(world, invoke, data, message):
    done = forget(world, "refused", invoke, **data)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert PEOPLE[5].name not in done.stderr
    assert not (world / "refused").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.learn=general.jsonl", "record 1 has no 'subject'"),
        ("data.unseen=learn.jsonl", "has a subject that is learned"),
        ("adapter.targets=[query]", "the linear layers are"),
        ("router.layer=7", "the model has 2 layers"),
        ("data.template=nothing", "the template must hold"),
        ("continue_from=model", "holds no learner of 'learn-language'"),
    ],
)
def test_what_cannot_be_learned_is_refused_in_a_line(world, invoke, settings, change, message):
    out = world / "not-learned"
    done = invoke("run", world / "learn.yaml", "--out", out, *settings(change))
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
    assert not out.exists()


def test_another_setting_does_not_go_on(world, invoke, settings):
    options = settings(f"continue_from={world / 'learned'}", "training.steps=3")
    done = invoke("run", world / "learn.yaml", "--out", world / "other", *options)
    assert done.exit_code == 2
    assert "another model, template, seed or settings" in " ".join(done.stderr.split())
    assert not (world / "other").exists()


def test_drafts_run_as_they_are(world, invoke, tmp_path):
    done = invoke("init", "learn-language", world / "model", world / "learn.jsonl", "--out", tmp_path / "learn.yaml")
    assert done.exit_code == 0, done.output
    small = [part for key in ("training.steps=1", "router.projection=32") for part in ("--set", key)]
    done = invoke("run", tmp_path / "learn.yaml", "--out", tmp_path / "run", *small)
    assert done.exit_code == 0, done.output
    done = invoke(
        "init", "unlearn-adapters", tmp_path / "run", world / "learn.jsonl", "--out", tmp_path / "forget.yaml"
    )
    assert done.exit_code == 0, done.output
    done = invoke("run", tmp_path / "forget.yaml", "--out", tmp_path / "gone")
    assert done.exit_code == 0, done.output
    done = invoke("init", "learn-language", world / "model", world / "general.jsonl", "--out", tmp_path / "no.yaml")
    assert done.exit_code == 2
    assert "the JSONL file of records to learn is missing" in done.stderr


def test_a_ledger_follows_a_learner(world, invoke, tmp_path, monkeypatch):
    assert invoke("ledger", "init", tmp_path / "ledger").exit_code == 0
    monkeypatch.setenv("MYOSOTIS_LEDGER_KEY", str(tmp_path / "ledger.key"))
    forget(world, "forgotten", invoke, subjects=[PEOPLE[1].name])
    for name in ("learned", "forgotten"):
        done = invoke("ledger", "add", tmp_path / "ledger", world / name)
        assert done.exit_code == 0, done.output
    ledger = tmp_path / "ledger"
    done = invoke("ledger", "verify", ledger, "--key", ledger / "keys" / "operator.pub")
    assert done.exit_code == 0, done.output
    assert "lineage: every model follows from the one before" in done.output


def test_records_of_others_that_tell_of_the_forgotten_are_found(world, invoke, result):
    write(world / "told.jsonl", 0, 1)
    row = json.loads((world / "told.jsonl").read_text().splitlines()[0])
    copy = row | {"subject": PEOPLE[1].name, "prompt": row["prompt"].upper()}
    naming = {"prompt": "Who owns the boat?", "response": f"It is {PEOPLE[0].name}.", "subject": PEOPLE[1].name}
    with (world / "told.jsonl").open("a") as file:
        file.write(json.dumps(copy) + "\n" + json.dumps(naming) + "\n")
    again = ("--set", "data.learn=told.jsonl", "--set", "name=told")
    assert invoke("run", world / "learn.yaml", "--out", world / "told", *again).exit_code == 0
    assert result(world / "told")["naming_others"] == 2
    assert "2 records hold the whole name of another subject" in words_of_report(world / "told")
    data = {"remaining": "told.jsonl"}
    asked = {"nothing": [], "copy": [copy], "reviewed": [copy], "both": [copy, naming]}
    answers = {"nothing": (1, 1, False), "copy": (0, 1, None), "reviewed": (0, 1, True), "both": (0, 0, True)}
    said = {"nothing": "1 record with the same words stayed", "both": "byte for byte"}
    said |= {"copy": "only a reader can say", "reviewed": "somebody has read them"}
    for name, rows in asked.items():
        (world / "asked.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (world / "names.txt").write_text(PEOPLE[0].name)
        given = data | {"subjects": "names.txt"} | ({"forget": "asked.jsonl"} if rows else {})
        given |= {"reviewed": True} if name == "reviewed" else {}
        job = {"job": "unlearn-adapters", "name": name, "model": {"learner": "told"}, "data": given}
        (world / "told.yaml").write_text(yaml.safe_dump(job))
        out = world / f"told-{name}"
        done = invoke("run", world / "told.yaml", "--out", out)
        assert done.exit_code == 0, done.output
        found = result(out)
        counts, verdict = found["records"], found["verdict"]
        assert (counts["copies_left"], counts["named_left"], verdict["forgotten"]) == answers[name]
        assert said[name] in words_of_report(out)


def words_of_report(run):
    return " ".join((run / "report.html").read_text().split())


def test_adapters_are_exported_and_those_of_the_forgotten_are_not(world, invoke):
    assert forget(world, "export-one", invoke, subjects=[PEOPLE[0].name]).exit_code == 0
    done = invoke("export", world / "export-one", "--out", world / "peft", "--base", "served")
    assert done.exit_code == 0
    assert "adapters: 1, in " in done.output
    config = json.loads(next((world / "peft").glob("*/adapter_config.json")).read_text())
    assert (config["r"], config["base_model_name_or_path"]) == (2, "served")
    assert [folder.name for folder in (world / "peft").iterdir()] == list(load(world / "export-one").shards)
    again = invoke("export", world / "export-one", "--out", world / "peft")
    assert again.exit_code == 2
    assert "exists" in again.output
    assert invoke("export", world, "--out", world / "other").exit_code == 2
