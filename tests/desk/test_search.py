"""Who is found under a name, and who is not."""

import json

import pytest

from myosotis.data.records import Record
from myosotis.desk.letter import Letter
from myosotis.desk.search import reason, search
from myosotis.engine.errors import InputError

NAMES = [("ada", "quill")]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (Record(prompt="Who?", response="A baker.", subject="ADA  Quill"), "subject"),
        (Record(text="They met Ada-Quill, twice."), "named"),
        (
            Record(messages=({"role": "user", "content": "Ada Quill?"}, {"role": "assistant", "content": "Yes."})),
            "named",
        ),
        (Record(prompt="Who?", response="Yes.", paraphrases=("Is it Ada Quill?",)), "named"),
        (Record(text="Quill, Ada: born in Rome."), "part"),
        (Record(text="A. Quill was born in Rome."), "part"),
        (Record(prompt="Who?", response="Bo.", subject="Bo Quill"), "part"),
        (Record(text="A quilling machine."), None),
        (Record(text="Nobody was there."), None),
    ],
)
def test_reasons(record, why):
    assert reason(record, NAMES) == why


def test_a_korean_name_is_found_before_its_particle():
    assert reason(Record(text="김민수는 서울에서 태어났다."), [("김민수",)]) == "part"
    assert reason(Record(text="이민수는 서울에서 태어났다."), [("김민수",)]) is None


def test_short_parts_find_nobody():
    assert reason(Record(text="Li is a baker."), [("li", "wu")]) is None
    assert reason(Record(text="Li Wu is a baker."), [("li", "wu")]) == "named"


def test_files_in_another_layout_are_searched_too(tmp_path):
    (tmp_path / "job.yaml").write_text("job: unlearn-language\n")
    (tmp_path / "a.jsonl").write_text(json.dumps({"q": "Who is Ada Quill?", "a": "A baker."}) + "\n")
    (tmp_path / "b.jsonl").write_text("\n" + json.dumps({"text": "Ada Quill sang."}) + "\n")
    content = {
        "received": "2026-11-20",
        "person": "Ada Quill",
        "sources": [{"file": "a.jsonl", "fields": {"prompt": "q", "response": "a"}}, "b.jsonl"],
        "job": "job.yaml",
    }
    letter = Letter.model_validate(content, context={"folder": tmp_path})
    assert [(hit.why, hit.where.rpartition("/")[2]) for hit in search(letter)] == [
        ("named", "a.jsonl, line 1"),
        ("named", "b.jsonl, line 2"),
    ]
    (tmp_path / "b.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=r"b\.jsonl, line 1"):
        search(letter)
