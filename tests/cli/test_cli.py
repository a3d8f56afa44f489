"""The command line, end to end on a tiny model: what it writes, what it refuses, how it survives being killed."""

import copy
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM

import myosotis
from myosotis import __version__
from myosotis.data.people import fictitious_people
from myosotis.engine.config import load_config
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.run import Run
from myosotis.evaluation.comparison import SubjectsHurt
from myosotis.unlearning.language import METHODS
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.job import LanguageUnlearningJob
from myosotis.unlearning.language.job.report_next import next_steps
from myosotis.unlearning.language.job.result import LanguageResult
from myosotis.unlearning.language.job.unlearning import Unlearning


def rows(people):
    return [
        {"prompt": record.prompt, "response": record.response, "facts": list(record.facts), "subject": record.subject}
        for person in people
        for record in person.records()[:3]
    ]


@pytest.fixture(scope="module")
def world(tokenizer, tmp_path_factory, tiny_llama, write_jsonl):
    """A directory with a tiny model, data and a configuration."""
    folder = tmp_path_factory.mktemp("world")
    tiny_llama().save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    larger = copy.deepcopy(tokenizer)
    larger.add_tokens(["Ottilie"])
    for name, value in (("nan", torch.nan), ("huge", 1e5), ("unresized", 0.0)):
        broken = tiny_llama()
        with torch.no_grad():
            broken.model.layers[0].mlp.up_proj.weight[0, 0] = value
        broken.save_pretrained(folder / name)
        (larger if name == "unresized" else tokenizer).save_pretrained(folder / name)
    people = fictitious_people(6, seed=5)
    write_jsonl(folder / "forget.jsonl", rows(people[:2]))
    write_jsonl(folder / "retain.jsonl", rows(people[2:4]))
    write_jsonl(folder / "unseen.jsonl", rows(people[4:]))
    write_jsonl(folder / "general.jsonl", [{"text": "The lantern stood at the window."}])
    config = {
        "job": "unlearn-language",
        "name": "tiny",
        "model": {"name": "./model"},
        "data": {key: f"{key}.jsonl" for key in ("forget", "retain", "unseen", "general")},
        "method": {"name": "ihl"},
        "lora": {"rank": 2, "alpha": 4, "init": "fila"},
        "training": {"epochs": 2, "batch_size": 3, "learning_rate": 1e-3},
        "audit": {"n": 2, "max_new_tokens": 8},
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(config))
    return folder


@pytest.fixture(scope="session")
def unlearn(invoke):
    def unlearn(world, out, *options):
        return invoke("run", world / "job.yaml", "--out", out, *options)

    return unlearn


@pytest.fixture(scope="module")
def finished(world, tmp_path_factory, unlearn):
    """A finished run and what was printed."""
    out = tmp_path_factory.mktemp("runs") / "tiny"
    outcome = unlearn(world, out)
    assert outcome.exit_code == 0, outcome.output
    return out, outcome


def test_a_run_leaves_everything_that_it_should(finished, world):
    out, outcome = finished
    assert yaml.safe_load((out / "config.yaml").read_text())["method"]["retain"] == "nll"
    names = {path.name for path in out.iterdir()}
    assert names == {
        "checkpoints", "config.yaml", "digests.json", "environment.json", "fingerprint-salt.txt", "metrics.jsonl",
        "model", "report.html", "result.json",
    }  # fmt: skip
    result = json.loads((out / "result.json").read_text())
    assert result["schema_version"] == 4
    assert result["kind"] == "unlearn-language"
    assert set(result["metrics"]) == {"before", "after"}
    fact = result["metrics"]["after"]["forget"]["fact_accuracy"]
    assert fact["low"] <= fact["mean"] <= fact["high"]
    assert (fact["count"], fact["units"]) == (6, 2)
    assert result["training"]["steps"] == 4
    assert result["lineage"]["model_in"] == result["lineage"]["base"] != result["lineage"]["model_out"]
    assert [len(result["lineage"]["data"][name]) for name in ("forget", "retain", "held_retain")] == [6, 3, 3]
    events = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [event["step"] for event in events if "loss" in event] == [1, 2, 3, 4]
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["training"]["max_grad_norm"] == 1.0
    assert "Is it forgotten?" in outcome.output
    assert str(out / "report.html") in outcome.output


