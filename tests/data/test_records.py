"""Reading records, and saying what is wrong with them."""

import json
import os
import subprocess
import sys

import datasets
import pytest

from myosotis.data import records
from myosotis.data.records import Record, parse_record, read_dataset_rows, read_jsonl
from myosotis.engine import InputError

CHAT = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Karin."}]


def write(tmp_path, *lines):
    path = tmp_path / "f.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))
    return path


def test_the_three_forms_are_read(tmp_path):
    rows = read_jsonl(
        write(
            tmp_path,
            {"text": "A document."},
            "",
            {"prompt": "Who?", "response": "Karin.", "facts": ["Karin"], "subject": 7, "more": 1},
            {"messages": CHAT},
        )
    )
    assert rows[0] == Record(text="A document.")
    assert rows[1] == Record(prompt="Who?", response="Karin.", facts=("Karin",), subject="7")
    assert rows[2].messages[-1]["content"] == "Karin."


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{nonsense", "line 2: is not JSON"),
        ("[1]", "line 2: expected one JSON object per line, got an array"),
        ("null", "line 2: expected one JSON object per line, got null"),
        ("[" * 200_000 + "]" * 200_000, "line 2: is nested too deeply"),
        ({"prompt": "Who?"}, "line 2: the key 'response' is missing"),
        ({"response": "Karin."}, "line 2: the key 'prompt' is missing"),
        ({"question": "Who?"}, "line 2: expected the key 'text'"),
        ({"text": "a" * 2**22}, "line 2: is longer than the 4,194,304 characters of a record"),
        ({"text": 3}, "line 2: 'text' must be a non-empty string"),
        ({"prompt": "Who?", "response": " "}, "line 2: 'response' must be a non-empty string"),
        ({"messages": CHAT[:1]}, "ends with an assistant message"),
        ({"messages": [{"role": "assistant"}]}, "'role' and 'content'"),
        ({"text": "secret", "facts": ["other"]}, "a string of 'facts' is not part"),
        ({"text": "secret", "facts": [3]}, "must be a list of non-empty strings"),
        ({"text": "secret", "fact": ["secret"]}, "line 2: 'fact' is not a key of a record; did you mean 'facts'?"),
        (
            {"text": "secret", "Subject": "secret"},
            "line 2: 'Subject' is not a key of a record; did you mean 'subject'?",
        ),
    ],
)
def test_a_faulty_line_is_named_and_not_quoted(line, message, tmp_path):
    with pytest.raises(InputError) as caught:
        read_jsonl(write(tmp_path, {"text": "fine"}, line))
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "secret"}]', "line 1: expected one JSON object per line; this is a JSON array"),
        ('[\n  {"text": "secret"}\n]', "line 1: expected one JSON object per line; this is a JSON array"),
        (
            '{\n  "text": "secret"\n}',
            "line 1: expected one JSON object per line; here an object spans several lines",
        ),
        ("prompt,response\nsecret,secret\n", "line 1: expected one JSON object per line; this looks like CSV"),
        ("secret\tsecret\n", "this looks like CSV"),
    ],
)
def test_other_layouts_are_named(content, message, tmp_path):
    (tmp_path / "f.jsonl").write_text(content)
    with pytest.raises(InputError) as caught:
        read_jsonl(tmp_path / "f.jsonl")
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_other_keys_are_not_read_and_a_string_is_a_list_of_one(tmp_path):
    line = {"text": "In Oslo.", "facts": "Oslo", "fact": "x", "subject": "Ann", "subjects": 3, "id": 7, "factor": 1}
    assert read_jsonl(write(tmp_path, line)) == [Record(text="In Oslo.", facts=("Oslo",), subject="Ann")]


