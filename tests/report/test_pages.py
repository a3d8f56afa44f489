"""Pages and model cards of real runs: head, criteria, cards, comparisons, the page for a person."""

import json
import re
import shutil

import pytest
import yaml
from typer.testing import CliRunner

import myosotis
from myosotis.cli.app import app
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.run import Run
from myosotis.report.card import write_card
from myosotis.report.document import Document, Row, Table

OPERATOR = "Example Hospital <Data Office>"


def invoke(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_jobs):
    folder = tmp_path_factory.mktemp("runs")
    tiny_jobs.inputs(folder)
    request = {"id": "R-17", "received": "2026-05-01", "deadline": "2026-06-01", "untreated": ["backup of May"]}
    changes = {
        "photos": {"request": request},
        "language": {},
        "classes": {},
        "pretrain": {},
        "tuned": {"method": {"name": "finetune"}, "memory": {"total": 0}, "keep_learners": False},
    }
    paths = {}
    for name, own in changes.items():
        base = "classes" if name == "tuned" else name
        paths[name] = folder / "runs" / name
        config = tiny_jobs.written(folder, base, operator=OPERATOR, **own)
        if name == "tuned":
            config.write_text(config.read_text().replace("name: classes", "name: tuned"))
        outcome = invoke("run", config, "--out", paths[name])
        assert outcome.exit_code == 0, outcome.output
    return paths


def page_of(run, name="report.html"):
    return (run / name).read_text(encoding="utf-8")


def test_the_head_names_date_operator_request_model_and_version(runs):
    page, result = page_of(runs["photos"]), json.loads((runs["photos"] / "result.json").read_text())
    assert result["operator"] == OPERATOR
    head = page[: page.index("<main")]
    for text in (result["finished"][:10], "Example Hospital &lt;Data Office&gt;", "R-17", "2026-05-01", "2026-06-01"):
        assert text in head
    assert result["lineage"]["model_out"][:12] in head
    assert f"myosotis {myosotis.__version__}" in head


def test_another_operator_does_not_hinder_a_resume(runs, tiny_jobs):
    folder = runs["classes"].parents[1]
    config = tiny_jobs.written(folder, "classes", operator="Somebody else")
    outcome = invoke("run", config, "--out", runs["classes"], "--resume")
    assert outcome.exit_code == 0, outcome.output
    assert json.loads((runs["classes"] / "result.json").read_text())["operator"] == OPERATOR


@pytest.mark.parametrize("name", ["photos", "language"])
def test_criteria_are_a_table_of_the_page(runs, name):
    page, result = page_of(runs[name]), json.loads((runs[name] / "result.json").read_text())
    verdict = result["verdict"]
    criteria = [*verdict["forgetting"], *verdict["keeping"], *verdict.get("working", [])]
    table = page[page.index("What the verdict rests on") :]
    table = table[: table.index("</table>")]
    columns = re.findall(r'role="columnheader">([^<]*)<', table)
    assert columns == ["Criterion", "Value", "Against", "Difference", "Allowed", "Holds"]
    assert table.count('role="rowheader"') == len(criteria) > 0
    assert page.index("What this does not show") < page.index("What the verdict rests on")


@pytest.mark.parametrize("name", ["photos", "language", "classes"])
def test_no_page_shows_a_folder_of_the_operator(runs, name):
    folder = str(runs[name].parents[1])
    assert folder not in page_of(runs[name])
    assert folder not in page_of(runs[name] / "model", "README.md")


def test_a_page_for_a_person_lies_beside_the_report(runs):
    for name in ("photos", "language"):
        outcome = invoke("report", runs[name], "--for", "person")
        assert outcome.exit_code == 0, outcome.output
        assert "Example Hospital" in page_of(runs[name], "person.html")
        assert "forgotten" not in page_of(runs[name], "person.html")
    refused = invoke("report", runs["classes"], "--for", "person")
    assert refused.exit_code == 2
    assert "this run deleted nothing" in refused.output
    assert not (runs["classes"] / "person.html").exists()
    assert invoke("report", runs["photos"], runs["photos"], "--for", "person").exit_code == 2


