"""What is checked and done before a model unlearns."""

import json
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig
from transformers import OPTConfig, OPTForCausalLM

from myosotis.data.records import Record
from myosotis.engine.errors import SettingsError
from myosotis.unlearning.language import UnlearnTrainer
from myosotis.unlearning.language.training.preparation import add_adapter, check_shardable


def test_only_named_parameters_are_trained(tokenizer, tmp_path, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, peft=False, trainable_parameters=r"layers\.1\.mlp\.down_proj")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    changed = [name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight"]
    with pytest.raises(ValueError, match="no parameter matches"):
        trainer_for(tmp_path, tokenizer, peft=False, trainable_parameters="nothing")
    with pytest.raises(ValueError, match="target_modules"):
        trainer_for(tmp_path, tokenizer, trainable_parameters="layers")


def test_quantised_weights_are_not_sharded(monkeypatch):
    model = torch.nn.Linear(2, 2)
    model.weight = torch.nn.Parameter(torch.zeros(2, 2, dtype=torch.uint8), requires_grad=False)
    check_shardable(model)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(SettingsError, match="quantised weights cannot be sharded"):
        check_shardable(model)


def test_a_record_that_leaves_nothing_to_forget_is_refused(tokenizer, tmp_path, settings_for, tiny_llama):
    short = Record(prompt="red or blue?", response="x", facts=("x",))
    with pytest.raises(ValueError, match="no token to forget in forget record 0"):
        UnlearnTrainer(
            tiny_llama(),
            settings_for(tmp_path, method="ceu", append_eos=False),
            [short],
            None,
            tokenizer,
        )


IN_ANOTHER_PROCESS = """
import json, sys
import torch
from peft import LoraConfig
from transformers import AutoModelForCausalLM
from myosotis.unlearning.language.training.preparation import add_adapter, check_shardable
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
torch.seed()
added = add_adapter(model, LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules="all-linear"), 3)
print(json.dumps({name: value.tolist() for name, value in added.state_dict().items() if ".lora_" in name}))
"""


@pytest.fixture(scope="session")
def adapter(lora, tiny_llama):
    def adapter(make=tiny_llama, **options):
        """The factors of a fresh adapter, drawn while torch's generator is anywhere."""
        model = make()
        torch.seed()
        added = add_adapter(model, lora(make), **{"seed": 3, **options})
        return {name: value for name, value in added.state_dict().items() if ".lora_" in name}

    return adapter


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.processes
def test_an_adapter_starts_from_the_seed_and_the_request_in_every_process(adapter, tiny_llama, tmp_path):
    tiny_llama().save_pretrained(tmp_path)
    command = [sys.executable, "-c", IN_ANOTHER_PROCESS, str(tmp_path)]
    other = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert equal(adapter(), {name: torch.tensor(value) for name, value in other.items()})
    assert not equal(adapter(), adapter(seed=4))
    assert not equal(adapter(), adapter(request=2))


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_an_adapter_leaves_the_global_generator_alone(make, lora):
    model = make()
    torch.manual_seed(5)
    add_adapter(model, lora(make), 3)
    found = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(found, torch.rand(3))


def test_no_rule_or_fila_start_goes_with_a_task_vector(tokenizer, tmp_path, trainer_for):
    with pytest.raises(ValueError, match="negates"):
        trainer_for(tmp_path, tokenizer, method="task-vector", lora_init="fila")


def test_dropout_is_off_in_adapters_and_functions(tokenizer, tmp_path, forget_records, retain_records, settings_for):
    config = OPTConfig(
        vocab_size=300, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2, dropout=0.5,
        max_position_embeddings=64, word_embed_proj_dim=16,
    )  # fmt: skip
    adapter = LoraConfig(r=2, lora_dropout=0.5, target_modules=["fc1", "q_proj"])
    trainer = UnlearnTrainer(
        OPTForCausalLM(config), settings_for(tmp_path), forget_records, retain_records, tokenizer, adapter
    )
    batch = trainer.data_collator([(0, (1,))])
    trainer.model.train()
    with torch.no_grad():
        first, second = (trainer.model(input_ids=batch["input_ids"]).logits for _ in range(2))
    assert torch.equal(first, second)


def test_an_adapter_on_a_tied_head_is_refused(
    tokenizer, tmp_path, forget_records, retain_records, settings_for, tiny_llama
):
    adapter = LoraConfig(r=2, target_modules=["lm_head"])
    with pytest.raises(ValueError, match="tied to the embeddings"):
        UnlearnTrainer(tiny_llama(), settings_for(tmp_path), forget_records, retain_records, tokenizer, adapter)


def test_checkpointed_adapters_get_a_gradient(tokenizer, tmp_path, trainer_for, weights):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        activation_checkpointing=True,
        activation_checkpointing_kwargs={"use_reentrant": True},
        num_train_epochs=1,
    )
    before = weights(trainer)
    trainer.train()
    assert all(not torch.equal(p, before[name]) for name, p in weights(trainer).items() if "lora_B" in name)


def test_missing_sets_are_refused(tokenizer, tmp_path, forget_records, retain_records, settings_for, tiny_llama):
    with pytest.raises(ValueError, match="forget set is empty"):
        UnlearnTrainer(tiny_llama(), settings_for(tmp_path), [], retain_records, tokenizer)
    with pytest.raises(ValueError, match="needs a retain set"):
        UnlearnTrainer(tiny_llama(), settings_for(tmp_path), forget_records, None, tokenizer)
    with pytest.raises(ValueError, match="needs a peft_config"):
        UnlearnTrainer(
            tiny_llama(), settings_for(tmp_path, lora_init="fila"), forget_records, retain_records, tokenizer
        )