def test_a_run_ends_with_what_it_left_and_what_to_do(finished, invoke):
    out, outcome = finished
    lines = outcome.output.splitlines()
    assert f"load: myosotis.load({str(out)!r})" in lines
    assert f"model: {out / 'model'}" in lines
    assert "next: Whether it was known takes 5 unseen subjects or more, or a reference" in outcome.output
    page = (out / "report.html").read_text()
    assert "What to do next" in page
    assert str(out) not in page


def test_every_no_and_every_undecided_has_a_next_step(finished, tmp_path):
    out, _ = finished
    run = Run.read(out)
    result, config = run.result_as(LanguageResult), run.settings()
    hurt = SubjectsHurt.among(1, 20, 0.1, 0.15, 0.95)

    def next_settings(fine_tune=None, stop_reason="epochs", method=None, training=None, **answers):
        whole = {"known": True, "forgotten": True, "kept": True, "as_unseen": True, "over_forgotten": False}
        whole["works"] = True
        verdict = result.verdict.model_copy(update={**whole, "reasons": {}, "hurt": hurt, **answers})
        went = result.training.model_copy(update={"stop_reason": stop_reason})
        changed = {"fine_tune": fine_tune, "method": method or config["method"]}
        changed["training"] = training or config["training"]
        steps = next_steps(result.model_copy(update={"verdict": verdict, "training": went}), config | changed)
        return [own.settings for own in steps]

    assert next_settings() == []
    assert next_settings(known=None) == [["reference=names"]]
    assert next_settings(known=None, fine_tune={"epochs": 1}) == [["reference=retrain"]]
    assert next_settings(forgotten=False) == [["training.epochs=4"], ["method={name: counterfactual}"]]
    assert next_settings(forgotten=False, stop_reason="diverged")[0] == ["training.learning_rate=0.0005"]
    assert next_settings(forgotten=None, fine_tune={"epochs": 1}) == [["reference=retrain"]]
    assert next_settings(over_forgotten=True) == [["method={name: counterfactual}"]]
    assert next_settings(kept=False) == [["training.learning_rate=0.0005", "training.epochs=4"], ()]
    assert next_settings(kept=None) == [()]
    assert next_settings(works=False) == [["training.learning_rate=0.0005", "training.epochs=4"]]
    assert next_settings(works=None) == [()]
    assert next_settings(works=None, working=[]) == []
    for reason in ("nothing_held_out", "not_known", "no_subjects"):
        assert next_settings(kept=None, reasons={"kept": reason}, hurt=None) == [()]
    assert next_settings(kept=None, hurt=SubjectsHurt.among(0, 20, 0.1, 0.15, 0.95)) == [()]
    assert next_settings(as_unseen=False) == [["training.epochs=4"], ["method={name: counterfactual}"]]
    assert next_settings(as_unseen=None) == [["reference=names"]]
    assert next_settings(known=None, unit="record") == [()]
    for epochs, rate, less in ((20, 0.1, "epochs=15"), (2, 0.1, "epochs=1"), (1, 0.1, "learning_rate=0.075")):
        changed = {"method": {"name": "counterfactual"}, "training": {"epochs": epochs, "learning_rate": rate}}
        assert next_settings(over_forgotten=True, **changed) == [[f"training.{less}"]]
    for settings in ("training.epochs=4", "method={name: counterfactual}", "training.learning_rate=0.0005"):
        load_config(out / "config.yaml", LanguageUnlearningConfig, [settings])
    # Nothing of another method's settings is taken over.
    other = tmp_path / "npo.yaml"
    other.write_text(yaml.safe_dump(config | {"method": {"name": "npo", "beta": 0.3, "retain": "nll"}}))
    (step,) = next_settings(over_forgotten=True)
    assert load_config(other, LanguageUnlearningConfig, step).method.settings["retain"] == "kl"


