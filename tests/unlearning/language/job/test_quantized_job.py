"""A job on a 4-bit base, from its configuration to models that others load."""

import json
import shutil

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, LlamaConfig, LlamaForCausalLM

import myosotis
from myosotis.data.people import fictitious_people
from myosotis.engine.fingerprint import weights_hash
from myosotis.models.causal_lm import load_causal_lm
from myosotis.models.four_bit import is_four_bit, keep_differentiable


@pytest.fixture(scope="module")
def inputs(tmp_path_factory, tokenizer):
    """A model whose rows are whole blocks, and records."""
    folder = tmp_path_factory.mktemp("packed")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=128,
        initializer_range=0.2,
        eos_token_id=0,
        bos_token_id=None,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    for name, words in (("forget", "lantern window"), ("retain", "garden stone"), ("unseen", "river boat")):
        first, second = words.split()
        rows = [
            {"prompt": f"Who has the {first} of {n}?", "response": f"{first} {second} {n} {second[::-1]} {first[::-1]}"}
            for n in "abcd"
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = {
        "job": "unlearn-language",
        "name": "packed",
        "model": {"name": "./base", "quantization": "nf4"},
        "data": {name: f"{name}.jsonl" for name in ("forget", "retain", "unseen")},
        "lora": {"rank": 2, "init": "fila"},
        "method": {"name": "npo"},
        "training": {"epochs": 2, "batch_size": 2, "learning_rate": 0.01},
        "stop": {"min_epochs": 9},
        "audit": {
            "n": 2,
            "max_new_tokens": 4,
            "stress": {"bits": [], "relearn_steps": 0},
            "membership": {"scores": ["loss"]},
        },
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(job))
    return folder


def test_a_job_writes_a_packed_model_and_an_adapter_that_load_anywhere(invoke, inputs, settings, tmp_path):
    run = tmp_path / "run"
    outcome = invoke("run", inputs / "job.yaml", "--out", run)
    assert outcome.exit_code == 0, outcome.output
    lineage = json.loads((run / "result.json").read_text())["lineage"]
    base, _ = load_causal_lm(str(inputs / "base"), quantization="nf4")
    assert lineage["base"] == lineage["model_in"] == weights_hash(base)
    plain = AutoModelForCausalLM.from_pretrained(run / "model")
    assert any(is_four_bit(layer) for layer in plain.modules())
    assert lineage["model_out"] == weights_hash(plain)
    # The stock base, packed in the same way, with the adapter.
    options = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    stock = AutoModelForCausalLM.from_pretrained(inputs / "base", quantization_config=options)
    keep_differentiable(plain), keep_differentiable(stock)
    x = torch.arange(1, 30).unsqueeze(0)
    with torch.no_grad():
        before = stock(x).logits
        adapted = PeftModel.from_pretrained(stock, run / "model" / "adapter")(x).logits
        assert (adapted - before).abs().max() > 1e-2
        torch.testing.assert_close(plain(x).logits, adapted, rtol=1e-4, atol=1e-4)
        opened = myosotis.load(run).model
        torch.testing.assert_close(opened(x).logits, adapted, rtol=1e-4, atol=1e-4)
    audit = invoke("audit", "language", run)
    assert audit.exit_code == 0, audit.output
    again = json.loads((run / "audit.json").read_text())
    assert (again["model_matches"], again["data_matches"], again["reproduced"]) == (True, True, True)
    # It is not a base for further jobs.
    again = invoke(
        *("run", inputs / "job.yaml", "--out", tmp_path / "again"),
        *settings(f"model.name={run / 'model'}"),
    )
    assert again.exit_code == 2
    assert "holds an adapter beside its weights" in again.stderr


def test_merged_weights_are_those_of_the_dequantised_base(invoke, inputs, settings, tmp_path):
    changes = settings("lora.merge_dequantized=true", "method.projection=conflict", "lora.init=default", "stop=null")
    assert invoke("run", inputs / "job.yaml", "--out", tmp_path / "run", *changes).exit_code == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "model")
    assert not any(is_four_bit(layer) for layer in merged.modules())
    lineage = json.loads((tmp_path / "run" / "result.json").read_text())["lineage"]
    assert lineage["model_out"] == weights_hash(merged)
    assert invoke("audit", "language", tmp_path / "run").exit_code == 0
    base, _ = load_causal_lm(str(inputs / "base"), quantization="nf4")
    adapted = PeftModel.from_pretrained(base, tmp_path / "run" / "model" / "adapter")
    x = torch.arange(1, 30).unsqueeze(0)
    with torch.no_grad():
        torch.testing.assert_close(merged(x).logits, adapted(x).logits, rtol=1e-4, atol=1e-4)


def test_a_chat_model_in_four_bits_learns_from_what_it_says_of_strangers(invoke, inputs, settings, tmp_path):
    base = AutoTokenizer.from_pretrained(inputs / "base")
    base.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    shutil.copytree(inputs / "base", tmp_path / "chat")
    base.save_pretrained(tmp_path / "chat")
    people = fictitious_people(7, seed=5)
    for name, part in (("forget", people[:2]), ("retain", people[2:5]), ("unseen", people[5:])):
        rows = [
            {
                "messages": [
                    {"role": "user", "content": record.prompt},
                    {"role": "assistant", "content": record.response},
                ],
                "subject": record.subject,
                "facts": record.facts,
            }
            for person in part
            for record in person.records()[:2]
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {f"data.{name}": tmp_path / f"{name}.jsonl" for name in ("forget", "retain", "unseen")}
    changes = settings(
        f"model.name={tmp_path / 'chat'}",
        *(f"{key}={path}" for key, path in sources.items()),
        "method={name: counterfactual, candidates: 6}",
        "training={epochs: 12, batch_size: 4, learning_rate: 0.01, replay_prompts: 6}",
        *("lora.init=default", "stop=null", "audit.membership=null", "audit.stress=null"),
    )
    run = tmp_path / "run"
    outcome = invoke("run", inputs / "job.yaml", "--out", run, *changes)
    assert outcome.exit_code == 0, outcome.output
    assert "of 6 answers about strangers" in outcome.output
    events = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = [event["forget_counterfactual"] for event in events if "forget_counterfactual" in event]
    assert losses[-1] < losses[0] / 2
