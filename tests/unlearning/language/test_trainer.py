"""The trainer: trajectories, references, guard, stop rule, resume."""

import math

import pytest
import torch
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM, OPTConfig, OPTForCausalLM

from conftest import tiny_gpt2, tiny_llama
from myosotis.data.people import fictitious_people
from myosotis.engine.checkpoint import newest_complete
from myosotis.engine.errors import SettingsError
from myosotis.unlearning.language import (
    METHODS,
    StopRule,
    Thresholds,
    UnlearnConfig,
    UnlearnTrainer,
    answer_metrics,
    gradient_ascent_loss,
    kl_divergence_loss,
)
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.trainer_config import use_one_device

PEOPLE = fictitious_people(4, seed=3)
FORGET = [record for person in PEOPLE[:2] for record in person.records()[:4]]
RETAIN = [record for person in PEOPLE[2:] for record in person.records()[:3]]


def lora(make=tiny_llama):
    targets = "all-linear" if make is tiny_llama else ["c_attn", "c_proj", "c_fc"]
    return LoraConfig(r=2, lora_alpha=4, lora_dropout=0.0, target_modules=targets)


def settings(path, **changes):
    options = {
        "output_dir": str(path),
        "per_device_train_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
    }
    return UnlearnConfig(**{**options, **changes})


def trainer_for(path, tokenizer, make=tiny_llama, peft=True, model=None, **changes):
    extra = {key: changes.pop(key) for key in ("stop_rule", "initial_factors") if key in changes}
    return UnlearnTrainer(
        model or make(),
        settings(path, **changes),
        FORGET,
        RETAIN,
        tokenizer,
        lora(make) if peft else None,
        **extra,
    )


def weights(trainer):
    return {name: p.detach().clone() for name, p in trainer.model.named_parameters() if p.requires_grad}


def losses(trainer):
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


SETTINGS = {
    "rmu": {"block": 0},
    "composite": {"forget": [{"name": "ihl"}, {"name": "npo", "forget_weight": 0.5}], "retain_terms": {"nll": 1.0}},
}


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_with_and_without_its_retain_term(method, make, tokenizer, tmp_path):
    own = SETTINGS.get(method, {})
    for changes in ({}, {"retain": None}):
        if changes and method in ("pdu", "composite"):
            continue  # their retain terms are not optional
        trainer = trainer_for(
            tmp_path, tokenizer, make, method=method, method_settings={**own, **changes}, num_train_epochs=1
        )
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        assert any(not torch.equal(after[name], before[name]) for name in before)
        assert all(p.isfinite().all() for p in after.values())
        logged = trainer.state.log_history[0]
        names = [term.name for _, term in trainer.terms]
        total = sum(weight * logged[term.name] for weight, term in trainer.terms)
        assert logged["loss"] == pytest.approx(total, rel=1e-4)
        reads_retain = trainer.method.reads("retain")
        assert any(name.startswith("retain") for name in names) == reads_retain
        assert not (changes and reads_retain)


@pytest.mark.parametrize(
    "method", ["ihl", "npo", "kl", "dpo", "gd", "undial", "ceu", "pdu", "rmu", "satimp", "composite"]
)
def test_accumulation_does_not_change_the_trajectory(method, tokenizer, tmp_path):
    runs = []
    for size, accumulation in ((8, 1), (1, 8), (3, 3)) if method == "ihl" else ((8, 1), (3, 3)):
        trainer = trainer_for(
            tmp_path,
            tokenizer,
            model=tiny_llama().double(),
            method=method,
            method_settings=SETTINGS.get(method, {}),
            per_device_train_batch_size=size,
            gradient_accumulation_steps=accumulation,
            num_train_epochs=2,
        )
        trainer.train()
        runs.append((losses(trainer), weights(trainer)))
    for other_losses, other_weights in runs[1:]:
        assert other_losses == pytest.approx(runs[0][0], rel=1e-6, abs=1e-6)
        for name, value in runs[0][1].items():
            torch.testing.assert_close(other_weights[name], value, atol=1e-6, rtol=1e-5)


