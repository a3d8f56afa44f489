"""A model is audited again, without training: months later, by somebody else, or after it was trained further."""

import json
import shutil

import pytest
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.data.people import fictitious_people
from myosotis.unlearning.language.audit.own_answers import OF_ORIGINAL


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory, tiny_llama, write_jsonl):
    place = tmp_path_factory.mktemp("again")
    tiny_llama().save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    people = fictitious_people(9, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:6]), ("unseen", people[6:8])):
        records = [record for person in part for record in person.records()[:3]]
        write_jsonl(place / f"{name}.jsonl", [{"prompt": row.prompt, "response": row.response} for row in records])
    write_jsonl(place / "general.jsonl", [{"text": f"Trains to town {number} were late."} for number in range(3)])
    config = {
        "job": "unlearn-language",
        "name": "first",
        "model": {"name": "./model"},
        "data": {name: f"{name}.jsonl" for name in ("forget", "retain", "unseen", "general")},
        "method": {"name": "ga"},
        "training": {"epochs": 1, "batch_size": 3, "learning_rate": 1e-2},
        "audit": {"n": 2, "max_new_tokens": 4, "membership": {}, "stress": {"relearn_steps": 1}},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    done = CliRunner().invoke(app, ["run", str(place / "job.yaml"), "--out", str(place / "run")])
    assert done.exit_code == 0, done.output
    return place


def audit(run, *options):
    return CliRunner().invoke(app, ["audit", "language", str(run), *map(str, options)])


def unjudged(metrics):
    """Figures without those that take the model before unlearning, which a second audit does not load."""
    return {
        split: {name: value for name, value in rows.items() if name not in OF_ORIGINAL}
        for split, rows in metrics.items()
    }


def said(done):
    return " ".join(done.output.split())


def test_the_model_of_a_run_is_measured_again(place):
    before = (place / "run" / "result.json").read_bytes()
    done = audit(place / "run")
    assert done.exit_code == 0, done.output
    found = json.loads((place / "run" / "audit.json").read_text())
    result = json.loads(before)
    assert (found["model_matches"], found["data_matches"], found["reproduced"]) == (True, True, True)
    assert found["metrics"] == unjudged(result["metrics"]["after"])
    missing = [row["name"] for row in found["verdict"].pop("working") if row["value"] is None]
    assert missing == ["forget_answer_surprise", "held_retain_answer_surprise"]
    assert found["verdict"].pop("works") in (None, False)
    assert found["verdict"].items() <= result["verdict"].items()
    assert found["suites"]["stress"] == result["suites"]["stress"]["after"]
    assert (place / "run" / "result.json").read_bytes() == before


def test_a_model_that_was_trained_further_is_judged_on_the_same_records(place):
    done = audit(place / "run", "--model", place / "model")
    assert done.exit_code == 0, done.output
    found = json.loads((place / "run" / "audit.json").read_text())
    result = json.loads((place / "run" / "result.json").read_text())
    assert found["model_matches"] is False
    assert found["reproduced"] is None
    # The model from before unlearning has the figures from before.
    assert found["metrics"] == unjudged(result["metrics"]["before"])
    assert "Is it forgotten?" in said(done)


@pytest.mark.parametrize("rows", [2, 3])
def test_general_text_that_was_exchanged_is_no_data_of_the_run(place, tmp_path, rows):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    easy = [{"text": "Trains were late."}] * rows
    (tmp_path / "easy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in easy))
    config["data"]["general"] = str(tmp_path / "easy.jsonl")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "digests.json").unlink()  # or the change is taken for damage
    done = audit(run, "--model", place / "model")
    assert done.exit_code == 1, done.output
    found = json.loads((run / "audit.json").read_text())
    assert (found["data_matches"], found["verdict"]) == (False, None)


@pytest.mark.parametrize("change", ["weights", "records"])
def test_what_has_changed_is_said_and_is_no_success(place, tmp_path, change):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    if change == "weights":
        tensors = load_file(run / "model" / "model.safetensors")
        tensors["model.norm.weight"] = tensors["model.norm.weight"] * -1.0
        save_file(
            {name: value.contiguous() for name, value in tensors.items()},
            run / "model" / "model.safetensors",
            metadata={"format": "pt"},
        )
        done = audit(run)
        assert "Is it the model that was reported? NO" in said(done)
    else:
        config = yaml.safe_load((run / "config.yaml").read_text())
        rows = [json.loads(line) for line in (place / "unseen.jsonl").read_text().splitlines()]
        (tmp_path / "other.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
        config["data"]["unseen"] = str(tmp_path / "other.jsonl")
        (run / "config.yaml").write_text(yaml.safe_dump(config))
        (run / "digests.json").unlink()  # or the change is taken for damage
        done = audit(run)
        assert "Are the records those of the run? NO" in said(done)
    assert done.exit_code == 1


def test_records_that_were_destroyed_are_one_line(place, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    (run / "audit.json").unlink(missing_ok=True)
    config["data"]["forget"] = str(tmp_path / "gone.jsonl")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "digests.json").unlink()  # or the change is taken for damage
    done = audit(run)
    assert done.exit_code == 2
    assert "gone.jsonl: no such file" in said(done)
    assert not (run / "audit.json").exists()


def test_a_model_with_another_tokenizer_is_refused(place, tmp_path, tokenizer):
    other = tmp_path / "other"
    shutil.copytree(place / "model", other)
    wider = type(tokenizer).from_pretrained(place / "model")
    wider.add_tokens(["<new>"])
    wider.save_pretrained(other)
    done = audit(place / "run", "--model", other)
    assert done.exit_code == 2
    assert "has another tokenizer than the model" in said(done)
    settings = ["--set", f"reference={other}"]
    job = ["run", str(place / "job.yaml"), "--out", str(tmp_path / "run"), *settings]
    refused = CliRunner().invoke(app, job)
    assert refused.exit_code == 2
    assert "has another tokenizer than the model" in said(refused)
    assert not (tmp_path / "run").exists()


def test_another_kind_of_run_is_refused(place, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(place / "run", run)
    result = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**result, "kind": "learn-classes"}))
    (run / "digests.json").unlink()
    done = audit(run)
    assert done.exit_code == 2
    assert "is not a run of 'unlearn-language'" in said(done)