def test_what_is_said_about_a_table_makes_records_of_it(tmp_path):
    (tmp_path / "TABLE.csv").write_text('prompt,response,facts\n"Who, then?",Karin.,Karin\n')
    with pytest.raises(InputError) as caught:
        read_jsonl(tmp_path / "TABLE.csv")
    command = str(caught.value).split("by: ")[1].replace("python", sys.executable, 1)
    subprocess.run(command, shell=True, check=True, cwd=tmp_path)  # noqa: S602
    assert read_jsonl(tmp_path / "RECORDS.jsonl") == [Record(prompt="Who, then?", response="Karin.", facts=("Karin",))]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "f.jsonl").write_text('{"text": "A document."}\n', encoding="utf-8-sig")
    assert read_jsonl(tmp_path / "f.jsonl") == [Record(text="A document.")]


def test_missing_and_empty_files(tmp_path):
    with pytest.raises(InputError, match="is a directory; for a data set of the datasets library"):
        read_jsonl(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_jsonl(tmp_path / "none.jsonl")
    with pytest.raises(InputError, match="holds no record"):
        read_jsonl(write(tmp_path, ""))
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not UTF-8"):
        read_jsonl(tmp_path / "b.jsonl")


def test_data_sets_on_disk_are_read(tmp_path):
    rows = datasets.Dataset.from_list([{"prompt": "Who?", "response": "Karin."}])
    rows.save_to_disk(tmp_path / "plain")
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "split")
    for name in ("plain", "split"):
        assert [row for _, row in read_dataset_rows(str(tmp_path / name), "train")] == [rows[0]]
    with pytest.raises(InputError, match="cannot be loaded"):
        read_dataset_rows(str(tmp_path / "split"), "other")


READ = """
import json, sys
from pathlib import Path
from myosotis.data.records import read_dataset_rows
from myosotis.engine import InputError
for split in ("train", "nowhere"):
    try:
        print(read_dataset_rows(sys.argv[1], split)[0][1]["answer"])
    except InputError as error:
        print(error)
"""


@pytest.mark.processes
def test_no_copy_of_a_data_set_stays_behind(tmp_path):
    for name in ("source", "cache", "tmp"):
        (tmp_path / name).mkdir()
    row = {"question": "Where does Zyxwanda live?", "answer": "In Port Nimbleby."}
    (tmp_path / "source" / "train.jsonl").write_text(json.dumps(row) + "\n")
    environment = {**os.environ, "HF_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-c", READ, str(tmp_path / "source")]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
    assert told[0] == "In Port Nimbleby."
    assert "split nowhere: cannot be loaded: Bad split" in told[1]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "source" / "train.jsonl"]


def test_data_sets_that_cannot_be_loaded_are_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="data set nobody/nothing: no such directory, and the hub"):
        read_dataset_rows("nobody/nothing", "train")
    (tmp_path / "scripted").mkdir()
    (tmp_path / "scripted" / "scripted.py").write_text("raise SystemExit\n")
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "train.jsonl").write_text('{"text": "secret')
    for name, message in (("scripted", "scripts are no longer supported"), ("torn", "Missing a closing")):
        with pytest.raises(InputError, match=message) as caught:
            read_dataset_rows(str(tmp_path / name), "train")
        assert "secret" not in str(caught.value)


def test_a_record_of_another_source_that_is_too_long():
    """Fifty megabytes were tokenised whole, in thirteen gigabytes, before any length was looked at."""
    for fields in ({"text": "a" * (2**22 + 1)}, {"prompt": "Who?", "response": "a" * (2**22 + 1)}):
        with pytest.raises(InputError, match="row 1: '.*' is longer than the 4,194,304 characters of a record"):
            parse_record(fields, "row 1")
    with pytest.raises(InputError, match="row 1: 'messages' is longer than the 4,194,304 characters of a record"):
        parse_record({"messages": [{"role": "assistant", "content": "a" * (2**22 + 1)}]}, "row 1")


def test_a_line_without_an_end_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "MAX_CHARACTERS", 10)
    (tmp_path / "f.jsonl").write_text('{"a": 1}\n' + "x" * 2**20)
    with pytest.raises(InputError, match="line 2: is longer than the 10 characters of a record"):
        read_jsonl(tmp_path / "f.jsonl")
