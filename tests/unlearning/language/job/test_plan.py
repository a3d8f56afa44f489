"""``check --plan``: figures by hand, how they are divided, and that nothing is loaded or written."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

from myosotis.data.encoding import Encoder
from myosotis.data.records import read_jsonl
from myosotis.models.causal_lm import load_shapes
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.memory_trace import Trace
from myosotis.unlearning.language.job.plan import STRATEGIES, Demand, Planned, phases_of, rows_of

ONE, DDP2, _, FSDP2, FSDP8 = STRATEGIES
DEMAND = Demand(
    stored=1000,
    weights=1600,
    trained=800,
    largest=100,
    states=1600,
    update=800,
    gathered=300,
    unpacked=0,
    step=Trace(5000, [(5000, 0), (4000, 400), (500, 800)]),
    accumulated=False,
    projected=False,
    references=70,
    copies=2,
    vetting=30,
    audit=40,
    reference_model=True,
)


def phases(strategy):
    return {phase.name: phase for phase in phases_of(DEMAND, strategy)}


def test_one_process_holds_everything():
    rows = rows_of(DEMAND, ONE)
    assert rows["weights"] == 1600
    assert rows["gradients"] == 800
    assert rows["states of the optimiser"] == 1600
    assert rows["activations of the forward pass"] == 5000
    assert rows["host: copies of the trained weights"] == 2 * 800
    assert rows["weights gathered for a block"] == rows["gradients on their way to other processes"] == 0
    step = phases(ONE)["training: forward and backward pass"]
    assert (step.device, step.host) == (1600 + 1600 + 5000, 70 + 1600)
    assert step.on_cpu == step.device + step.host
    # CPUs update one weight after another: two intermediate values of the largest.
    update = phases(ONE)["training: step of the optimiser"]
    assert update.device == 1600 + 1600 + 800 + 800
    assert update.on_cpu == 1600 + 1600 + 800 + 2 * 100 + update.host
    assert phases(ONE)["training: end of an epoch"].host == 70 + 3 * 800
    # The model after waits on the host while the one before judges its answers.
    assert (phases(ONE)["audits"].device, phases(ONE)["audits"].host) == (2 * 1000 + 40, 1000)


def test_ddp_adds_buckets_and_shards_divide():
    assert rows_of(DEMAND, DDP2) == {**rows_of(DEMAND, ONE), "gradients on their way to other processes": 800}
    whole, parts = rows_of(DEMAND, ONE), rows_of(DEMAND, FSDP8)
    for name in ("weights", "gradients", "states of the optimiser", "host: copies of the trained weights"):
        assert parts[name] == whole[name] / 8
    assert parts["weights gathered for a block"] == 300
    assert parts["activations of the forward pass"] == 5000
    # Only training is sharded: audits see whole models, and before and after the weights are whole.
    assert phases(FSDP8)["audits"] == phases(ONE)["audits"]
    assert phases(FSDP8)["training: sharding and gathering"].device == 1600 + 200
    assert "training: sharding and gathering" not in phases(DDP2)
    # At the moment with 4000 of activations, half the gradients are there.
    step = phases(FSDP2)["training: forward and backward pass"]
    assert step.device == 800 + 800 + 5000 + 300 + 300


def test_a_teacher_is_there_beside_the_model_while_it_is_asked():
    asked = phases_of(replace(DEMAND, teacher=900, asking=60), FSDP2)
    [phase] = [phase for phase in asked if phase.name == "asking the teacher"]
    assert (phase.device, phase.host) == (1600 + 900 + 60, 70)
    assert [phase for phase in asked if phase.name != "asking the teacher"] == phases_of(DEMAND, FSDP2)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tokenizer):
    """A model whose rows are whole blocks, its config.json alone, and records."""
    folder = tmp_path_factory.mktemp("plan")
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=600,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "shapes").mkdir()
    shutil.copy(folder / "model" / "config.json", folder / "shapes")
    for name, word in (("forget", "lantern"), ("retain", "garden")):
        rows = [{"prompt": f"Who has the {word} of {n}?", "response": f"{word} {n}"} for n in "abcd"]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def job(inputs, name="model", **changes):
    data = {side: str(inputs / f"{side}.jsonl") for side in ("forget", "retain")}
    content = {"name": "job", "model": {"name": str(inputs / name)}, "data": data, "audit": {"held_retain": 0}}
    content["training"] = {"batch_size": 2, "epochs": 1}
    for key, value in changes.items():
        content[key] = {**content.get(key, {}), **value} if isinstance(value, dict) else value
    return LanguageUnlearningConfig.model_validate(content)


def demand_of(inputs, tmp_path, name="model", **changes):
    return Planned(job(inputs, name, **changes), tmp_path / "run").demand


def test_weights_are_counted_as_they_are_in_a_real_model(inputs, tmp_path):
    model = AutoModelForCausalLM.from_pretrained(inputs / "model")
    count = sum(parameter.numel() for parameter in model.parameters())
    full = demand_of(inputs, tmp_path)
    assert full.stored == full.weights == full.trained == 4 * count
    assert full.states == 8 * count
    assert full.largest == 4 * 300 * 64
    block = sum(parameter.numel() for parameter in model.model.layers[0].parameters())
    assert full.gathered == 4 * (count - 2 * block) + 2 * 4 * block
    half = demand_of(inputs, tmp_path, model={"dtype": "bfloat16"})
    assert (half.stored, half.weights) == (2 * count, 4 * count)
    part = demand_of(inputs, tmp_path, training={"parameters": "down_proj"})
    assert part.trained == 4 * 2 * 64 * 128
    shapes = load_shapes(str(inputs / "shapes"))
    assert {name: value.shape for name, value in shapes.named_parameters()} == {
        name: value.shape for name, value in model.named_parameters()
    }


@pytest.mark.parametrize(("teacher", "models"), [("proxy", 1), ("base", 1), ("names", 0)])
def test_a_teacher_that_is_another_model_is_counted(inputs, tmp_path, teacher, models):
    base = {} if teacher == "names" else {"teacher": {"base": str(inputs / "model")}}
    method = {"name": "counterfactual", "teacher": teacher}
    found = demand_of(inputs, tmp_path, method=method, lora={"rank": 4}, **base)
    assert found.teacher == models * found.stored
    assert (found.asking > 0) == bool(models)


def test_an_adapter_and_packed_weights(inputs, tmp_path):
    shapes = [(64, 64)] * 4 + [(128, 64)] * 2 + [(64, 128)]
    adapter = 2 * sum(4 * (out + width) for out, width in shapes)
    linear = 2 * sum(out * width for out, width in shapes)
    lora = demand_of(inputs, tmp_path, lora={"rank": 4})
    assert lora.trained == 4 * adapter
    assert lora.weights == lora.stored + 4 * adapter
    assert lora.fisher == 0
    fila = demand_of(inputs, tmp_path, lora={"rank": 4, "init": "fila"})
    assert fila.fisher == 4 * linear
    rows = demand_of(inputs, tmp_path, lora={"rank": 4, "init": "fila", "fisher": "row"})
    assert rows.fisher == 4 * 2 * sum(out for out, _ in shapes)
    packed = demand_of(inputs, tmp_path, lora={"rank": 4}, model={"quantization": "nf4"})
    options = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4")
    model = AutoModelForCausalLM.from_pretrained(inputs / "model", quantization_config=options)
    real = sum(parameter.numel() * parameter.dtype.itemsize for parameter in model.parameters())
    real += sum(4 * p.quant_state.absmax.numel() for p in model.parameters() if hasattr(p, "quant_state"))
    assert packed.stored == real
    assert packed.unpacked == 4 * 64 * 128


def test_what_methods_and_suites_add(inputs, tokenizer, tmp_path):
    planned = Planned(job(inputs, method={"name": "kl"}), tmp_path / "run")
    encoder = Encoder(tokenizer, "{prompt} {response}", 512, True)
    records = read_jsonl(inputs / "retain.jsonl")
    tokens = sum(sum(label >= 0 for label in encoder(record).labels[1:]) for record in records)
    assert planned.demand.references == tokens * 300 * 4
    assert planned.shape.rows == {"forget": 2, "retain": 2}
    assert demand_of(inputs, tmp_path, method={"name": "npo"}).references == 0
    vector = demand_of(inputs, tmp_path, method={"name": "task-vector"})
    assert vector.copies == 2
    stress = demand_of(inputs, tmp_path, audit={"stress": {"bits": []}}, model={"dtype": "bfloat16"})
    assert stress.whole == 2 * stress.stored
    assert stress.relearning.peak() > stress.whole


def test_the_plan_of_a_configuration_alone(invoke, inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", None)
    lines = {}
    for name in ("model", "shapes"):
        content = job(inputs, name, data={"max_length": 64}).model_dump(mode="json", exclude_unset=True)
        config = tmp_path / "job.yaml"
        config.write_text(yaml.safe_dump({"job": "unlearn-language"} | content))
        outcome = invoke("check", config, "--plan")
        assert outcome.exit_code == 0, outcome.output
        assert [path.name for path in tmp_path.iterdir()] == ["job.yaml"]
        lines[name] = outcome.stdout.splitlines()
    assert "data.max_length=64 tokens, as no tokenizer is there" in lines["shapes"][1]
    assert "labelled" in lines["model"][1]
    for own in lines.values():
        assert own[3].split()[-4:] == ["2", "FSDP2", "8", "FSDP2"]
        assert sum(line.startswith("largest: ") for line in own) == 3


@pytest.mark.parametrize(
    ("changes", "settings", "message"),
    [
        ({"model_type": "unheard-of"}, {}, "its architecture is not known"),
        ({"model_type": "t5", "architectures": None}, {}, "its architecture is not known"),
        ({"max_position_embeddings": 4}, {}, "the model takes 4; lower data.max_length"),
        ({}, {"training": {"optimizer": "galore_adamw"}}, "the states of 'galore_adamw' are not known"),
        ({}, {"lora": {"target_modules": ["q_proy"]}}, "did you mean 'q_proj'?"),
        ({}, {"training": {"parameters": "nothing"}}, "no parameter matches 'nothing'"),
    ],
)
def test_what_cannot_be_planned_is_one_line(invoke, inputs, tmp_path, monkeypatch, changes, settings, message):
    shutil.copytree(inputs / "model", tmp_path / "other", ignore=shutil.ignore_patterns("*.safetensors"))
    content = json.loads((tmp_path / "other" / "config.json").read_text())
    (tmp_path / "other" / "config.json").write_text(json.dumps({**content, **changes}))
    written = job(inputs, **settings).model_dump(mode="json", exclude_unset=True)
    written["model"]["name"] = "./other"
    (tmp_path / "job.yaml").write_text(yaml.safe_dump({"job": "unlearn-language"} | written))
    monkeypatch.chdir(tmp_path)
    outcome = invoke("check", "job.yaml", "--plan")
    assert outcome.exit_code == 2, outcome.output
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert {path.name for path in tmp_path.iterdir()} == {"job.yaml", "other"}