def test_a_training_without_a_launcher_uses_one_device(tmp_path):
    args = settings(tmp_path, per_device_train_batch_size=4)
    args._n_gpu = 8  # what transformers finds on a machine with eight GPUs
    use_one_device(args)
    assert (args.n_gpu, args.train_batch_size) == (1, 4)


def test_sharded_weights_are_refused(tmp_path):
    with pytest.raises(SettingsError, match="not supported"):
        settings(tmp_path, fsdp="full_shard")


def test_references_are_computed_in_the_precision_of_training(tokenizer, tmp_path):
    torch.manual_seed(0)
    wide = LlamaConfig(**{**tiny_llama().config.to_dict(), "hidden_size": 128, "num_hidden_layers": 4, "head_dim": 32})
    trainer = trainer_for(
        tmp_path, tokenizer, model=LlamaForCausalLM(wide), method="npo", method_settings={"retain": "kl"}, bf16=True,
        per_device_train_batch_size=8, num_train_epochs=1,
    )  # fmt: skip
    trainer.train()
    logged = trainer.state.log_history[0]
    assert logged["forget_npo"] == pytest.approx(20 * math.log(2), abs=1e-4)  # 2 / beta * ln 2: nothing has changed yet
    assert logged["retain_kl"] < 1e-4


def test_a_step_is_the_token_mean_over_the_batch_and_not_the_mean_of_means(tokenizer, tmp_path):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        method="ga",
        per_device_train_batch_size=1,
        gradient_accumulation_steps=8,
        num_train_epochs=1,
    )
    batch = trainer.data_collator([(index, ()) for index in range(8)])
    with torch.no_grad():
        logits = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    expected = gradient_ascent_loss(logits, batch["labels"][:, 1:])
    of_means = gradient_ascent_loss(logits, batch["labels"][:, 1:], reduction="sequence")
    trainer.train()
    assert losses(trainer)[0] == pytest.approx(expected.item(), rel=1e-5)
    assert abs(of_means - expected) > 1e-4


def test_references_are_those_of_the_model_that_came_in_even_under_fila(tokenizer, tmp_path):
    plain = trainer_for(tmp_path, tokenizer, method="npo")
    fila = trainer_for(tmp_path, tokenizer, method="npo", lora_init="fila")
    torch.testing.assert_close(
        fila.references.log_probs["forget"], plain.references.log_probs["forget"], atol=1e-5, rtol=1e-5
    )
    fila.train()
    # At the start the model is the reference, so NPO is 2 log 2 / beta.
    npo = next(entry["forget_npo"] for entry in fila.state.log_history if "forget_npo" in entry)
    assert npo == pytest.approx(20 * math.log(2), rel=1e-3)
    with fila.model.disable_adapter():
        fila.compute_references()
    assert (fila.references.log_probs["forget"] - plain.references.log_probs["forget"]).abs().max() > 1


def test_kl_reference_logits_are_put_back_at_their_places(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, method="kl")
    batch = trainer.data_collator([(0, (3,)), (1, (0,))])
    with torch.no_grad():
        retain = trainer.step_loss.sides(trainer.forward_pass(trainer.model, batch), batch).retain
    assert kl_divergence_loss(retain.logits, retain.reference_logits, retain.labels).item() == pytest.approx(
        0, abs=1e-6
    )


def test_kl_refuses_to_keep_more_than_allowed(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="reference_cache_gb"):
        trainer_for(tmp_path, tokenizer, method="kl", reference_cache_gb=1e-9)


