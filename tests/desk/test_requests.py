"""A desk from the letter to the answer, and who would get through it with too little, too much or too late."""

import datetime
import json
import stat

import pytest
import yaml
from pydantic import ValidationError

from myosotis.desk import requests
from myosotis.desk.answer import answer_text, write_answer
from myosotis.desk.index import request_lines
from myosotis.desk.letter import LANGUAGES, Letter, month_after
from myosotis.desk.requests import Request, add_request, find_request, record_filter
from myosotis.engine.errors import InputError

TODAY = datetime.date(2026, 12, 3)
PEOPLE = ("Ada Quill", "Bo Quill", "Cy Reed")
LETTER = {
    "id": "r-1",
    "received": "2026-11-20",
    "person": "Ada Quill",
    "sources": ["facts.jsonl"],
    "job": "job.yaml",
}


def rows(*people):
    return [
        {"prompt": f"Where was {name} born?", "response": f"{name} was born in {town}.", "subject": name}
        for name in people
        for town in ("Rome", "Oslo")
    ]


def write_jsonl(path, content):
    path.write_text("".join(f"{json.dumps(row)}\n" for row in content))


@pytest.fixture
def place(tmp_path):
    write_jsonl(tmp_path / "facts.jsonl", rows(*PEOPLE))
    # The subjects of an earlier request are not forgotten once more.
    job = {"job": "unlearn-adapters", "name": "forget", "model": {"learner": "learner"}, "data": {"subjects": "names"}}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    return tmp_path


def add(place, **changes):
    path = place / "letter.yaml"
    path.write_text(yaml.safe_dump({**LETTER, **changes}, allow_unicode=True))
    return add_request(place / "desk", path)


def decided(request, forget="subject", keep="part,named"):
    request = request.decided(True, record_filter(forget.split(","), request.found))
    request = request.decided(False, record_filter(keep.split(","), request.found))
    request.write()
    return request


@pytest.fixture
def finished(finished_run):
    """Give a request a run as the answer reads it."""

    def finished(request, **changes):
        finished_run(request.run, **changes)
        return request

    return finished


def test_a_request_goes_from_hand_to_hand(place, finished):
    request, hits = add(place)
    assert [hit.why for hit in hits] == ["subject", "subject", "part", "part"]
    assert (request.state, request.letter.due) == ("to review", datetime.date(2026, 12, 20))
    assert stat.S_IMODE(request.path.stat().st_mode) == 0o700
    assert stat.S_IMODE((request.path / "request.json").stat().st_mode) == 0o600
    with pytest.raises(InputError, match="4 of 4 records are not reviewed"):
        request.prepare()
    request = decided(request)
    assert Request.read(request.path) == request
    assert request.state == "to run"
    kind, path, before = request.prepare()
    assert before is None
    assert kind.name == "unlearn-adapters"
    job = yaml.safe_load(path.read_text())
    forget, rest = (request.path / name for name in ("forget.jsonl", "rest.jsonl"))
    assert [json.loads(line) for line in forget.read_text().splitlines()] == rows("Ada Quill")
    assert [json.loads(line) for line in rest.read_text().splitlines()] == rows("Bo Quill", "Cy Reed")
    assert (job["data"]["forget"], job["data"]["remaining"]) == (str(forget), str(rest))
    assert job["data"]["subjects"] is None
    assert job["model"]["learner"] == str(place / "learner")
    assert job["request"]["searched"] == ["facts.jsonl"]
    assert (job["request"]["id"], job["request"]["deadline"]) == ("r-1", "2026-12-20")
    for written in (forget, rest, path):
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    request.run.mkdir()
    assert request.state == "interrupted"
    request.run.rmdir()
    request = finished(request)
    assert request.state == "to answer"
    answer = write_answer(request, TODAY)
    request = Request.read(request.path)
    assert (request.state, request.days_left(TODAY)) == ("answered", None)
    assert "2 texts are about you" in answer.read_text()
    assert request.remove_data() == ["forget.jsonl", "rest.jsonl"]
    assert request.remove_data() == []


def test_a_copy_in_another_file_is_the_same_record(place):
    write_jsonl(place / "backup.jsonl", [dict(reversed(rows("Ada Quill")[0].items()))])
    request, _ = add(place, sources=["facts.jsonl", "backup.jsonl"])
    request = request.decided(True, record_filter(["1"], request.found))
    assert [row.forget for row in request.found] == [True, None, None, None, True]


def test_who_was_forgotten_does_not_come_back_with_the_next_request(place, finished):
    first = decided(add(place)[0])
    later, _ = add(place, id="r-2", person="Bo Quill")
    later = decided(later)
    finished(first, kind="unlearn-adapters")
    with pytest.raises(InputError, match="request r-1, which is to answer"):
        later.prepare()
    write_answer(first, TODAY)
    _, path, before = later.prepare()
    assert before == "r-1"
    assert yaml.safe_load(path.read_text())["model"]["learner"] == str(first.run)
    rest = [json.loads(line) for line in (later.path / "rest.jsonl").read_text().splitlines()]
    assert rest == rows("Cy Reed")


