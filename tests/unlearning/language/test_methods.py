"""The losses of single methods: closed forms, gradients by formula, masks, and what released code gets wrong."""

import math

import pytest
import torch
from test_trainer import FORGET, SETTINGS, settings, trainer_for
from torch.nn import functional

from conftest import tiny_llama
from myosotis.data.encoding import IGNORED, Encoder, only_facts
from myosotis.data.records import Record
from myosotis.unlearning.language import (
    UnlearnTrainer,
    build_method,
    cross_entropy_unlearning_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    logit_flattening_loss,
    saturation_importance_loss,
    undial_loss,
    weighted_ascent_loss,
)
from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.term import count_units

Z = torch.tensor([[[2.0, 1.0, 0.0, -1.0]]], dtype=torch.float64)
P = Z[0, 0].softmax(dim=-1)
Y = torch.tensor([[0]])

LOSSES = {
    "wga": weighted_ascent_loss,
    "satimp": saturation_importance_loss,
    "ceu": cross_entropy_unlearning_loss,
    "pdu": logit_flattening_loss,
    "undial": lambda logits, labels, reduction="token": undial_loss(
        logits, torch.zeros_like(logits), labels, 3.0, reduction
    ),
}


def gradient(loss, logits=Z, labels=Y):
    logits = logits.clone().requires_grad_()
    (grad,) = torch.autograd.grad(loss(logits, labels), logits)
    return grad


def onehot(index, size=4):
    return functional.one_hot(torch.tensor(index), size).double()


def test_weighted_ascent_is_ascent_times_a_constant_weight():
    assert weighted_ascent_loss(Z, Y, 1.0).item() == pytest.approx((P[0] * P[0].log()).item(), rel=1e-12)
    assert weighted_ascent_loss(Z, Y, 0.0).item() == gradient_ascent_loss(Z, Y).item()
    # The weight carries no gradient: d log p_y / dz = onehot - p.
    expected = P[0] ** 2 * (onehot(0) - P)
    torch.testing.assert_close(gradient(lambda z, y: weighted_ascent_loss(z, y, 2.0))[0, 0], expected)


def test_saturation_importance_weights():
    value = saturation_importance_loss(Z, Y, 5.0, 1.0).item()
    assert value == pytest.approx((P[0] ** 5 * (1 - P[0]) * P[0].log()).item(), rel=1e-12)
    expected = P[0] ** 5 * (1 - P[0]) * (onehot(0) - P)
    torch.testing.assert_close(gradient(saturation_importance_loss)[0, 0], expected)


def test_undial_lowers_the_label_of_the_old_distribution():
    target = (Z[0, 0] - 10 * onehot(0)).softmax(dim=-1)
    value = undial_loss(Z, Z, Y, 10.0).item()
    assert value == pytest.approx(-(target * P.log()).sum().item(), rel=1e-12)
    torch.testing.assert_close(gradient(lambda z, y: undial_loss(z, Z, y, 10.0))[0, 0], P - target)
    # It is smallest, the target's entropy, where the model has become the target.
    best = undial_loss(Z - 10 * onehot(0), Z, Y, 10.0).item()
    assert best == pytest.approx(-(target * target.log()).sum().item(), rel=1e-12)
    assert best < value


def test_an_ignored_label_lowers_no_logit_of_undial():
    # Released code subtracts beta at index -100, which wraps round to the vocabulary's end.
    logits, reference = torch.randn(1, 2, 120), torch.randn(1, 2, 120)
    labels = torch.tensor([[5, IGNORED]])
    assert undial_loss(logits, reference, labels) == undial_loss(logits[:, :1], reference[:, :1], labels[:, :1])


def test_cross_entropy_unlearning_takes_the_label_out():
    others = torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64).softmax(dim=-1)
    value = cross_entropy_unlearning_loss(Z, Y).item()
    assert value == pytest.approx(-(others * P[1:].log()).sum().item(), rel=1e-12)
    grad = gradient(cross_entropy_unlearning_loss)[0, 0]
    torch.testing.assert_close(grad[0], P[0])
    torch.testing.assert_close(grad[1:], P[1:] - P[1:] / (1 - P[0]))
    assert grad.sum().abs() < 1e-12


