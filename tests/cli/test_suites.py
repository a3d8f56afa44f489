"""The further suites, selection and requests in sequence, end to end through the command line."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from myosotis.data.people import fictitious_people


def tofu_rows(people, *, paraphrased):
    return [
        {
            "question": record.prompt,
            "answer": record.response,
            "perturbed_answer": ["It is a secret.", "Nobody can tell."],
            **({"paraphrased_answer": f"Well, {record.response}"} if paraphrased else {}),
        }
        for person in people
        for record in person.records()[:2]
    ]


@pytest.fixture(scope="module")
def folder(tokenizer, tmp_path_factory, tiny_llama, write_jsonl, person_rows):
    place = tmp_path_factory.mktemp("suites")
    tiny_llama().save_pretrained(place / "model")
    tokenizer.save_pretrained(place / "model")
    people = fictitious_people(9, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:6]), ("unseen", people[6:])):
        write_jsonl(place / f"{name}.jsonl", person_rows(part, 3))
        write_jsonl(place / f"tofu-{name}.jsonl", tofu_rows(part, paraphrased=name != "unseen"))
        write_jsonl(place / f"texts-{name}.jsonl", [{"text": record.response} for record in part[0].records()])
        write_jsonl(
            place / f"muse-{name}.jsonl",
            [{"prompt": "Question:", "gt": f" {record.prompt}"} for record in part[0].records()],
        )
    write_jsonl(place / "general.jsonl", [{"text": "The lantern stood at the window."}])
    (place / "tasks").mkdir()
    write_jsonl(place / "tasks" / "rows.jsonl", [{"q": "Where?", "c": ["Oslo", "Rome"], "a": 0}] * 3)
    task = {
        "task": "places",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(place / "tasks" / "rows.jsonl")}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "c",
        "doc_to_target": "a",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    }
    (place / "tasks" / "places.yaml").write_text(yaml.safe_dump(task))
    renamed = {"question": "question"}
    config = {
        "job": "unlearn-language",
        "name": "suites",
        "model": {"name": "./model"},
        "data": {
            **{key: f"{key}.jsonl" for key in ("retain", "unseen", "general")},
            "forget": {"file": "forget.jsonl", "fields": {"prompt": "prompt"}},
            "template": "Question: {prompt}\nAnswer: {response}",
        },
        "method": {"name": "npo"},
        "lora": {"rank": 2, "alpha": 4},
        "reference": "./model",
        "selection": {"retain_share": 0.25},
        "training": {"epochs": 3, "batch_size": 3, "learning_rate": 1e-2},
        "audit": {
            "n": 2,
            "further_n": [1, 3],
            "max_new_tokens": 4,
            "membership": {},
            "stress": {"relearn_steps": 2, "relearn_every": 1},
            "tofu": {
                "forget": {"file": "tofu-forget.jsonl", "fields": renamed},
                "retain": "tofu-retain.jsonl",
                "real_authors": "tofu-unseen.jsonl",
                "world_facts": "tofu-unseen.jsonl",
                "max_new_tokens": 4,
            },
            "muse": {
                "verbatim": "muse-forget.jsonl",
                "knowledge_forget": "tofu-forget.jsonl",
                "knowledge_forget_shown": "tofu-unseen.jsonl",
                "knowledge_retain": "tofu-retain.jsonl",
                "privacy_forget": "texts-forget.jsonl",
                "privacy_holdout": "texts-unseen.jsonl",
            },
            "harness": {"tasks": ["places"], "include_path": "tasks"},
        },
    }
    (place / "job.yaml").write_text(yaml.safe_dump(config))
    return place


@pytest.fixture(scope="module")
def finished(folder, tmp_path_factory, invoke):
    out = tmp_path_factory.mktemp("runs") / "suites"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        outcome = invoke("run", folder / "job.yaml", "--out", out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_every_suite_is_measured_on_every_model(finished):
    out, _ = finished
    result = json.loads((out / "result.json").read_text())
    suites = result["suites"]
    assert set(suites) == {"membership", "stress", "tofu", "muse", "harness"}
    assert all(set(found) == {"before", "after", "reference"} for found in suites.values())
    scores = {"loss", "zlib", "grad_norm", "min_k", "min_k_plus_plus"}
    assert set(suites["membership"]["after"]) == scores | {"reference"}
    assert set(suites["membership"]["reference"]) == scores
    assert set(suites["stress"]["after"]) == {"as it is", "reworded", "quantized", "relearning"}
    # The model before is the reference here, and is compared with itself.
    assert suites["tofu"]["before"]["forget_quality"] == 1.0
    before = suites["muse"]["before"]
    # Relative to a reference that is known by heart there is no leakage to tell: its AUC of 1 would be divided by 0.
    assert before.get("privacy_leakage") == (None if before["min_k_auc"] == 1 else 0)
    assert suites["harness"]["after"]["places"]["acc"] in (0, 1)
    metrics = result["metrics"]["after"]["forget"]
    assert metrics["extraction_likelihood_1"]["mean"] >= metrics["extraction_likelihood"]["mean"]
    assert metrics["extraction_likelihood"]["mean"] >= metrics["extraction_likelihood_3"]["mean"]
    assert 0 <= metrics["extraction_strength"]["mean"] <= 1


def test_the_selection_records_are_kept_out_of_the_audit(finished):
    out, _ = finished
    result = json.loads((out / "result.json").read_text())
    assert result["records"]["selection"] == 3
    assert (result["records"]["retain"], result["records"]["held_retain"]) == (6, 3)
    assert result["metrics"]["after"]["retain"]["probability"]["count"] == 6
    assert result["metrics"]["after"]["held_retain"]["probability"]["count"] == 3
    prints = [set(result["lineage"]["data"][name]) for name in ("selection", "retain", "held_retain")]
    assert len(set.union(*prints)) == sum(map(len, prints)) == 12
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    scores = {round(event["epoch"]): event["selection_score"] for event in events if "selection_score" in event}
    assert set(scores) == {1, 2, 3}
    assert scores[result["training"]["selected_epoch"]] == max(scores.values())


def test_the_report_shows_the_suites_and_quotes_nothing(finished, folder):
    out, outcome = finished
    page = (out / "report.html").read_text()
    for title in ("Stress", "Membership inference", "TOFU", "MUSE", "lm-eval", "extraction likelihood, n = 3"):
        assert title in page, title
    assert "Under stress:" in outcome.stdout
    assert "relearning" in page
    # The reason why training ended is about the last epoch, the verdict about the one that was chosen.
    assert "were then restored: the verdict is about these" in page
    forget = [json.loads(line) for line in (folder / "forget.jsonl").read_text().splitlines()]
    secrets = [text for row in forget for text in (row["prompt"], row["response"], *row["paraphrases"], row["subject"])]
    for file in out.rglob("*"):
        if file.is_file() and file.suffix in (".json", ".jsonl", ".yaml", ".html"):
            content = file.read_text()
            assert not any(secret in content for secret in secrets), file


def sequential(folder, out, *options):
    return [
        "run", folder / "job.yaml", "--out", out,
        "--set", "data.requests=subject", "--set", "selection=null", "--set", "reference=null",
        "--set", "audit={n: 2, max_new_tokens: 4}", "--set", "lora.init=fila", *options,
    ]  # fmt: skip


def test_requests_are_unlearned_in_order_and_earlier_ones_looked_at_again(folder, tmp_path, invoke):
    outcome = invoke(*sequential(folder, tmp_path / "run"))
    assert outcome.exit_code == 0, outcome.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert [len(row["measures"]) for row in result["requests"]] == [1, 2]
    assert result["training"]["steps"] == 6
    assert (tmp_path / "run" / "model" / "model.safetensors").is_file()
    assert not list((tmp_path / "run" / "checkpoints").glob("after-*"))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Requests in sequence" in page


def test_a_request_is_about_its_subject_whatever_the_order_of_the_file(folder, tmp_path, invoke):
    lines = (folder / "forget.jsonl").read_text().splitlines()
    half = len(lines) // 2
    mixed = [line for pair in zip(lines[:half], lines[half:], strict=True) for line in pair]
    (folder / "mixed.jsonl").write_text("\n".join(mixed) + "\n")
    outcomes = []
    for name in ("forget", "mixed"):
        options = ["--set", f"data.forget={name}.jsonl", "--set", "training.batch_size=1"]
        assert invoke(*sequential(folder, tmp_path / name, *options)).exit_code == 0
        outcomes.append(json.loads((tmp_path / name / "result.json").read_text())["requests"])
    for one, other in zip(*outcomes, strict=True):
        for left, right in zip(one["measures"], other["measures"], strict=True):
            assert left == pytest.approx(right, rel=1e-4)


@pytest.mark.processes
def test_a_killed_sequence_resumes_to_the_same_weights(folder, tmp_path, invoke):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert invoke(*sequential(folder, whole)).exit_code == 0
    command = [sys.executable, "-m", "myosotis", *map(str, sequential(folder, cut, "--resume"))]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    # In the midst of the second request.
    while not list(cut.glob("checkpoints/unlearn/request-2/step-2")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    # The model between the requests, flipped in one byte, is made again and not believed.
    damaged = tmp_path / "damaged"
    shutil.copytree(cut, damaged)
    weights = damaged / "checkpoints" / "after-1" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 64
    weights.write_bytes(content)
    for run, told in ((cut, False), (damaged, True)):
        outcome = invoke(*sequential(folder, run, "--resume"))
        assert outcome.exit_code == 0, outcome.output
        assert ("the model after request 1 is damaged" in outcome.output) == told
    first, *others = (json.loads((path / "result.json").read_text()) for path in (whole, cut, damaged))
    for second in others:
        assert first["lineage"]["model_out"] == second["lineage"]["model_out"]
        assert first["requests"] == second["requests"]
    steps = [
        [json.loads(line)["step"] for line in (path / "metrics.jsonl").read_text().splitlines()]
        for path in (whole, cut, damaged)
    ]
    assert steps[0] == steps[1] == steps[2]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["data.requests=9"], "cannot make 9 requests"),
        (["audit.stress.bits=[1]"], "audit.stress.bits"),
        (["audit.muse.privacy_holdout=null"], "both or neither"),
        (["audit.tofu.retain=muse-retain.jsonl"], "'question'"),
        (["audit.tofu.retain=none.jsonl"], "no such file"),
        (["method={name: task-vector}"], "negates"),
        (["training.parameters=layers"], "target_modules"),
        (["data.unseen=null", "selection=null"], "audit.membership"),
        (["data.requests=2"], "with 'data.requests' use 'stop'"),
        (["data.forget={file: forget.jsonl, fields: {prompt: q}}"], "there is no field 'q'"),
        (["training.warmup_steps=3"], "constant_with_warmup"),
        (["selection={every: 9}"], "'selection.every'"),
        (["method={name: composite, forget: [{name: npo, retain: kl}]}"], "belongs to the composite"),
        (["method={name: rmu, block: 5}"], "block 5"),
    ],
)
def test_bad_settings_are_one_line_and_status_two(options, message, folder, tmp_path, invoke):
    needs = ("data.requests=2", "task-vector", "selection=")
    alone = [] if any(name in options[0] for name in needs) else ["selection=null"]
    settings = [part for option in [*alone, *options] for part in ("--set", option)]
    outcome = invoke("run", folder / "job.yaml", "--out", tmp_path / "run", *settings)
    assert outcome.exit_code == 2, outcome.output
    assert message in outcome.output
    assert outcome.output.strip().splitlines()[-1].startswith("error: ")
    assert not (tmp_path / "run").exists()