def test_a_run_that_did_harm_is_not_gone_on_from(place, finished):
    for number, verdict in enumerate(({}, {"kept": False}, {"forgotten": False})):
        request = decided(add(place, id=f"r-{number}")[0])
        write_answer(finished(request, finished=f"2026-12-0{number + 1}T10:00:00Z", **verdict), TODAY)
    last = decided(add(place, id="last", person="Bo Quill")[0])
    assert last.prepare()[2] == "r-0"
    # Nobody who asked is taught again, whatever came of it.
    assert "Ada" not in (last.path / "rest.jsonl").read_text()


def test_a_result_without_a_verdict_is_not_gone_on_from(place, finished):
    first = finished(decided(add(place)[0]))
    write_answer(first, TODAY)
    content = json.loads((first.run / "result.json").read_text())
    (first.run / "result.json").write_text(json.dumps({**content, "verdict": None}))
    assert decided(add(place, id="r-2", person="Bo Quill")[0]).prepare()[2] == "r-1"
    (first.run / "result.json").write_text("{")
    with pytest.raises(InputError, match="damaged"):
        Request.read(place / "desk" / "r-2").prepare()


def test_a_model_of_another_job_is_not_taken(place, finished):
    write_answer(finished(decided(add(place)[0])), TODAY)
    (place / "other.yaml").write_text((place / "job.yaml").read_text())
    assert decided(add(place, id="r-2", person="Bo Quill", job="other.yaml")[0]).prepare()[2] is None


def test_a_job_that_teaches_its_model_first_is_refused(place):
    job = "job: unlearn-language\nname: x\nmodel: {name: m}\nfine_tune: {epochs: 1}\n"
    (place / "job.yaml").write_text(job)
    with pytest.raises(InputError, match="fine_tune"):
        add(place)
    for broken in ("data: 3\n", "model: m\n"):
        (place / "job.yaml").write_text(f"job: unlearn-adapters\nname: x\n{broken}")
        with pytest.raises(InputError, match="below 'data' and below 'model'"):
            add(place)


def test_what_changes_after_the_review_is_searched_again(place):
    request = decided(add(place)[0])
    write_jsonl(place / "facts.jsonl", [*rows(*PEOPLE), {"text": "Ada Quill moved to Lima."}])
    with pytest.raises(InputError, match="changed since"):
        request.prepare()
    again, _ = request.searched_again()
    assert [row.forget for row in again.found] == [True, True, False, False, None]
    assert again.state == "to review"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "../r"}, "id"),
        ({"id": ".r"}, "id"),
        ({"person": "  "}, "person"),
        ({"subjects": []}, "subjects"),
        ({"sources": []}, "sources"),
        ({"language": "English, please"}, "language"),
        ({"deadline": "2026-11-01"}, "before 'received'"),
        ({"received": "soon"}, "received"),
        ({"sources": ["nowhere.jsonl"]}, "no such file"),
        ({"job": "nowhere.yaml"}, "nowhere.yaml"),
        ({"subject": ["Ada"]}, "subjects"),
    ],
)
def test_a_faulty_letter_leaves_nothing(place, changes, message):
    with pytest.raises(InputError, match=message):
        add(place, **changes)
    assert not (place / "desk").exists()


def test_a_job_of_another_kind_is_refused_before_the_month_has_passed(place):
    (place / "job.yaml").write_text("job: learn-classes\n")
    with pytest.raises(InputError, match="is a job 'learn-classes'"):
        add(place)
    assert not (place / "desk").exists()


def test_names_of_requests(place):
    assert add(place, id=None)[0].id == "2026-11-20-1"
    assert add(place, id=None)[0].id == "2026-11-20-2"
    assert add(place, id=datetime.date(2026, 11, 21))[0].id == "2026-11-21"
    add(place)
    with pytest.raises(InputError, match="already exists"):
        add(place)
    with pytest.raises(InputError, match=r"no request 'r-2'; there are .*r-1"):
        find_request(place / "desk", "r-2")
    with pytest.raises(InputError, match="no request"):
        find_request(place / "desk", "..")


def test_the_most_urgent_comes_first_and_what_is_answered_last(place):
    for number, received in enumerate(("2026-11-20", "2026-10-01", "2026-11-01")):
        add(place, id=f"r-{number}", received=received)
    lines = request_lines(place / "desk", TODAY)
    assert [(line.name, line.left) for line in lines] == [
        ("r-1", "32 days late"),
        ("r-2", "2 days late"),
        ("r-0", "17 days left"),
    ]
    request = find_request(place / "desk", "r-1").decided(False, lambda number, row: True)
    request.write()
    write_answer(request, TODAY)
    assert [line.name for line in request_lines(place / "desk", TODAY)] == ["r-2", "r-0", "r-1"]