def test_skipped_tokens_carry_no_loss_and_are_not_counted():
    labels = torch.tensor([[IGNORED, 1, 2, 3]])
    logits = torch.randn(1, 4, 5)
    skipped = cross_entropy_unlearning_loss(logits, labels, skipped=1)
    assert skipped == cross_entropy_unlearning_loss(logits[:, 2:], labels[:, 2:])
    term = build_method("ceu").forget_term()
    assert count_units(term.counted(labels), "token") == 2


def test_flattening_is_zero_for_uniform_logits_only():
    assert logit_flattening_loss(Z, Y).item() == pytest.approx(1.5**2)
    expected = 2 * 1.5 * (onehot(0) - 0.25)
    torch.testing.assert_close(gradient(logit_flattening_loss)[0, 0], expected)
    assert logit_flattening_loss(torch.full((1, 1, 4), 3.0), Y) == 0


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("reduction", ["token", "sequence"])
def test_prompt_and_padding_change_neither_loss_nor_gradient(name, reduction):
    loss = LOSSES[name]
    torch.manual_seed(0)
    labels = torch.tensor([[IGNORED, IGNORED, 3, 4, IGNORED], [IGNORED, 2, 1, 0, 5]])
    logits = torch.randn(2, 5, 9, dtype=torch.float64)
    other = torch.where((labels == IGNORED)[..., None], torch.randn_like(logits) * 5, logits)
    assert loss(logits, labels, reduction=reduction) == loss(other, labels, reduction=reduction)
    first, second = (gradient(lambda z, y: loss(z, y, reduction=reduction), each, labels) for each in (logits, other))
    assert torch.equal(first, second)
    assert first[labels == IGNORED].abs().max() == 0
    # Another place of the labels is another loss: nothing here is off by one.
    assert loss(logits, labels.roll(1, dims=1), reduction=reduction) != loss(logits, labels, reduction=reduction)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_a_label_gives_zero_and_no_gradient(name):
    labels = torch.full((1, 3), IGNORED)
    logits = torch.randn(1, 3, 4, requires_grad=True)
    value = LOSSES[name](logits, labels)
    value.backward()
    assert value == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("undial", {"beta": 0}, "beta"),
        ("wga", {"beta": -1}, "beta"),
        ("satimp", {"beta2": -1}, "beta"),
        ("ceu", {"skipped": -1}, "skipped"),
        ("pdu", {"retain": None}, "multiplier"),
        ("pdu", {"dual_step_size": 0}, "dual_step_size"),
        ("rmu", {"retain": "hiden"}, "hidden"),
        ("rmu", {"coefficient": 0}, "coefficient"),
        ("task-vector", {"retain": "nll"}, "no retain term"),
        ("task-vector", {"scale": 0}, "scale"),
        ("ga", {"projection": "conflict"}, "projection needs a retain term"),
        ("rmu", {"retain": None, "projection": "conflict"}, "projection needs a retain term"),
        ("composite", {}, "at least one"),
        ("composite", {"forget": [{"name": "npo", "retain": "kl"}]}, "belongs to the composite"),
        ("composite", {"forget": [{"name": "ihl"}, {"name": "ihl"}]}, "same name"),
        ("composite", {"forget": [{"name": "pdu"}]}, "cannot be a part"),
        ("composite", {"forget": ["ihl"]}, "list of methods"),
        ("composite", {"forget": [{"name": "idk"}, {"name": "altpo"}]}, "choose one"),
        ("composite", {"forget": [{"name": "ihl"}], "retain_terms": {"nl": 1}}, "nll"),
    ],
)
def test_settings_out_of_range_are_refused(name, changes, message):
    with pytest.raises(ValueError, match=message):
        build_method(name, changes)


def test_the_multiplier_rises_above_the_limit_and_falls_to_zero_below():
    ascent = DualAscent("retain_nll", limit=0.5, step_size=0.1, start=0.0)
    assert ascent.update(0.0, 1.5) == pytest.approx(0.1)
    assert ascent.update(0.01, 0.2) == 0.0


