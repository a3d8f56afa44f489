"""Teachers that never saw the records: made from the base, taught once, and kept by a run that is interrupted."""

import json
import re
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.data.people import fictitious_people


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory, tiny_llama, write_jsonl):
    place = tmp_path_factory.mktemp("teachers")
    for name, seed in (("model", 0), ("base", 4)):
        tiny_llama(seed=seed).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    people = fictitious_people(9, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:6]), ("unseen", people[6:8])):
        rows = [record for person in part for record in person.records()[:3]]
        write_jsonl(place / f"{name}.jsonl", [{"prompt": row.prompt, "response": row.response} for row in rows])
    config = {
        "job": "unlearn-language",
        "name": "teacher",
        "model": {"name": "./model"},
        "data": {"forget": "forget.jsonl", "retain": "retain.jsonl", "unseen": "unseen.jsonl"},
        "method": {"name": "counterfactual", "teacher": "proxy"},
        "teacher": {"base": "./base", "rank": 2, "epochs": 1, "records": 5},
        "training": {"epochs": 2, "batch_size": 3, "learning_rate": 1e-2},
        "audit": {"n": 2, "max_new_tokens": 4},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    return place


def unlearn(place, out, *settings):
    options = [part for setting in settings for part in ("--set", setting)]
    return CliRunner().invoke(app, ["run", str(place / "job.yaml"), "--out", str(out), *options])


@pytest.mark.parametrize(
    ("settings", "taught"),
    [
        ((), True),
        (("data.requests=2",), True),
        (("method.teacher=base", "teacher={base: ./base}"), False),
    ],
)
def test_the_job_learns_from_it(place, tmp_path, settings, taught):
    done = unlearn(place, tmp_path / "run", *settings)
    assert done.exit_code == 0, done.output
    assert ("teaching a proxy 5 records to retain" in done.output) is taught
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert ("teach_proxy" in result["cost"]["seconds"]) is taught
    assert result["metrics"]["after"]["forget"] != result["metrics"]["before"]["forget"]
    assert not (tmp_path / "run" / "checkpoints" / "teacher").exists()


def test_a_run_goes_on_from_the_same_proxy(place, tmp_path, killed_at):
    arguments = ["run", place / "job.yaml", "--out", tmp_path / "cut"]
    proxy = tmp_path / "cut" / "checkpoints" / "teacher"
    killed_at(proxy, *arguments)
    assert (proxy / "model.safetensors").is_file()
    resumed = CliRunner().invoke(app, [*map(str, arguments), "--resume"])
    assert resumed.exit_code == 0, resumed.output
    assert "teaching a proxy" not in resumed.output
    assert unlearn(place, tmp_path / "whole").exit_code == 0
    cut, whole = (
        json.loads((tmp_path / name / "result.json").read_text())["metrics"]["after"] for name in ("cut", "whole")
    )
    assert cut == whole


def test_the_plan_knows_it(place):
    done = CliRunner().invoke(app, ["check", str(place / "job.yaml")])
    assert done.exit_code == 0, done.output
    assert "teaching the proxy" in done.output


def test_a_base_with_other_words_is_refused(place, tmp_path, tiny_llama, tokenizer):
    tiny_llama().save_pretrained(tmp_path / "other")
    own = type(tokenizer).from_pretrained(place / "model")
    own.add_tokens(["myosotis"])
    own.save_pretrained(tmp_path / "other")
    done = unlearn(place, tmp_path / "run", f"teacher.base={tmp_path / 'other'}")
    assert done.exit_code == 2, done.output
    assert "teacher.base" in done.output
    assert not (tmp_path / "run").exists()


def test_a_run_with_another_base_is_not_resumed(place, tmp_path, tiny_llama):
    base = tmp_path / "base"
    shutil.copytree(place / "base", base)
    assert unlearn(place, tmp_path / "run", f"teacher.base={base}").exit_code == 0
    again = ["run", str(place / "job.yaml"), "--out", str(tmp_path / "run"), "--resume"]
    again += ["--set", f"teacher.base={base}"]
    assert CliRunner().invoke(app, again).exit_code == 0
    tiny_llama(seed=9).save_pretrained(base)
    done = CliRunner().invoke(app, again)
    assert done.exit_code == 2, done.output
    assert "the base of the teacher" in " ".join(done.output.split())


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.retain=null", "learns the form of the records on some of 'data.retain', which is missing"),
        ("teacher=null", "'method.teacher: proxy' needs 'teacher.base'"),
        ("method.teacher=names", "'teacher' has no effect"),
        ("teacher.base=./nowhere", "nowhere"),
        ("method.teacher=base", "of 'teacher' only 'base' has an effect"),
    ],
)
def test_what_cannot_be_a_teacher(place, tmp_path, setting, message):
    done = unlearn(place, tmp_path / "run", setting)
    assert done.exit_code == 2, done.output
    assert message in " ".join(done.output.split())
    assert not (tmp_path / "run").exists()


def test_requests_about_strangers_say_how_many_answers_are_replayed(place, tmp_path, write_jsonl):
    people = fictitious_people(9, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:6]), ("unseen", people[6:8])):
        rows = [record for person in part for record in person.records()[:3]]
        keys = ("prompt", "response", "subject", "facts")
        write_jsonl(tmp_path / f"{name}.jsonl", [{key: getattr(row, key) for key in keys} for row in rows])
    sources = [f"data.{name}={tmp_path / name}.jsonl" for name in ("forget", "retain", "unseen")]
    settings = ["teacher=null", "method.teacher=names", "method.candidates=6", "training.replay_prompts=6"]
    done = unlearn(place, tmp_path / "run", *sources, *settings, "data.requests=subject")
    assert done.exit_code == 0, done.output
    said = re.findall(r"replay: (\d+) of 6 answers about strangers", done.output)
    assert len(said) == 2
    assert all(0 < int(count) <= 6 for count in said)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [len(one["measures"]) for one in result["requests"]] == [1, 2]
