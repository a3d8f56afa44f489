"""From a letter to an answer, by typing what the screen says."""

import json
import shlex

import pytest
import yaml

from myosotis.data.people import fictitious_people

PEOPLE = fictitious_people(5, seed=0)


@pytest.fixture(scope="module")
def world(tmp_path_factory, tiny_llama, tokenizer, invoke):
    folder = tmp_path_factory.mktemp("desk")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    for name, people in (("facts", PEOPLE[:3]), ("unseen", PEOPLE[3:])):
        rows = [vars(record) | {"text": None} for person in people for record in person.records()]
        kept = ("prompt", "response", "facts", "subject")
        (folder / f"{name}.jsonl").write_text("".join(json.dumps({k: row[k] for k in kept}) + "\n" for row in rows))
    learn = {
        "job": "learn-language",
        "name": "learned",
        "model": {"name": "./model"},
        "data": {"learn": "facts.jsonl", "unseen": "unseen.jsonl", "max_length": 128},
        "adapter": {"rank": 2},
        "training": {"steps": 2, "precision": "no"},
        "router": {"projection": 32},
    }
    (folder / "learn.yaml").write_text(yaml.safe_dump(learn))
    done = invoke("run", folder / "learn.yaml", "--out", folder / "learned")
    assert done.exit_code == 0, done.output
    forget = {"job": "unlearn-adapters", "name": "f", "model": {"learner": "learned"}}
    (folder / "forget.yaml").write_text(yaml.safe_dump(forget))
    return folder


def letter(world, **changes):
    content = {
        "id": "r-1",
        "received": "2026-11-20",
        "person": PEOPLE[1].name,
        "language": "de",
        "sources": ["facts.jsonl"],
        "job": "forget.yaml",
    }
    path = world / "letter.yaml"
    path.write_text(yaml.safe_dump({**content, **changes}))
    return path


def next_of(done):
    """The words of the command that the screen says is next."""
    line = next(line for line in done.output.splitlines() if "next: myosotis " in line)
    return shlex.split(line.partition("next: myosotis ")[2].partition(", e.g.")[0])


def test_what_the_screen_says_leads_to_an_answer(world, invoke):
    desk = world / "desk"
    done = invoke("requests", "add", letter(world), "--desk", desk)
    assert done.exit_code == 0, done.output
    assert "1. [?] facts.jsonl, line 6: its subject has this name" in done.output
    assert f"{PEOPLE[1].records()[0].prompt} {PEOPLE[1].records()[0].response}" in done.output
    words = next_of(done)
    assert words[:3] == ["requests", "review", "r-1"]
    early = invoke("requests", "run", "r-1", "--desk", desk)
    assert early.exit_code == 2
    assert "are not reviewed" in early.output
    done = invoke(*["subject" if word == "WHICH" else word for word in words][:-2])
    assert done.exit_code == 0, done.output
    assert "1. [forget]" in done.output
    # A decision that changes before the run counts, with --resume too.
    assert invoke("requests", "review", "r-1", "--keep", "5", "--desk", desk).exit_code == 0
    assert invoke("requests", "review", "r-1", "--forget", "all", "--desk", desk).exit_code == 0
    done = invoke(*next_of(done), "--resume")
    assert done.exit_code == 0, done.output
    done = invoke(*next_of(done))
    assert done.exit_code == 0, done.output
    assert f"{PEOPLE[1].name}," in done.output
    assert "Was übrig ist, ist genau das, was es ohne sie wäre." in done.output
    result = json.loads((desk / "r-1" / "run" / "result.json").read_text())
    assert (result["records"]["dropped"], result["request"]["id"]) == (1, "r-1")
    for path in (desk / "r-1" / "run").rglob("*"):
        assert not path.is_file() or PEOPLE[1].name.split()[0].encode() not in path.read_bytes(), path
    done = invoke("requests", "clear", "r-1", "--desk", desk)
    assert done.exit_code == 0, done.output
    assert not (desk / "r-1" / "forget.jsonl").exists()


def test_the_next_request_goes_on_from_the_last_one(world, invoke):
    desk = world / "desk"
    for words in (
        ("add", letter(world, id="r-2", person=PEOPLE[0].name)),
        ("review", "r-2", "--forget", "subject", "--keep", "part"),
        ("run", "r-2"),
    ):
        done = invoke("requests", *words, "--desk", desk)
        assert done.exit_code == 0, done.output
    assert "starting from the model of request r-1" in done.output
    result = json.loads((desk / "r-2" / "run" / "result.json").read_text())
    assert (result["records"]["dropped"], result["records"]["records_after"]) == (1, 5)


def test_the_list_says_what_is_late(world, invoke):
    desk = world / "late"
    invoke("requests", "add", letter(world, id="old", received="2020-01-31"), "--desk", desk)
    done = invoke("requests", "list", "--desk", desk)
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "days late" in said
    assert "2020-02-29" in said
    cleared = invoke("requests", "clear", "old", "--desk", desk)
    assert cleared.exit_code == 2
    assert "not answered yet" in cleared.output


def test_what_is_wrong_is_said_in_one_line(world, invoke):
    for words in (
        ("list", "--desk", world / "nowhere"),
        ("add", world / "nowhere.yaml"),
        ("review", "r-9", "--desk", world / "desk"),
        ("answer", "old", "--desk", world / "late"),
        ("review", "old", "--forget", "x", "--desk", world / "late"),
    ):
        done = invoke("requests", *words)
        assert (done.exit_code, len(done.output.strip().splitlines())) == (2, 1), done.output
    assert not (world / "nowhere").exists()


def test_numbers_are_those_on_the_screen_or_nothing_is_decided(world, invoke):
    """A file that has grown would move them."""
    desk, facts = world / "moved", world / "moved.jsonl"
    facts.write_text((world / "facts.jsonl").read_text())
    invoke("requests", "add", letter(world, id="r", sources=["moved.jsonl"]), "--desk", desk)
    first = json.loads(facts.read_text().splitlines()[5])
    facts.write_text(json.dumps({**first, "prompt": f"Who is {PEOPLE[1].name}?"}) + "\n" + facts.read_text())
    done = invoke("requests", "review", "r", "--forget", "1", "--desk", desk)
    assert done.exit_code == 2
    assert "have changed since" in done.output
    assert '"forget": null' in (desk / "r" / "request.json").read_text()
    done = invoke("requests", "search", "r", "--desk", desk)
    assert done.exit_code == 0, done.output
    assert "1. [?] moved.jsonl, line 1" in done.output
    assert invoke("requests", "review", "r", "--forget", "1", "--desk", desk).exit_code == 0


def test_a_language_without_a_template_is_said_at_once(world, invoke):
    done = invoke("requests", "add", letter(world, id="eo", language="eo"), "--desk", world / "eo")
    assert done.exit_code == 0, done.output
    assert "no template for an answer in 'eo'" in done.output