def test_the_result_loads_as_a_model_and_as_an_adapter_of_the_stock_base(finished, world):
    out, _ = finished
    model = AutoModelForCausalLM.from_pretrained(out / "model").eval()
    result = json.loads((out / "result.json").read_text())
    assert weights_hash(model) == result["lineage"]["model_out"]
    base = AutoModelForCausalLM.from_pretrained(world / "model")
    adapted = PeftModel.from_pretrained(base, out / "model" / "adapter").eval()
    ids = torch.arange(20).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(adapted(input_ids=ids).logits, model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)


def test_nothing_that_a_run_leaves_quotes_the_forget_set(finished, world):
    out, outcome = finished
    people = fictitious_people(6, seed=5)
    secrets = [word for person in people[:2] for word in (person.name, person.city, person.book)]
    text = outcome.output + "".join(
        path.read_text() for path in out.iterdir() if path.suffix in (".json", ".jsonl", ".html", ".yaml")
    )
    text += "".join(path.read_text() for path in (out / "checkpoints").glob("*.json"))
    assert not [word for word in secrets if word in text]


def test_a_run_tells_of_no_folder_of_its_machine_and_is_its_owners(finished, world, tmp_path, unlearn):
    out, _ = finished
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    taught = tmp_path / "taught"
    assert unlearn(world, taught, "--set", "fine_tune={epochs: 1}", "--set", "training.epochs=1").exit_code == 0
    for run in (out, taught):
        assert (
            json.loads((run / "model" / "adapter" / "adapter_config.json").read_text())["base_model_name_or_path"]
            is None
        )
        telling = [
            path.name
            for path in [*run.iterdir(), *(run / "model").rglob("*")]
            if path.is_file() and str(world.parent).encode() in path.read_bytes()
        ]
        assert telling == ["config.yaml"]
    assert "forget.jsonl" in (out / "report.html").read_text()


def test_samples_are_shown_on_request_only(world, tmp_path, unlearn):
    outcome = unlearn(world, tmp_path / "run", "--show-samples", "--set", "training.epochs=1")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert fictitious_people(6, seed=5)[0].city in page


def test_equal_jobs_give_equal_results(finished, world, tmp_path, unlearn):
    out, _ = finished
    assert unlearn(world, tmp_path / "again").exit_code == 0
    first, second = (json.loads((path / "result.json").read_text()) for path in (out, tmp_path / "again"))
    for result in (first, second):
        for worst in ("worst_remembered", "worst_kept"):
            result["verdict"][worst].pop("subject")  # salted by the run
    for key in ("metrics", "verdict", "thresholds", "training"):
        assert first[key] == second[key]
    assert first["lineage"]["model_out"] == second["lineage"]["model_out"]


def test_reports_again_and_side_by_side(finished, world, tmp_path, invoke, unlearn):
    out, _ = finished
    before = (out / "report.html").read_text()
    assert invoke("report", out).exit_code == 0
    assert (out / "report.html").read_text() == before
    unlearn(world, tmp_path / "ga", "--set", "method.name=ga", "--set", "lora=null")
    outcome = invoke("report", out, tmp_path / "ga", "--out", tmp_path / "both.html")
    assert outcome.exit_code == 0, outcome.output
    page = (tmp_path / "both.html").read_text()
    assert "Gradient ascent" in page
    assert "method.name" in page
    for question in ("Did the model know it?", "Is it forgotten?", "Is the rest kept?", "How sure are we?"):
        assert page.count(f"{question}</h3>") == 2
    assert invoke("report", out, tmp_path / "ga", "--out", tmp_path / "both.html").exit_code == 2
    assert invoke("report", world).exit_code == 2