def test_nobody_found_and_nobody_meant_are_answered_without_a_run(place):
    request, hits = add(place, person="Nobody Here")
    assert (hits, request.state) == ([], "to answer")
    assert "We found nothing about you" in answer_text(request, TODAY)
    with pytest.raises(InputError, match="nothing is to be forgotten"):
        request.prepare()
    other, _ = add(place, id="r-2")
    other = other.decided(False, record_filter(["all"], other.found))
    assert other.state == "to answer"
    assert "none is about you" in answer_text(other, TODAY)


def test_no_decision_after_the_run(place, finished):
    request = finished(decided(add(place)[0]))
    with pytest.raises(InputError, match="has been run"):
        request.decided(False, record_filter(["all"], request.found))
    nobody, _ = add(place, id="r-2", person="Nobody Here")
    write_answer(nobody, TODAY)
    with pytest.raises(InputError, match="has been answered"):
        Request.read(nobody.path).check_open()


def test_a_full_disk_leaves_the_name_free(place, monkeypatch):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(requests, "write_json", full)
        with pytest.raises(OSError, match="No space"):
            add(place)
    assert add(place)[0].id == "r-1"


@pytest.mark.parametrize("words", [["0"], ["5"], ["3-2"], ["x"], ["-1"], [""], ["1-"]])
def test_records_that_are_not_there_cannot_be_meant(place, words):
    request, _ = add(place)
    with pytest.raises(InputError):
        record_filter(words, request.found)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("known", [True, False, None])
@pytest.mark.parametrize("forgotten", [True, False, None])
@pytest.mark.parametrize("kept", [True, False, None])
def test_every_answer_can_be_said_in_every_language(place, language, known, forgotten, kept, finished):
    request = decided(add(place, language=language)[0])
    finished(request, known=known, forgotten=forgotten, kept=kept)
    text = answer_text(request, TODAY)
    assert "Ada Quill" in text
    assert "r-1" in text
    assert "2026-12-01" in text
    assert "{" not in text


def test_an_answer_claims_no_more_than_the_verdict(place, finished):
    request = finished(decided(add(place)[0]), known=None, forgotten=True)
    text = answer_text(request, TODAY)
    assert "That could not be decided with the tests that we made." in text
    assert "gives away no more" not in text


@pytest.mark.parametrize(("works", "said"), [(True, "Yes."), (False, "Worse than before"), (None, "not be decided")])
def test_a_model_that_stutters_does_not_work_for_everything_else(place, works, said, finished):
    text = answer_text(finished(decided(add(place)[0]), works=works), TODAY)
    assert said in text.partition("everything else?")[2].partition("\n")[0]


def test_exact_forgetting_is_said_as_such(place, finished):
    text = answer_text(finished(decided(add(place)[0]), kind="unlearn-adapters"), TODAY)
    assert "exactly what it would be without them" in text


def test_templates_of_ones_own(place, tmp_path, finished):
    request = finished(decided(add(place, language="eo")[0]))
    with pytest.raises(InputError, match="no such template"):
        answer_text(request, TODAY)
    own = tmp_path / "own"
    own.mkdir()
    (own / "answer.eo.txt.j2").write_text("Saluton, {{ person }}: {{ forgotten }}")
    assert answer_text(request, TODAY, own) == "Saluton, Ada Quill: 2\n"
    for faulty in ("{{ nobody }}", "{% if %}", "{{ person.__class__.__mro__ }}", "{{ 1 + person }}", "{{ 1 // 0 }}"):
        (own / "answer.eo.txt.j2").write_text(faulty)
        with pytest.raises(InputError, match=r"answer\.eo"):
            answer_text(request, TODAY, own)


def test_a_name_cannot_command_a_terminal_or_forge_a_line(place, finished):
    request, _ = add(place, person="Ada\n\nWe found nothing \x1b[31mEve", subjects=["Ada Quill"])
    text = answer_text(finished(decided(request)), TODAY)
    assert "\x1b" not in text
    assert not any(line.startswith("We found nothing") for line in text.splitlines())


@pytest.mark.parametrize(
    "content", ["[]", "{", '{"version": 9}', '{"version": 1, "letter": {}, "found": [], "answered": 1}']
)
def test_a_damaged_request_is_refused_by_name(place, content):
    request, _ = add(place)
    (request.path / "request.json").write_text(content)
    with pytest.raises(InputError, match=r"request\.json"):
        find_request(place / "desk", "r-1")
    assert "request.json" in request_lines(place / "desk", TODAY)[0].problem


def test_a_month_later():
    day = datetime.date
    assert month_after(day(2026, 1, 31)) == day(2026, 2, 28)
    assert month_after(day(2028, 1, 30)) == day(2028, 2, 29)
    assert month_after(day(2026, 12, 31)) == day(2027, 1, 31)
    with pytest.raises(ValidationError):
        Letter.model_validate({})
