"""The adapter of a fine-tune, the commonest thing that somebody has, is a model like any other."""

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from myosotis.engine.errors import InputError
from myosotis.models.causal_lm import check_quantizable, load_causal_lm, load_local_tokenizer, load_shapes


@pytest.fixture
def place(tmp_path, tokenizer, tiny_llama):
    """A base, and an adapter whose two factors are both drawn."""
    tiny_llama().save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    base, _ = load_causal_lm(str(tmp_path / "base"))
    torch.manual_seed(1)
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path / "tuned")
    tokens = torch.arange(5)[None]
    with torch.no_grad():
        return tmp_path, tokens, adapted(tokens).logits


def change(path, **settings):
    content = json.loads((path / "adapter_config.json").read_text())
    (path / "adapter_config.json").write_text(json.dumps({**content, **settings}))


def test_it_is_its_base_with_the_adapter_merged(place, tokenizer):
    folder, tokens, expected = place
    model, read = load_causal_lm(str(folder / "tuned"))
    torch.testing.assert_close(model(tokens).logits, expected)
    assert not any("lora" in name for name in model.state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert read.get_vocab() == tokenizer.get_vocab()
    assert read.pad_token_id is not None
    assert load_local_tokenizer(str(folder / "tuned")).get_vocab() == tokenizer.get_vocab()
    shapes = load_shapes(str(folder / "tuned")).state_dict()
    assert {name: value.shape for name, value in shapes.items()} == {
        name: value.shape for name, value in model.state_dict().items()
    }


def test_a_tokenizer_of_its_own_is_the_one(place, tokenizer):
    folder, _, _ = place
    tokenizer = type(tokenizer).from_pretrained(folder / "base")
    tokenizer.add_tokens([f"<new{number}>" for number in range(400)])
    tokenizer.save_pretrained(folder / "tuned")
    model, read = load_causal_lm(str(folder / "tuned"))
    assert len(read) == len(tokenizer)
    assert model.get_input_embeddings().num_embeddings == len(tokenizer)


def test_nothing_is_fetched_that_was_not_named(place, monkeypatch):
    folder, _, _ = place
    monkeypatch.setattr("myosotis.models.causal_lm.hub_answers", lambda path: pytest.fail("asked the hub"))
    for base, reason in (("someone/model", "must be on this machine"), ("/gone/elsewhere", "no such model directory")):
        change(folder / "tuned", base_model_name_or_path=base)
        with pytest.raises(InputError, match=reason):
            load_causal_lm(str(folder / "tuned"))


def test_what_cannot_be_merged_is_refused(place):
    folder, _, _ = place
    tuned = folder / "tuned"
    with pytest.raises(InputError, match="is an adapter"):
        check_quantizable(str(tuned))
    change(tuned, base_model_name_or_path=str(tuned))
    with pytest.raises(InputError, match="is an adapter itself"):
        load_causal_lm(str(tuned))
    change(tuned, base_model_name_or_path=None)
    with pytest.raises(InputError, match="names no base model"):
        load_causal_lm(str(tuned))
    change(tuned, base_model_name_or_path=str(folder / "base"), peft_type="NONSENSE")
    with pytest.raises(InputError, match="cannot be merged"):
        load_causal_lm(str(tuned))


@pytest.mark.parametrize("fault", ["other", "fewer", "nan", "cut", "pickled"])
def test_weights_that_are_of_another_model_are_refused(place, fault):
    folder, _, _ = place
    path = folder / "tuned" / "adapter_model.safetensors"
    weights = load_file(path)
    first = min(weights)
    faulty = {
        "other": {**weights, first: torch.zeros(2, 3)},
        "fewer": {name: value for name, value in weights.items() if name != first},
        "nan": {**weights, first: weights[first] * torch.nan},
    }
    if fault in faulty:
        save_file(faulty[fault], path)
    elif fault == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.rename(folder / "tuned" / "adapter_model.bin")
    reason = {"pickled": "pickled weights", "fewer": "of another model"}.get(fault, "cannot be merged")
    with pytest.raises(InputError, match=reason):
        load_causal_lm(str(folder / "tuned"))


def test_it_is_drafted_and_unlearned(place, invoke, tmp_path):
    from myosotis.data.people import fictitious_people

    folder, _, _ = place
    people = fictitious_people(12, seed=5)
    for name, part in (("forget", people[:4]), ("retain", people[4:8]), ("unseen", people[8:])):
        lines = (
            {"prompt": one.prompt, "response": one.response, "facts": one.facts, "subject": one.subject}
            for person in part
            for one in person.records()
        )
        (folder / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    files = (folder / f"{name}.jsonl" for name in ("forget", "retain", "unseen"))
    out = folder / "job.yaml"
    drafted = invoke("init", "unlearn-language", folder / "tuned", *files, "--out", out)
    assert drafted.exit_code == 0, drafted.output
    assert "name: ./tuned" in out.read_text()
    assert "The model is an adapter of" in drafted.output
    short = ("training.epochs=1", "training.replay_prompts=0", "method={name: gd}", "audit.max_new_tokens=2")
    options = [part for setting in short for part in ("--set", setting)]
    assert invoke("check", out, "--plan", *options).exit_code == 0
    done = invoke("run", out, "--out", folder / "run", *options)
    assert done.exit_code == 0, done.output
    assert (folder / "run" / "model" / "config.json").is_file()
    change_of = json.loads((folder / "run" / "model" / "adapter" / "adapter_config.json").read_text())
    assert change_of["base_model_name_or_path"] is None  # it is on the fine-tune, not on the base of that


def test_a_name_of_the_hub_is_drafted_and_nothing_fetched(place, invoke, monkeypatch):
    folder, _, _ = place
    monkeypatch.chdir(folder)
    (folder / "forget.jsonl").write_text(json.dumps({"prompt": "Who?", "response": "She.", "subject": "Ada Quill"}))
    done = invoke("init", "unlearn-language", "someone/model", "forget.jsonl", "--out", "hub.yaml")
    assert done.exit_code == 0, done.output
    assert "There is no folder someone/model here, so it is taken as a name of the hub." in done.output
    assert "name: someone/model" in (folder / "hub.yaml").read_text()
    done = invoke("init", "unlearn-language", "some/one/model", "forget.jsonl", "--out", "other.yaml")
    assert (done.exit_code, "no such model directory" in done.output) == (2, True), done.output