@pytest.mark.parametrize("accumulation", [1, 4])
def test_the_trainer_moves_the_multiplier_once_a_step(accumulation, tokenizer, tmp_path):
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        method="pdu",
        method_settings={"retain_limit": 1.0, "dual_step_size": 0.5},
        per_device_train_batch_size=8 // accumulation,
        gradient_accumulation_steps=accumulation,
    )
    trainer.train()
    multiplier = 1.0
    for entry in trainer.state.log_history:
        if "retain_nll" in entry:
            assert entry["loss"] == pytest.approx(
                entry["forget_flattening"] + multiplier * entry["retain_nll"], rel=1e-4
            )
            multiplier = max(0.0, multiplier + 0.5 * (entry["retain_nll"] - 1.0))
            assert entry["multiplier"] == pytest.approx(multiplier, rel=1e-4)
    assert multiplier > 1


def test_a_composite_is_the_weighted_sum_of_its_terms(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, method="composite", method_settings=SETTINGS["composite"])
    assert [term.name for _, term in trainer.terms] == ["forget_hinge", "forget_npo", "retain_nll"]
    batch = trainer.data_collator([(0, (1,)), (3, (2,))])
    with torch.no_grad():
        seen = trainer.forward_pass(trainer.model, batch)
        hinge = inverted_hinge_loss(seen.logits[:2], seen.labels[:2])
        npo = 20 * math.log(2)
        nll = -gradient_ascent_loss(seen.logits[2:], seen.labels[2:])
        total = trainer.compute_loss(trainer.model, batch)
    assert total.item() == pytest.approx((hinge + 0.5 * npo + nll).item(), rel=1e-4)


def test_logits_are_computed_where_there_are_labels_only(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer)
    batch = trainer.data_collator([(0, (1,)), (3, (2,))])
    labels = batch["labels"][:, 1:]
    with torch.no_grad():
        whole = trainer.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        seen = trainer.forward_pass(trainer.model, batch)
    assert seen.logits.shape[1] == (labels != IGNORED).sum(dim=1).max()
    assert torch.equal(seen.labels[seen.labels != IGNORED], labels[labels != IGNORED])
    torch.testing.assert_close(seen.logits[seen.labels != IGNORED], whole[labels != IGNORED])


def test_only_the_facts_may_be_forgotten(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, forget_tokens="facts")
    encoder = Encoder(tokenizer, max_length=512)
    for example, record in zip(trainer.records.forget, FORGET, strict=True):
        whole = encoder(record)
        assert example == only_facts(whole)
        labelled = [place for place, label in enumerate(example.labels) if label != IGNORED]
        assert labelled == [place for place, is_fact in enumerate(whole.facts) if is_fact]


def test_only_named_parameters_are_trained(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, peft=False, trainable_parameters=r"layers\.1\.mlp\.down_proj")
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.train()
    changed = [name for name, p in trainer.model.named_parameters() if not torch.equal(p, before[name])]
    assert changed == ["model.layers.1.mlp.down_proj.weight"]
    with pytest.raises(ValueError, match="no parameter matches"):
        trainer_for(tmp_path, tokenizer, peft=False, trainable_parameters="nothing")
    with pytest.raises(ValueError, match="target_modules"):
        trainer_for(tmp_path, tokenizer, trainable_parameters="layers")


@pytest.mark.parametrize("method", ["wga", "satimp", "ihl", "simnpo", "ceu", "ga"])
def test_methods_that_read_no_reference_keep_none(method, tokenizer, tmp_path):
    # Released code of two of them copies the whole model and never reads the copy.
    kept = trainer_for(tmp_path, tokenizer, method=method).references
    assert not kept.log_probs
    assert not kept.logits
    assert not kept.hidden


def test_a_record_that_leaves_nothing_to_forget_is_refused(tokenizer, tmp_path):
    short = Record(prompt="red or blue?", response="x", facts=("x",))
    with pytest.raises(ValueError, match="no token to forget in forget record 0"):
        UnlearnTrainer(
            tiny_llama(),
            settings(tmp_path, method="ceu", append_eos=False),
            [short],
            None,
            tokenizer,
        )


def test_mixed_precision_leaves_with_the_training(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, peft=False, bf16=True, learning_rate=0.0, num_train_epochs=1)
    ids = torch.tensor([[5, 6, 7]])
    before = trainer.model(input_ids=ids).logits
    trainer.train()
    after = trainer.model.eval()(input_ids=ids).logits
    assert after.dtype == torch.float32
    assert torch.equal(after, before)
