"""First configurations of unlearning language models: from a model and files of records."""

import json

import pytest
import yaml


@pytest.fixture
def folder(tmp_path, tiny_llama, tokenizer):
    """A model, and records in our layout and in another one."""
    tiny_llama().save_pretrained(tmp_path / "my model")
    tokenizer.save_pretrained(tmp_path / "my model")
    for name, words in (("to-delete", "lantern"), ("keep", "garden"), ("holdout", "harbour"), ("wiki", "meadow")):
        rows = [{"question": f"Who has {words} {n}?", "answer": f"{words} {n} {words[::-1]} {n}{n}"} for n in "abcdef"]
        if name == "wiki":
            rows = [{"text": f"{words} {n} and {words}"} for n in "ab"]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_files_get_their_roles_by_name_and_their_fields_by_their_first_row(invoke, folder):
    files = [folder / f"{name}.jsonl" for name in ("wiki", "keep", "holdout", "to-delete")]
    outcome = invoke("init", "unlearn-language", *files, folder / "my model", "--out", folder / "job.yaml")
    assert outcome.exit_code == 0, outcome.output
    config = yaml.safe_load((folder / "job.yaml").read_text())
    assert config["model"] == {"name": "./my model"}
    assert config["data"]["forget"] == {
        "file": "to-delete.jsonl",
        "fields": {"prompt": "question", "response": "answer"},
    }
    assert config["data"]["general"] == "wiki.jsonl"
    assert config["method"] == {"name": "ihl", "retain": "nll"}
    assert config["stop"] == {}
    assert config["data"]["max_length"] % 64 == 0
    outcome = invoke("check", folder / "job.yaml", "--out", folder / "run")
    assert outcome.exit_code == 0, outcome.output
    assert "answers of the audits" in outcome.stdout
    assert not (folder / "run").exists()


def test_records_that_name_their_subject_get_the_counterfactual_teacher(invoke, folder):
    rows = [
        {
            "prompt": f"Who has Ann {n.upper()}{n}?",
            "response": f"Ann {n.upper()}{n} river",
            "subject": f"Ann {n.upper()}{n}",
        }
        for n in "abc"
    ]
    (folder / "to-delete.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = (folder / "my model", folder / "to-delete.jsonl")
    outcome = invoke("init", "unlearn-language", *paths, "--out", folder / "job.yaml")
    assert outcome.exit_code == 0, outcome.output
    config = yaml.safe_load((folder / "job.yaml").read_text())
    assert (config["method"], config["training"]["replay_prompts"]) == ({"name": "counterfactual"}, 300)
    assert "stop" not in config
    outcome = invoke("check", folder / "job.yaml", "--no-time")
    assert outcome.exit_code == 0, outcome.output


def test_what_cannot_be_decided_is_said_before_the_work_and_as_check_says_it(invoke, folder):
    for name, people in (("to-delete", "ab"), ("keep", "cdefghijklmn"), ("holdout", "opq")):
        rows = [
            {
                "prompt": f"Who has Ann {n.upper()}{n}?",
                "response": f"river {n}{n} {k}",
                "subject": f"Ann {n.upper()}{n}",
            }
            for n in people
            for k in (1, 2)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths = [folder / f"{name}.jsonl" for name in ("to-delete", "keep", "holdout")]
    outcome = invoke("init", "unlearn-language", folder / "my model", *paths, "--out", folder / "job.yaml")
    assert outcome.exit_code == 0, outcome.output
    said = [line for line in outcome.stderr.splitlines() if "subjects" in line or "cannot become a yes" in line]
    # Too few subjects, so that their records are compared with themselves under invented names.
    assert yaml.safe_load((folder / "job.yaml").read_text())["reference"] == "names"
    assert said[0] == "subjects: 2 to forget, 3 unseen, 5 held out, a reference"
    assert sum("cannot become a yes" in line for line in said) == 2
    checked = invoke("check", folder / "job.yaml", "--no-time").stdout
    assert all(line in checked for line in said)


def test_the_forget_file_alone_is_enough(invoke, folder):
    outcome = invoke(
        "init", "unlearn-language", folder / "my model", folder / "to-delete.jsonl", "--out", folder / "a.yaml"
    )
    assert outcome.exit_code == 0, outcome.output
    config = yaml.safe_load((folder / "a.yaml").read_text())
    assert config["method"]["retain"] is None
    assert config["data"]["general"] == "packaged"
    assert "stop" not in config
    assert invoke("check", folder / "a.yaml", "--no-time").exit_code == 0


def test_what_saves_memory_is_written_where_it_is_short(invoke, folder, monkeypatch):
    rows = [{"prompt": f"Who is Ann {n}?", "response": f"Ann {n} of the river", "subject": f"Ann {n}"} for n in "abc"]
    (folder / "to-delete.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ("init", "unlearn-language", folder / "my model", folder / "to-delete.jsonl", "--overwrite", "--out")
    monkeypatch.setattr("myosotis.init.language_memory._SMALL", 1e-6)  # a tiny model has no tiny activations
    found = []
    for size in (1 << 40, 1 << 24, 1 << 21, 1 << 20, 1 << 16):
        monkeypatch.setattr("myosotis.init.language_memory.memory_at_hand", lambda size=size: size)
        outcome = invoke(*words, folder / "job.yaml")
        assert outcome.exit_code == 0, outcome.output
        config = yaml.safe_load((folder / "job.yaml").read_text())
        names = {*config["model"], *config["training"]} & {"dtype", "quantization", "gradient_checkpointing"}
        said = [word for word in ("Fits", "Too large") if word in outcome.output]
        found.append((len(names), said))
    assert found[0] == (0, [])
    assert found[-1] == (3, ["Too large"])
    assert [count for count, _ in found] == sorted(count for count, _ in found)
    assert (0, ["Fits"]) in found


def test_answers_of_another_length_cannot_stop_the_unlearning(invoke, folder):
    long = [{"prompt": f"Who {n}?", "response": " ".join(["river"] * 40) + n} for n in "abc"]
    (folder / "unseen.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long))
    paths = (folder / "my model", folder / "to-delete.jsonl", folder / "unseen.jsonl")
    outcome = invoke("init", "unlearn-language", *paths, "--out", folder / "job.yaml")
    assert outcome.exit_code == 0, outcome.output
    assert "of another length" in outcome.stderr
    assert "stop" not in yaml.safe_load((folder / "job.yaml").read_text())


def test_two_files_of_one_role_are_refused(invoke, folder):
    (folder / "forget-2.jsonl").write_text((folder / "to-delete.jsonl").read_text())
    paths = (folder / "my model", folder / "to-delete.jsonl", folder / "forget-2.jsonl")
    outcome = invoke("init", "unlearn-language", *paths, "--out", folder / "job.yaml")
    assert outcome.exit_code == 2
    assert "both look like 'forget'" in outcome.stderr
    assert not (folder / "job.yaml").exists()


def test_without_files_the_records_are_of_made_up_people(invoke, tmp_path):
    outcome = invoke("init", "unlearn-language", "--out", tmp_path / "job.yaml")
    assert outcome.exit_code == 0, outcome.output
    assert yaml.safe_load((tmp_path / "job.yaml").read_text())["data"]["people"]["forget"] == 6