def test_a_run_with_every_page_can_be_overwritten(runs, tiny_jobs):
    for name in ("pretrain", "photos"):
        config = tiny_jobs.written(runs[name].parents[1], name, operator=OPERATOR)
        copy = runs[name].with_name(f"again-{name}")
        assert invoke("run", config, "--out", copy).exit_code == 0
        invoke("report", copy, "--for", "person")
        outcome = invoke("run", config, "--out", copy, "--overwrite")
        assert outcome.exit_code == 0, outcome.output


@pytest.mark.parametrize(("name", "library"), [("photos", "myosotis"), ("language", "transformers")])
def test_a_card_lies_beside_the_model(runs, name, library):
    path = runs[name] / "model" / "README.md"
    _, head, text = path.read_text().split("---\n", 2)
    content = yaml.safe_load(head)
    assert content["library_name"] == library
    assert "myosotis" in content["tags"]
    assert "license" not in content
    assert "base_model" not in content
    result = json.loads((runs[name] / "result.json").read_text())
    assert "Did the model know it?" in text
    assert result["finished"][:10] in text
    assert "R-17" not in text
    assert "Example Hospital &lt;Data Office&gt;" in text
    assert is_complete(runs[name] / "model")
    assert myosotis.load(runs[name]) is not None


def test_a_card_of_somebody_else_is_left_alone(runs):
    run = Run.read(runs["classes"])
    path = run.path / "model" / "README.md"
    document = Document("Title", "Subtitle", [], Table("t", ["c"], [Row("r", ["1"])]))
    write_card(document, run)
    assert "Subtitle" in path.read_text()
    for own in (b"My own card.\n", b"\xb2 in another encoding\n"):
        path.write_bytes(own)
        write_card(document, run)
        assert path.read_bytes() == own


def test_runs_are_compared_by_name_with_every_verdict(runs, monkeypatch, tmp_path, recwarn):
    monkeypatch.chdir(tmp_path)
    outcome = invoke("report", runs["classes"], runs["tuned"])
    assert outcome.exit_code == 0, outcome.output
    page = page_of(tmp_path, "comparison-classes-tuned.html")
    table = page[page.index("The runs and their verdicts") :]
    table = table[: table.index("</table>")]
    assert re.findall(r'role="rowheader">([^<]+)', table) == ["classes", "tuned"]
    assert re.findall(r'role="columnheader">([^<]+)', table)[1:] == [
        "Method",
        "Seed",
        "Finished",
        "Has it learnt?",
        "Has it kept?",
    ]
    assert "fine-tuning" in page
    assert not [warning for warning in recwarn if "layout" in str(warning.message)]
    assert invoke("report", runs["classes"], runs["tuned"]).exit_code == 2


def test_a_comparison_of_other_models_or_data_says_so(runs, tmp_path):
    other = shutil.copytree(runs["photos"], tmp_path / "other")
    settings = yaml.safe_load((other / "config.yaml").read_text())
    settings["data"]["forget"] = {**settings["data"]["forget"], "size": [9, 9]}
    (other / "config.yaml").write_text(yaml.safe_dump(settings))
    (other / "digests.json").unlink()
    outcome = invoke("report", runs["photos"], other, "--out", tmp_path / "two.html")
    assert outcome.exit_code == 0, outcome.output
    assert "The runs differ in data: see Settings that differ." in page_of(tmp_path, "two.html")


def test_a_comparison_of_deletions_shows_every_verdict(runs, tmp_path):
    out = tmp_path / "two.html"
    outcome = invoke("report", runs["photos"], runs["photos"].with_name("again-photos"), "--out", out)
    assert outcome.exit_code == 0, outcome.output
    page = page_of(tmp_path, "two.html")
    result = json.loads((runs["photos"] / "result.json").read_text())
    assert "The runs differ in" not in page
    questions = ["Did the model know it?", "Is it forgotten?", "Is the rest kept?", "How sure are we?"]
    for question in questions:
        assert page.count(f"{question}</h3>") == 2
    mark = {True: "Yes", False: "No", None: "Undecided"}[result["verdict"]["as_unseen"]]
    assert f'<span class="mark">{mark}.</span>' in page[page.index("Is it as if it had never been seen?</h3>") :]