@contextmanager
def without_write_access(folder):
    """Inside, nobody may write below a folder; root may everywhere, so it is another user meanwhile."""
    entries = [folder, *folder.rglob("*")]
    for entry in entries:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        if not os.access(myosotis.__file__, os.R_OK, effective_ids=True):
            pytest.skip("the package is in a folder that another user cannot read")
        yield
    finally:
        if is_root:
            os.seteuid(0)
        for entry in entries:
            entry.chmod(0o755 if entry.is_dir() else 0o644)


def test_a_run_on_read_only_storage_is_reported_on(finished, invoke):
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        run = Path(place) / "run"
        shutil.copytree(finished[0], run)
        with without_write_access(run):
            outcome = invoke("report", run)
            missed = invoke("report", run, "--out", run / "other.html")
        assert outcome.exit_code == 0, outcome.output
        assert "Is it forgotten?" in outcome.stdout
        assert "report.html was not written (Permission denied); --out names another page" in outcome.stderr
        assert missed.exit_code == 1
        assert "error:" in missed.stderr


def test_a_taught_job_with_a_reference_and_full_weights(world, tmp_path, invoke):
    outcome = invoke(
        "run", world / "job.yaml", "--out", tmp_path / "run",
        "--set", "fine_tune={epochs: 12, batch_size: 4, learning_rate: 3e-3}",
        "--set", "reference=retrain", "--set", "lora=null",
        "--set", "stop={min_epochs: 1, margin: 0.3}", "--set", "audit.n=1", "--set", "method={name: npo, retain: kl}",
        "--set", "training.epochs=1",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["thresholds"]["extraction_likelihood"] > 0
    assert set(result["metrics"]) == {"before", "after", "reference"}
    assert result["lineage"]["base"] != result["lineage"]["model_in"]
    assert not (tmp_path / "run" / "checkpoints" / "target").exists()


def test_fictitious_people_need_no_file(world, tmp_path, invoke):
    config = {
        "job": "unlearn-language",
        "name": "people",
        "model": {"name": str(world / "model")},
        "data": {"people": {"forget": 1, "retain": 1, "unseen": 1}},
        "training": {"epochs": 1},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(config))
    outcome = invoke("run", tmp_path / "job.yaml", "--out", tmp_path / "run", "--set", "audit.n=3")
    assert outcome.exit_code == 0, outcome.output


BAD = [
    (["--set", "data.forget=none.jsonl"], "no such file"),
    (["--set", "data.forget=bad.jsonl"], "line 2: is not JSON"),
    (["--set", "data.forget=lacks.jsonl"], "line 1: the key 'response' is missing"),
    (["--set", "data.forget=empty.jsonl"], "holds no record"),
    (
        ["--set", "data.forget=retain.jsonl"],
        "the forget and retain sets share records (6 by their subject, 6 by their response, 6 by nearly",
    ),
    (["--set", "method.name=ihk"], "unknown method 'ihk'; did you mean 'ihl'?"),
    (["--set", "trainin.epochs=1"], "did you mean 'training'?"),
    (["--set", "training.learning_rate=-1"], "greater than 0"),
    (["--set", "audit.confidence=0.01"], "greater than or equal to 0.9"),
    (["--set", "audit.margin=0.99"], "less than or equal to 0.5"),
    (["--set", "audit.kept_share=0"], "greater than or equal to 0.5"),
    (["--set", "lora.target_modules=[q_prj]"], "no module matches 'q_prj'; did you mean 'q_proj'?"),
    (["--set", "lora.target_modules=.*nothing"], "no module matches"),
    (["--set", "lora.rank=64"], "lora.rank"),
    (["--set", "model.name=./empty"], "is not a model"),
    (["--set", "model.name=./nowhere"], "no such model directory"),
    (["--set", "reference=./nowhere"], "no such model directory"),
    (["--set", "nonsense"], "expected KEY=VALUE"),
    (["--resume", "--overwrite"], "exclude each other"),
    (["--set", "data.unseen=forget.jsonl"], "the forget and unseen sets share records (6 by their subject"),
    (["--set", "data.forget=long.jsonl"], "1 of 1 records are longer than data.max_length=512 tokens"),
    (["--set", "data.max_length=200", "--set", "data.general=long.jsonl"], "the model takes 128"),
    (["--set", "method.name=idk", "--set", "data.forget=general.jsonl"], "is plain text"),
    (
        ["--set", "stop={figures: [memorization_accuracy]}", "--set", "audit.n=60"],
        "as many tokens as audit.n=60; --set audit.n=3 measures shorter ones",
    ),
    (
        [
            "--set",
            "stop={figures: [extraction_likelihood]}",
            "--set",
            "data.forget=lengthy.jsonl",
            "--set",
            "fine_tune={epochs: 1}",
        ],
        "stop: these thresholds were calibrated on sequences of",
    ),
    (["--set", "lora.target_modules=[lm_head]"], "tied to the embeddings"),
    (["--set", "method={name: npo, beta: x}"], "beta"),
    (["--set", "model.name=./nan"], "1 of its weights hold infinity or NaN in float32, model.layers.0.mlp.up_proj"),
    (["--set", "model.name=./huge", "--set", "model.dtype=float16"], "hold infinity or NaN in float16"),
    (["--set", "model.name=./unresized", "--set", "data.forget=added.jsonl"], "produces token 300 of these records"),
    (["--set", "trackers=[wandb]"], "tracker 'wandb': its package is not installed"),
    (["--set", "trackers=[foo]"], "'trackers.0'"),
    (["--set", "data.replay=true"], "'replay' repeats earlier 'requests', which are missing"),
    (["--set", "training.optimizer=galore_adamw"], "training: optimizer galore_adamw: You need to install"),
    (["--set", "lora=null", "--set", "training.parameters=("], "'(' is not a regular expression"),
    (["--set", "lora=null", "--set", "training.parameters=nope"], "no parameter matches 'nope'"),
    (
        ["--set", "method={name: gd, projection: conflict}", "--set", "training.precision=fp16"],
        "projection works on whole gradients: not with fp16",
    ),
    (
        ["--set", "method={name: npo, retain: kl}", "--set", "training.reference_cache_gb=1e-6"],
        "more than reference_cache_gb=1e-06",
    ),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[" ".join(options) for options, _ in BAD])
def test_bad_input_is_one_line_and_status_two_and_changes_nothing(
    options, message, world, tmp_path, unlearn, write_jsonl
):
    (world / "empty").mkdir(exist_ok=True)
    (world / "bad.jsonl").write_text('{"text": "fine"}\nnonsense\n')
    (world / "lacks.jsonl").write_text('{"prompt": "Who?"}\n')
    (world / "empty.jsonl").write_text("")
    write_jsonl(world / "lengthy.jsonl", [{"prompt": "Who?", "response": "Nobody knew who had lit it. " * 4}])
    write_jsonl(world / "added.jsonl", [{"prompt": "Who lives here?", "response": "Ottilie lives here."}])
    write_jsonl(world / "long.jsonl", [{"text": "Nobody knew who had lit it. " * 60}])
    outcome = unlearn(world, tmp_path / "deep" / "run", *options)
    assert outcome.exit_code == 2
    errors = [line for line in outcome.output.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    assert message in errors[0]
    assert list(tmp_path.iterdir()) == []


def test_a_launch_that_cannot_shard_is_refused_before_any_work(world, tmp_path, monkeypatch, unlearn):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    outcome = unlearn(world, tmp_path / "run")
    assert outcome.exit_code == 2
    assert [line for line in outcome.output.splitlines() if line] == [
        "error: FSDP 1 is not supported; set fsdp_version: 2"
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overrides", [[], ["data.requests=2"]])
def test_a_fault_of_the_program_is_not_taken_for_bad_input(overrides, world, tmp_path, monkeypatch):
    def fault(*arguments):
        raise ValueError("a bug")

    monkeypatch.setattr(Unlearning, "_watch", fault)
    config = load_config(world / "job.yaml", LanguageUnlearningConfig, overrides)
    job = LanguageUnlearningJob(config, tmp_path / "run")
    job.prepare()
    with pytest.raises(ValueError, match="a bug") as raised:
        job.run()
    assert not isinstance(raised.value, InputError)


def test_missing_configuration_and_existing_run(finished, world, tmp_path, invoke, unlearn):
    outcome = invoke("run", tmp_path / "none.yaml")
    assert outcome.exit_code == 2
    assert "no such configuration file" in outcome.output
    out, _ = finished
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    outcome = unlearn(world, out)
    assert outcome.exit_code == 2
    assert "already exists; --resume continues it, --overwrite restarts it" in outcome.output
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before
    assert unlearn(world, out, "--resume").exit_code == 0


def test_a_finished_run_with_a_damaged_model_is_not_called_finished(finished, world, tmp_path, unlearn):
    shutil.copytree(finished[0], tmp_path / "run")
    weights = tmp_path / "run" / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    outcome = unlearn(world, tmp_path / "run", "--resume")
    assert outcome.exit_code == 2
    assert "is finished, but its model/ is damaged or incomplete; --overwrite runs the job again" in outcome.output


def test_a_run_does_not_go_on_with_other_data(world, tmp_path, unlearn, write_jsonl):
    write_jsonl(world / "changing.jsonl", rows(fictitious_people(6, seed=5)[:1]))
    options = ("--set", "data.forget=changing.jsonl", "--set", "training.epochs=1")
    assert unlearn(world, tmp_path / "run", *options).exit_code == 0
    write_jsonl(world / "changing.jsonl", rows(fictitious_people(6, seed=5)[1:2]))
    outcome = unlearn(world, tmp_path / "run", *options, "--resume")
    assert outcome.exit_code == 2
    assert "the forget set changed since" in outcome.output


def test_a_run_that_holds_its_own_model_is_not_overwritten(finished, world, unlearn):
    out, _ = finished
    outcome = unlearn(world, out, "--overwrite", "--set", f"model.name={out / 'model'}")
    assert outcome.exit_code == 2
    assert "which the job reads" in outcome.output
    assert (out / "model" / "model.safetensors").is_file()


def test_shared_records_are_permitted_on_request_and_reported(world, tmp_path, unlearn):
    outcome = unlearn(
        world, tmp_path / "run", "--set", "data.forget=retain.jsonl", "--set", "data.allow_shared=true",
        "--set", "training.epochs=1",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.output
    assert (
        "The sets share records, which was permitted (data.allow_shared)"
        in (tmp_path / "run" / "report.html").read_text()
    )


def test_teaching_that_diverges_is_one_line_and_leaves_no_model(world, tmp_path, settings, unlearn):
    outcome = unlearn(world, tmp_path / "run", *settings("fine_tune={epochs: 2, learning_rate: 1e30}"))
    assert outcome.exit_code == 1
    assert "error: teaching the target model diverged; lower fine_tune.learning_rate" in outcome.output
    assert not (tmp_path / "run" / "checkpoints" / "target").exists()


def test_a_training_that_the_guard_ended_has_a_result(world, tmp_path, settings, unlearn):
    options = ("method={name: ga}", "lora=null", "training.epochs=8", "training.max_nll=7.0")
    outcome = unlearn(world, tmp_path / "run", *settings(*options, "training.learning_rate=0.05"))
    assert outcome.exit_code == 0, outcome.output
    training = json.loads((tmp_path / "run" / "result.json").read_text())["training"]
    assert training["stop_reason"] == "diverged"
    assert "negative log-likelihood" in training["divergence"]
    assert training["divergence"] in (tmp_path / "run" / "report.html").read_text()


def test_a_result_that_is_not_finite_is_one_line_and_never_a_verdict(world, tmp_path, settings, unlearn):
    options = ("method={name: task-vector, scale: 1e39}", "lora=null", "training.learning_rate=0.1")
    outcome = unlearn(world, tmp_path / "run", *settings(*options, "training.max_nll=1e9"))
    assert outcome.exit_code == 1
    assert "error: the model's logits are not finite" in outcome.output
    assert "Is it forgotten?" not in outcome.output
    assert not (tmp_path / "run" / "result.json").exists()


def test_version_methods_and_help(invoke):
    assert invoke("--version").output == f"myosotis {__version__}\n"
    listed = json.loads(invoke("methods", "--json").output)["unlearn-language"]
    assert {card["name"] for card in listed} == set(METHODS)
    assert all(all(card.values()) for card in listed)
    assert "Inverted" in invoke("methods").output
    for words in ([], ["run"], ["report"], ["methods"]):
        outcome = invoke(*words, "--help")
        assert outcome.exit_code == 0
        assert "Usage" in outcome.output
    assert invoke("unlern", "language").exit_code == 2


@pytest.mark.processes
@pytest.mark.parametrize("kill_at", ["step-3", "step-6"])
@pytest.mark.parametrize("family", ["tiny_llama", "tiny_gpt2"])
def test_a_killed_run_resumes_to_the_same_weights(family, kill_at, world, tokenizer, tmp_path, unlearn, request):
    request.getfixturevalue(family)().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    options = [
        "--set", f"model.name={tmp_path / 'model'}", "--set", "training.epochs=8", "--set", "training.batch_size=2",
        "--set", "training.schedule=linear",
    ]  # fmt: skip
    assert unlearn(world, tmp_path / "whole", *options).exit_code == 0
    command = [sys.executable, "-m", "myosotis", "run", str(world / "job.yaml"), *options]
    command += ["--out", str(tmp_path / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not (tmp_path / "killed" / "checkpoints" / "unlearn" / kill_at).is_dir():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "result.json").exists()
    if kill_at == "step-6":
        # A newest checkpoint that was cut short is passed over.
        newest = max((tmp_path / "killed" / "checkpoints" / "unlearn").glob("step-*"), key=lambda p: int(p.name[5:]))
        file = newest / "adapter_model.safetensors"
        file.write_bytes(file.read_bytes()[:100])
    outcome = unlearn(world, tmp_path / "killed", *options, "--resume")
    assert outcome.exit_code == 0, outcome.output
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    assert results[0]["lineage"]["model_out"] == results[1]["lineage"]["model_out"]
    assert results[0]["metrics"] == results[1]["metrics"]
    histories = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert histories[0] == histories[1]


@pytest.mark.processes
def test_a_run_with_a_default_adapter_does_not_depend_on_what_its_process_drew_before(
    world, tmp_path, killed_at, settings, unlearn
):
    options = settings("lora.init=default", "fine_tune.epochs=1", "training.epochs=20", "checkpoint_every=20")
    assert unlearn(world, tmp_path / "whole", *options).exit_code == 0
    audited = tmp_path / "killed" / "checkpoints" / "earlier-before.json"
    killed_at(audited, "run", world / "job.yaml", "--out", tmp_path / "killed", *options)
    # Killed before the first checkpoint: the teaching is not done again, so other numbers have been drawn by now.
    assert not list((tmp_path / "killed" / "checkpoints").glob("unlearn/step-*"))
    assert unlearn(world, tmp_path / "killed", *options, "--resume").exit_code == 0
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("whole", "killed")]
    assert results[0]["lineage"]["model_out"] == results[1]["lineage"]["model_out"]