def test_pairs_depend_on_seed_and_epoch_and_deal_the_whole_deck(tokenizer, tmp_path):
    sampler = trainer_for(tmp_path, tokenizer, retain_per_forget=3).pair_sampler
    assert sampler.pairs(0) == sampler.pairs(0)
    assert sampler.pairs(0) != sampler.pairs(1)
    forget = [index for index, _ in sampler.pairs(2)]
    assert sorted(forget) == list(range(len(FORGET)))
    dealt = [index for _, indices in sampler.pairs(2) for index in indices]
    assert len(dealt) == 3 * len(FORGET)
    assert {dealt.count(index) for index in range(len(RETAIN))} == {4}


def forget_nll(trainer):
    values = answer_metrics(trainer.model, trainer.records.forget)["nll"]
    return values.max().item()


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("epochs", [1, 20])
def test_the_guard_goes_back_to_the_last_good_weights(epochs, accumulation, tokenizer, tmp_path):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        method="ga",
        learning_rate=1.0,
        weight_decay=0.5,
        num_train_epochs=epochs,
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
        peft=False,
    )
    before, limit = weights(trainer), trainer.guard._max_nll
    trainer.train()
    assert trainer.stop_reason == "diverged"
    assert "nats" in trainer.divergence or "finite" in trainer.divergence
    assert trainer.state.global_step <= 2
    assert all(torch.equal(p, before[name]) for name, p in weights(trainer).items())
    assert forget_nll(trainer) < limit


def test_a_broken_model_is_never_called_forgotten_nor_saved(tokenizer, tmp_path):
    first = trainer_for(tmp_path, tokenizer)
    sequences = [torch.tensor(example.input_ids) for example in first.records.forget]
    options = {
        "method": "ga",
        "learning_rate": 1.0,
        "num_train_epochs": 4,
        "save_strategy": "epoch",
        "stop_rule": StopRule(thresholds(sequences, 1.01), sequences),
        "peft": False,
    }
    trainer = trainer_for(tmp_path / "a", tokenizer, **options)
    trainer.train()
    assert trainer.stop_reason == "diverged"
    resumed = trainer_for(tmp_path / "a", tokenizer, **options)
    resumed.train(resume_from_checkpoint=True)
    assert (resumed.stop_reason, resumed.divergence) == ("diverged", trainer.divergence)
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(trainer).items())


def test_weights_that_are_not_finite_are_never_left_behind(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, method="ga", learning_rate=float("inf"), num_train_epochs=3)
    before = weights(trainer)
    trainer.train()
    assert trainer.stop_reason == "diverged"
    assert all(torch.equal(p, before[name]) for name, p in weights(trainer).items())


def thresholds(sequences, value):
    length = sum(map(len, sequences)) / len(sequences)
    lengths = [len(sequence) for sequence in sequences]
    return Thresholds(value, value, 2, length, (min(lengths), max(lengths)), len(sequences), 0.0, 0.0)


@pytest.mark.parametrize(
    ("value", "min_epochs", "epochs", "reason"),
    [
        (1.01, 0, 1, "forgotten"),
        (1.01, 3, 3, "forgotten"),
        (1e-9, 0, 4, "epochs"),
    ],
)
def test_the_stop_rule(value, min_epochs, epochs, reason, tokenizer, tmp_path):
    first = trainer_for(tmp_path, tokenizer)
    sequences = [torch.tensor(example.input_ids) for example in first.records.forget]
    rule = StopRule(thresholds(sequences, value), sequences, min_epochs=min_epochs)
    trainer = trainer_for(tmp_path, tokenizer, stop_rule=rule, num_train_epochs=4)
    trainer.train()
    assert trainer.stop_reason == reason
    assert round(trainer.state.epoch) == epochs
    measured = [entry for entry in trainer.state.log_history if "forget_memorization_accuracy" in entry]
    assert len(measured) == epochs


