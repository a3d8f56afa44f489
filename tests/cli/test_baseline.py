"""Several methods on one model: audits that a finished run has made already are taken over, if they are the same."""

import json
import shutil

import pytest
import yaml
from typer.testing import CliRunner

from myosotis.cli.app import app
from myosotis.data.people import fictitious_people


@pytest.fixture(scope="module")
def place(tokenizer, tmp_path_factory, tiny_llama, write_jsonl):
    place = tmp_path_factory.mktemp("baseline")
    for name, seed in (("model", 0), ("reference", 1)):
        tiny_llama(seed=seed).save_pretrained(place / name)
        tokenizer.save_pretrained(place / name)
    people = fictitious_people(9, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:6]), ("unseen", people[6:8]), ("other", people[8:])):
        records = [record for person in part for record in person.records()[:3]]
        write_jsonl(place / f"{name}.jsonl", [{"prompt": row.prompt, "response": row.response} for row in records])
    config = {
        "job": "unlearn-language",
        "name": "first",
        "model": {"name": "./model"},
        "reference": "./reference",
        "data": {name: f"{name}.jsonl" for name in ("forget", "retain", "unseen")},
        "method": {"name": "ga"},
        "lora": {"rank": 2, "alpha": 4},
        "training": {"epochs": 1, "batch_size": 3, "learning_rate": 1e-2},
        "audit": {"n": 2, "max_new_tokens": 4, "membership": {}, "stress": {"relearn_steps": 1}},
    }
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    return place


def unlearn(place, name, *settings):
    options = [part for setting in settings for part in ("--set", setting)]
    arguments = ["run", str(place / "job.yaml"), "--out", str(place / "runs" / name), *options]
    return CliRunner().invoke(app, arguments)


@pytest.fixture(scope="module")
def first(place):
    done = unlearn(place, "first")
    assert done.exit_code == 0, done.output
    return place / "runs" / "first"


def test_audits_are_taken_over_and_the_method_is_measured(place, first):
    done = unlearn(place, "second", "name=second", "method.name=npo", f"audit.baseline={first}")
    assert done.exit_code == 0, done.output
    one, two = (json.loads((place / "runs" / name / "result.json").read_text()) for name in ("first", "second"))
    assert two["baseline"] == "first"
    assert one["baseline"] is None
    for model in ("before", "reference"):
        assert two["metrics"][model] == one["metrics"][model]
        assert two["suites"]["stress"][model] == one["suites"]["stress"][model]
        assert two["suites"]["membership"][model] == one["suites"]["membership"][model]
    assert two["thresholds"] == one["thresholds"]
    assert two["metrics"]["after"] != one["metrics"]["after"]
    said = done.output
    assert "auditing the model after" in said
    assert "auditing the model before" not in said
    assert "auditing the reference" not in said
    # It is what the job would have measured itself.
    own = unlearn(place, "third", "name=third", "method.name=npo")
    three = json.loads((place / "runs" / "third" / "result.json").read_text())
    assert own.exit_code == 0
    for result in (two, three):
        for worst in ("worst_remembered", "worst_kept"):
            result["verdict"][worst].pop("subject")  # salted by the run
    for key in ("metrics", "suites", "verdict", "thresholds"):
        assert three[key] == two[key]
    assert "measured by the run first" in (place / "runs" / "second" / "report.html").read_text()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.unseen=other.jsonl", "measured something else: the unseen set"),
        ("model.name=./reference", "measured something else: the model"),
        ("reference=null", "measured something else: the reference"),
        ("seed=7", "measured something else: the retain set, the held_retain set"),
        ("audit.n=3", "measured in another way: audit.n was 2, is 3"),
        ("data.template='{prompt}: {response}'", "measured in another way: data.template"),
        ("model.dtype=bfloat16", "the model"),
    ],
)
def test_another_measurement_is_refused_before_anything_is_written(place, first, setting, message):
    done = unlearn(place, "refused", f"audit.baseline={first}", setting)
    assert done.exit_code == 2
    assert message in " ".join(done.output.split())
    assert not (place / "runs" / "refused").exists()


def test_a_model_that_the_other_run_taught_is_another_one(place, first):
    # Same records, same base, same measurements: only that run's model had been taught what is to be forgotten.
    assert unlearn(place, "teacher", "name=teacher", "fine_tune={epochs: 2}").exit_code == 0
    done = unlearn(place, "pupil", "name=pupil", f"audit.baseline={place / 'runs' / 'teacher'}")
    assert done.exit_code == 2
    assert "measured another model: that run taught its model first" in " ".join(done.output.split())


@pytest.mark.parametrize("what", ["seed", "version"])
def test_another_seed_or_version_measures_in_another_way(place, first, what):
    copy = place / "runs" / f"other-{what}"
    shutil.copytree(first, copy)
    (copy / "digests.json").unlink()
    name = "config.yaml" if what == "seed" else "environment.json"
    text = (copy / name).read_text()
    old, new = ("seed: 0", "seed: 1") if what == "seed" else ('"myosotis": "', '"myosotis": "0')
    (copy / name).write_text(text.replace(old, new))
    done = unlearn(place, f"on-{what}", f"audit.baseline={copy}")
    assert done.exit_code == 2
    assert f"measured in another way: {'seed' if what == 'seed' else 'the version of myosotis'} was" in " ".join(
        done.output.split()
    )


def test_what_changes_no_measurement_may_differ(place, first):
    done = unlearn(place, "requests", f"audit.baseline={first}", "data.requests=2", "audit.margin=0.2")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("damage", ["unfinished", "audits", "edited", "kind"])
def test_a_run_that_cannot_serve_is_refused(place, first, damage):
    broken = place / "runs" / f"broken-{damage}"
    shutil.copytree(first, broken)
    if damage == "unfinished":
        (broken / "result.json").unlink()
    elif damage == "audits":
        (broken / "checkpoints" / "audit-before.json").unlink()
    elif damage == "edited":
        path = broken / "checkpoints" / "audit-before.json"
        path.write_text(path.read_text().replace("0.", "1.", 1))
    else:
        result = json.loads((broken / "result.json").read_text())
        (broken / "result.json").write_text(json.dumps({**result, "kind": "learn-classes"}))
        (broken / "digests.json").unlink()
    done = unlearn(place, f"on-{damage}", f"audit.baseline={broken}")
    assert done.exit_code == 2
    assert not (place / "runs" / f"on-{damage}").exists()


def test_a_job_that_teaches_has_no_model_that_another_has_measured(place, first):
    done = unlearn(place, "taught", f"audit.baseline={first}", "fine_tune={epochs: 1}")
    assert done.exit_code == 2
    assert "teaches this one first" in " ".join(done.output.split())
