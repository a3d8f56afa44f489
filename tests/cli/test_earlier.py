"""Requests over months: a later run measures again what earlier ones erased, if it is still there."""

import base64
import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.data.people import fictitious_people


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory, tiny_llama, write_jsonl):
    place = tmp_path_factory.mktemp("earlier")
    tiny_llama().save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    people = fictitious_people(9, seed=5)
    for name, part in (("march", people[:1]), ("june", people[1:2]), ("retain", people[2:6]), ("unseen", people[6:8])):
        records = [record for person in part for record in person.records()[:3]]
        write_jsonl(place / f"{name}.jsonl", [{"prompt": row.prompt, "response": row.response} for row in records])
    config = {
        "job": "unlearn-language",
        "name": "march",
        "model": {"name": "./model"},
        "data": {"forget": "march.jsonl", "retain": "retain.jsonl", "unseen": "unseen.jsonl"},
        "method": {"name": "ga"},
        "training": {"epochs": 1, "batch_size": 3, "learning_rate": 1e-2},
        "audit": {"n": 2, "max_new_tokens": 4},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    assert unlearn(place, place / "march").exit_code == 0
    return place


def unlearn(place, out, *settings):
    options = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(app, ["run", str(place / "job.yaml"), "--out", str(out), *options])


def june(place, out, *settings):
    model = place / "march" / "model"
    done = unlearn(place, out, "name=june", "data.forget=june.jsonl", f"model.name={model}", *settings)
    return done, json.loads((out / "result.json").read_text()) if done.exit_code == 0 else None


def test_the_run_that_a_model_comes_from_is_measured_again(place, tmp_path):
    done, result = june(place, tmp_path / "june")
    assert done.exit_code == 0, done.output
    (earlier,) = result["earlier"]
    march = json.loads((place / "march" / "result.json").read_text())
    assert (earlier["run"], earlier["records"], earlier["missing"]) == ("march", 3, None)
    assert earlier["finished"] == march["finished"]
    # The model has not changed since.
    assert earlier["reported"] == march["metrics"]["after"]["forget"]["token_accuracy"]["mean"]
    assert earlier["before"]["mean"] == pytest.approx(earlier["reported"])
    assert earlier["after"] is not None
    assert "Earlier requests" in (tmp_path / "june" / "report.html").read_text()
    assert "3 records, measured again" in done.output


def test_a_run_is_measured_once_however_often_it_is_named(place, tmp_path):
    _, result = june(place, tmp_path / "june", f"audit.earlier=['{place / 'march'}', '{place / 'march'}/']")
    assert len(result["earlier"]) == 1


@pytest.mark.parametrize("fate", ["destroyed", "changed"])
def test_records_that_are_not_there_any_more_are_said_to_be_missing(place, tmp_path, fate):
    run = tmp_path / "march"
    shutil.copytree(place / "march", run)
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["data"]["forget"] = str(tmp_path / "moved.jsonl")
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (run / "digests.json").unlink()  # or the change is taken for damage
    if fate == "changed":
        rows = (place / "march.jsonl").read_text().splitlines()
        (tmp_path / "moved.jsonl").write_text("\n".join(rows[1:]) + "\n")
    done = unlearn(place, tmp_path / "june", "name=june", "data.forget=june.jsonl", f"model.name={run / 'model'}")
    assert done.exit_code == 0, done.output
    (earlier,) = json.loads((tmp_path / "june" / "result.json").read_text())["earlier"]
    message = {"destroyed": "not where the run found them", "changed": "have changed since"}[fate]
    assert message in earlier["missing"]
    assert earlier["before"] is None
    assert earlier["after"] is None
    assert earlier["records"] == 3
    assert message in (tmp_path / "june" / "report.html").read_text()


def test_what_is_no_run_is_refused(place, tmp_path):
    done = unlearn(place, tmp_path / "june", f"audit.earlier=['{tmp_path}']")
    assert done.exit_code == 2
    assert "is not a run directory" in " ".join(done.output.split())
    assert not (tmp_path / "june").exists()


def test_a_model_of_no_run_has_no_earlier_request(place):
    assert json.loads((place / "march" / "result.json").read_text())["earlier"] == []


def test_two_requests_are_two_lines_of_a_ledger(place, tmp_path, monkeypatch):
    runner = CliRunner()
    assert runner.invoke(app, ["ledger", "init", str(tmp_path / "life")]).exit_code == 0
    monkeypatch.setenv("MYOSOTIS_LEDGER_KEY", str(tmp_path / "life.key"))
    done, _ = june(place, tmp_path / "june")
    assert done.exit_code == 0, done.output
    for run in (place / "march", tmp_path / "june"):
        done = runner.invoke(app, ["ledger", "add", str(tmp_path / "life"), str(run)])
        assert done.exit_code == 0, done.output
    key = str(tmp_path / "life" / "keys" / "operator.pub")
    words = ["ledger", "verify", str(tmp_path / "life"), "--key", key, "--model", str(tmp_path / "june")]
    done = runner.invoke(app, words)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (tmp_path / "life" / "log.intoto.jsonl").read_text().splitlines()]
    second = json.loads(base64.b64decode(lines[1]["payload"]))["predicate"]
    assert second["parent"]["sequence"] == 0
    assert second["records"] == {"count": 3}
