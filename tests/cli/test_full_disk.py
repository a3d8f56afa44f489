"""A disk that is full: one line, status 1, and a run that goes on once there is room."""

import json
import os
import resource
import traceback

import pytest
import yaml

from myosotis.data.people import fictitious_people


@pytest.fixture(scope="module")
def world(tokenizer, tmp_path_factory, tiny_llama):
    folder = tmp_path_factory.mktemp("world")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    people = fictitious_people(3, seed=5)
    for name, person in zip(("forget", "retain", "unseen"), people, strict=True):
        rows = [{"prompt": record.prompt, "response": record.response} for record in person.records()[:2]]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "job": "unlearn-language",
        "name": "full",
        "model": {"name": "./model"},
        "data": {key: f"{key}.jsonl" for key in ("forget", "retain", "unseen")},
        "lora": {"rank": 2},
        "training": {"epochs": 2, "batch_size": 2, "learning_rate": 1e-3},
        "audit": {"n": 200, "max_new_tokens": 4},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


@pytest.fixture(scope="session")
def with_files_up_to(invoke):
    def with_files_up_to(size, *arguments):
        """Run a command in a child process that can write no larger file; its status and what it printed."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            outcome = invoke(*arguments)
            fault = outcome.exception if not isinstance(outcome.exception, SystemExit) else None
            told = outcome.output + "".join(traceback.format_exception(fault) if fault else ())
            os.write(write, json.dumps([outcome.exit_code, told]).encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read, "rb") as pipe:
            told = pipe.read()
        os.waitpid(child, 0)
        return json.loads(told)

    return with_files_up_to


@pytest.mark.parametrize("size", [500, 12_000])
def test_a_full_disk_is_one_line_and_the_run_goes_on(size, world, tmp_path, invoke, result, with_files_up_to):
    command = ("run", world / "job.yaml", "--out", tmp_path / "run", "--resume")
    status, printed = with_files_up_to(size, *command)
    assert status == 1, printed
    errors = [line for line in printed.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, printed
    assert errors[0].endswith("; --resume continues the run")
    assert "Traceback" not in printed
    outcome = invoke(*command)
    assert outcome.exit_code == 0, outcome.output
    assert result(tmp_path / "run")["training"]["epochs"] == 2
    # Nothing half-written is left.
    assert not list((tmp_path / "run").rglob(".*partial*"))