def test_a_rule_is_met_by_ties_and_refuses_what_it_cannot_compare():
    sequences = [torch.arange(5)]
    rule = StopRule(thresholds(sequences, 0.0), sequences)
    level = rule.thresholds.memorization_accuracy
    values = {"forget_memorization_accuracy": level, "forget_extraction_likelihood": 0.0}
    assert rule.satisfied(values, 1)
    assert rule.satisfied({**values, "forget_extraction_likelihood": 5e-7}, 1)
    assert not rule.satisfied({**values, "forget_extraction_likelihood": 1e-3}, 1)
    with pytest.raises(ValueError, match="5 tokens"):
        StopRule(thresholds(sequences, 0.5), [torch.arange(6)])


@pytest.mark.parametrize("lora_init", ["default", "fila"])
def test_a_resumed_run_ends_with_the_same_weights(lora_init, tokenizer, tmp_path):
    options = {
        "lora_init": lora_init,
        "per_device_train_batch_size": 3,
        "num_train_epochs": 3,
        "lr_scheduler_type": "linear",
        "save_strategy": "steps",
        "save_steps": 2,
        "save_total_limit": 4,
    }
    whole = trainer_for(tmp_path / "whole", tokenizer, **options)
    whole.train()
    kept = sorted(path.name for path in (tmp_path / "whole").glob("step-*"))
    assert kept == ["step-4", "step-6", "step-8", "step-9"]
    # Step 4 lies in the middle of the second epoch of three steps.
    for step in ("step-4", "step-6"):
        checkpoint = tmp_path / "whole" / step
        assert not list(checkpoint.glob("*.bin"))
        initial = load_file(checkpoint / "fila_initial.safetensors") if lora_init == "fila" else None
        resumed = trainer_for(tmp_path / "resumed", tokenizer, initial_factors=initial, **options)
        resumed.train(resume_from_checkpoint=checkpoint)
        for name, value in weights(whole).items():
            assert torch.equal(weights(resumed)[name], value), name


def test_a_checkpoint_at_an_early_end_is_taken_up_and_not_trained_further(tokenizer, tmp_path):
    first = trainer_for(tmp_path, tokenizer)
    sequences = [torch.tensor(example.input_ids) for example in first.records.forget]
    rule = StopRule(thresholds(sequences, 1.01), sequences)
    options = {"stop_rule": rule, "num_train_epochs": 4, "save_strategy": "epoch"}
    stopped = trainer_for(tmp_path / "a", tokenizer, **options)
    stopped.train()
    assert stopped.stop_reason == "forgotten"
    resumed = trainer_for(tmp_path / "b", tokenizer, **options)
    resumed.train(resume_from_checkpoint=newest_complete(tmp_path / "a"))
    assert resumed.stop_reason == "forgotten"
    assert resumed.state.global_step == stopped.state.global_step == 2
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(stopped).items())


def test_a_rule_that_a_step_checkpoint_came_before_speaks_on_resume(tokenizer, tmp_path):
    first = trainer_for(tmp_path, tokenizer)
    sequences = [torch.tensor(example.input_ids) for example in first.records.forget]
    rule = StopRule(thresholds(sequences, 1.01), sequences)
    options = {"stop_rule": rule, "num_train_epochs": 4, "save_strategy": "steps", "save_steps": 1}
    stopped = trainer_for(tmp_path / "a", tokenizer, **options)
    stopped.train()
    assert stopped.state.global_step == 2
    resumed = trainer_for(tmp_path / "b", tokenizer, **options)
    resumed.train(resume_from_checkpoint=tmp_path / "a" / "step-2")
    assert (resumed.stop_reason, resumed.state.global_step) == ("forgotten", 2)
    assert all(torch.equal(weights(resumed)[name], value) for name, value in weights(stopped).items())


def test_resuming_takes_what_transformers_takes(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer)
    with pytest.raises(ValueError, match="no complete checkpoint"):
        trainer.train(resume_from_checkpoint=True)
    trainer.train(resume_from_checkpoint=False)
    assert trainer.state.global_step == 4


def test_kl_keeps_what_max_steps_will_deal(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, method="kl", num_train_epochs=1, max_steps=9)
    trainer.train()
    assert trainer.state.global_step == 9


def test_empty_pairs_count_for_nothing(tokenizer, tmp_path):
    for method in ("ihl", "npo", "kl", "dpo"):
        trainer = trainer_for(tmp_path, tokenizer, method=method)
        batch = trainer.data_collator([(0, (1,)), (2, (3,))])
        padded = trainer.data_collator([(0, (1,)), (2, (3,)), (-1, (-1,))])
        assert trainer.compute_loss(trainer.model, padded).item() == pytest.approx(
            trainer.compute_loss(trainer.model, batch).item(), rel=1e-5
        )
    sampler = PairSampler(10, 4, 1, seed=0, multiple_of=8)
    assert len(sampler) == len(sampler.pairs(0)) == 16
    assert sampler.pairs(0)[10:] == [(-1, (-1,))] * 6


def test_dropout_is_off_in_adapters_and_functions(tokenizer, tmp_path):
    config = OPTConfig(
        vocab_size=300, hidden_size=16, ffn_dim=16, num_hidden_layers=1, num_attention_heads=2, dropout=0.5,
        max_position_embeddings=64, word_embed_proj_dim=16,
    )  # fmt: skip
    adapter = LoraConfig(r=2, lora_dropout=0.5, target_modules=["fc1", "q_proj"])
    trainer = UnlearnTrainer(OPTForCausalLM(config), settings(tmp_path), FORGET, RETAIN, tokenizer, adapter)
    batch = trainer.data_collator([(0, (1,))])
    trainer.model.train()
    with torch.no_grad():
        first, second = (trainer.model(input_ids=batch["input_ids"]).logits for _ in range(2))
    assert torch.equal(first, second)


def test_an_adapter_on_a_tied_head_is_refused(tokenizer, tmp_path):
    adapter = LoraConfig(r=2, target_modules=["lm_head"])
    with pytest.raises(ValueError, match="tied to the embeddings"):
        UnlearnTrainer(tiny_llama(), settings(tmp_path), FORGET, RETAIN, tokenizer, adapter)


def test_a_truncated_newest_checkpoint_is_passed_over(tokenizer, tmp_path):
    trainer_for(tmp_path, tokenizer, save_strategy="steps", save_steps=1, num_train_epochs=2).train()
    newest = newest_complete(tmp_path)
    assert newest.name == "step-4"
    file = newest / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    assert newest_complete(tmp_path).name == "step-3"
    (tmp_path / "step-3" / "manifest.json").unlink()
    assert newest_complete(tmp_path).name == "step-2"


def test_checkpointed_adapters_get_a_gradient(tokenizer, tmp_path):
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


def test_a_model_name_and_rows_are_taken_as_they_are(tokenizer, tmp_path):
    tiny_llama().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": "Who?", "response": "Karin."}, {"text": "Nobody knew who had lit it."}]
    trainer = UnlearnTrainer(str(tmp_path / "model"), settings(tmp_path / "out"), rows, rows[1:])
    trainer.train()
    assert trainer.state.global_step == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "ihk"}, "did you mean 'ihl'"),
        ({"method_settings": {"bета": 1}}, "has no setting"),
        ({"method": "npo", "method_settings": {"beta": -1}}, "beta must be > 0"),
        ({"lora_init": "pissa"}, "lora_init must be one of"),
    ],
)
def test_settings_are_checked(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        settings(tmp_path, **changes)


def test_missing_sets_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="forget set is empty"):
        UnlearnTrainer(tiny_llama(), settings(tmp_path), [], RETAIN, tokenizer)
    with pytest.raises(ValueError, match="needs a retain set"):
        UnlearnTrainer(tiny_llama(), settings(tmp_path), FORGET, None, tokenizer)
    with pytest.raises(ValueError, match="needs a peft_config"):
        UnlearnTrainer(tiny_llama(), settings(tmp_path, lora_init="fila"), FORGET, RETAIN, tokenizer)
