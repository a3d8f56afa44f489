"""The losses of single methods: closed forms, gradients by formula, masks, and what released code gets wrong."""

import copy
import math

import pytest
import torch
from test_trainer import FORGET, RETAIN, SETTINGS, lora, settings, trainer_for, weights
from torch.nn import functional

from conftest import tiny_gpt2, tiny_llama
from myosotis.data.encoding import IGNORED, Encoder, only_facts
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.unlearning.language import (
    Selection,
    UnlearnTrainer,
    build_method,
    cross_entropy_unlearning_loss,
    gradient_ascent_loss,
    inverted_hinge_loss,
    logit_flattening_loss,
    project_conflict,
    saturation_importance_loss,
    undial_loss,
    weighted_ascent_loss,
)
from myosotis.unlearning.language.alternates import alternate_examples
from myosotis.unlearning.language.methods.dual import DualAscent
from myosotis.unlearning.language.methods.misdirection import squared_distance, steering_vector
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


# RMU ------------------------------------------------------------------------------------------------------------------


def test_squared_distance_counts_labelled_positions_only():
    hidden = torch.tensor([[[1.0, 3.0], [5.0, 5.0], [0.0, 2.0]]])
    labels = torch.tensor([[4, IGNORED, 2]])
    torch.testing.assert_close(squared_distance(hidden, torch.zeros(2), labels), torch.tensor([[5.0, 0.0, 2.0]]))


def test_the_steering_vector_is_fixed_by_its_seed():
    assert torch.equal(steering_vector(8, 2.0, seed=3), steering_vector(8, 2.0, seed=3))
    assert not torch.equal(steering_vector(8, 2.0, seed=3), steering_vector(8, 2.0, seed=4))
    assert (steering_vector(8, 2.0) >= 0).all()


@pytest.mark.parametrize("make", [tiny_llama, tiny_gpt2])
def test_rmu_reads_the_output_of_the_block_that_it_names(make, tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, make, peft=False, method="rmu", method_settings={"block": 0})
    seen = {}
    blocks = trainer.model.model.layers if make is tiny_llama else trainer.model.transformer.h

    def hook(module, inputs, output):
        seen["out"] = output[0] if isinstance(output, tuple) else output

    handle = blocks[0].register_forward_hook(hook)
    batch = trainer.data_collator([(0, (1,)), (1, (2,))])
    with torch.no_grad():
        shifted = trainer._shifted(trainer.model, batch)
    handle.remove()
    labels = batch["labels"][:, 1:]
    torch.testing.assert_close(shifted.hidden[0][shifted.labels != IGNORED], seen["out"][:, :-1][labels != IGNORED])
    # Nothing has moved yet, so the retain term is 0.
    sides = trainer._sides(shifted, batch)
    assert trainer.terms[1][1].items(sides).abs().max() < 1e-6


def test_rmu_refuses_a_block_that_is_not_there(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="blocks 0 to 0"):
        trainer_for(tmp_path, tokenizer, method="rmu")


# PDU ------------------------------------------------------------------------------------------------------------------


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


# Projection -----------------------------------------------------------------------------------------------------------


def test_projection_takes_away_the_conflict_and_nothing_else():
    torch.manual_seed(0)
    forget = [torch.randn(3, 2), torch.randn(5)]
    retain = [torch.randn(3, 2), torch.randn(5)]

    def inner(left, right):
        return sum((a * b).sum() for a, b in zip(left, right, strict=True)).item()

    if inner(forget, retain) > 0:
        retain = [-r for r in retain]
    projected = project_conflict(forget, retain)
    assert inner(projected, retain) == pytest.approx(0, abs=1e-5)
    removed = [f - g for f, g in zip(forget, projected, strict=True)]
    ratio = removed[0] / retain[0]
    torch.testing.assert_close(ratio, ratio[0, 0].expand(3, 2))
    agreeing = [-r for r in retain]
    assert all(torch.equal(a, b) for a, b in zip(project_conflict(forget, agreeing), forget, strict=True))
    nothing = [torch.zeros_like(r) for r in retain]
    assert all(torch.equal(a, b) for a, b in zip(project_conflict(forget, nothing), forget, strict=True))


@pytest.mark.parametrize("size", [8, 2])
def test_a_projected_step_is_the_projected_gradient(size, tokenizer, tmp_path):
    torch.manual_seed(0)
    reference = tiny_llama().double()
    trainer = trainer_for(
        tmp_path,
        tokenizer,
        model=copy.deepcopy(reference),
        peft=False,
        method="gd",
        method_settings={"projection": "conflict"},
        optim="sgd",
        learning_rate=0.1,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=8 // size,
        num_train_epochs=1,
    )
    batch = trainer.data_collator(trainer.pair_sampler.pairs(0))
    logits = reference(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    labels, half = batch["labels"][:, 1:], len(FORGET)
    parameters = list(reference.parameters())
    forget = torch.autograd.grad(gradient_ascent_loss(logits[:half], labels[:half]), parameters, retain_graph=True)
    retain = torch.autograd.grad(-gradient_ascent_loss(logits[half:], labels[half:]), parameters)
    assert sum((f * r).sum() for f, r in zip(forget, retain, strict=True)) < 0
    step = [f + r for f, r in zip(project_conflict(forget, retain), retain, strict=True)]
    trainer.train()
    for parameter, change, after in zip(parameters, step, trainer.model.parameters(), strict=True):
        torch.testing.assert_close(after, parameter - 0.1 * change, atol=1e-9, rtol=1e-7)


# Task vectors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("peft", [True, False])
def test_a_task_vector_goes_as_far_the_other_way(peft, tokenizer, tmp_path):
    reached = {}
    for scale in (1.0, 0.5):
        trainer = trainer_for(
            tmp_path, tokenizer, method="task-vector", method_settings={"scale": scale}, peft=peft, max_grad_norm=1.0
        )
        start = weights(trainer)
        trainer.add_callback(_Recorder(trainer, reached, scale))
        trainer.train()
        after = weights(trainer)
        learnt = reached[scale]
        for name, value in start.items():
            if ".lora_A." in name:
                assert torch.equal(after[name], learnt[name])
            else:
                torch.testing.assert_close(after[name], value - scale * (learnt[name] - value))
    assert any(not torch.equal(learnt[name], start[name]) for name in start)


class _Recorder:
    def __new__(cls, trainer, reached, scale):
        from transformers import TrainerCallback

        class Recorder(TrainerCallback):
            def on_train_end(self, args, state, control, **kwargs):
                reached[scale] = weights(trainer)

        return Recorder()


def test_no_rule_or_fila_start_goes_with_a_task_vector(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="negates"):
        trainer_for(tmp_path, tokenizer, method="task-vector", lora_init="fila")


# Alternates -----------------------------------------------------------------------------------------------------------


def test_alternates_keep_the_form_and_change_the_content(tokenizer):
    encoder = Encoder(tokenizer, max_length=128)
    model = tiny_llama()
    records = [record for person in fictitious_people(2, seed=1) for record in person.records()[:2]]
    made = alternate_examples(model, encoder, records, seed=4)
    assert made == alternate_examples(model, encoder, records, seed=4)
    for record, alternate in zip(records, made, strict=True):
        original = encoder(record)
        leave = next(place for place in range(original.response_start, len(original.facts)) if original.facts[place])
        assert alternate.input_ids[:leave] == original.input_ids[:leave]
        assert alternate.input_ids[leave] != original.input_ids[leave]
        start = original.response_start
        assert alternate.labels[:start] == (IGNORED,) * start
        assert alternate.labels[start:] == alternate.input_ids[start:]


def test_a_record_may_bring_its_own_alternate(tokenizer):
    encoder = Encoder(tokenizer, max_length=128)
    record = Record(prompt="Where?", response="In Oslo.", alternate="In Rome.")
    (made,) = alternate_examples(tiny_llama(), encoder, [record], seed=0)
    assert made.input_ids == encoder(Record(prompt="Where?", response="In Rome.")).input_ids


# Composite, facts, trainable parameters, selection -------------------------------------------------------------------


def test_a_composite_is_the_weighted_sum_of_its_terms(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, method="composite", method_settings=SETTINGS["composite"])
    assert [term.name for _, term in trainer.terms] == ["forget_hinge", "forget_npo", "retain_nll"]
    batch = trainer.data_collator([(0, (1,)), (3, (2,))])
    with torch.no_grad():
        seen = trainer._shifted(trainer.model, batch)
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
        seen = trainer._shifted(trainer.model, batch)
    assert seen.logits.shape[1] == (labels != IGNORED).sum(dim=1).max()
    assert torch.equal(seen.labels[seen.labels != IGNORED], labels[labels != IGNORED])
    torch.testing.assert_close(seen.logits[seen.labels != IGNORED], whole[labels != IGNORED])


def test_only_the_facts_may_be_forgotten(tokenizer, tmp_path):
    trainer = trainer_for(tmp_path, tokenizer, forget_tokens="facts")
    encoder = Encoder(tokenizer, max_length=512)
    for example, record in zip(trainer._forget, FORGET, strict=True):
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


def selecting_trainer(path, tokenizer, epochs, **changes):
    encoder = Encoder(tokenizer, max_length=512)
    selection = Selection([encoder(r) for r in FORGET], [encoder(r) for r in RETAIN], unseen_level=0.0)
    return UnlearnTrainer(
        tiny_llama(),
        settings(path, num_train_epochs=epochs, learning_rate=2e-2, **changes),
        FORGET,
        RETAIN,
        tokenizer,
        lora(),
        selection=selection,
    )


def test_the_best_epoch_by_the_declared_criterion_is_taken(tokenizer, tmp_path):
    trainer = selecting_trainer(tmp_path, tokenizer, 6, save_strategy="epoch")
    trainer.train()
    scores = [entry["selection_score"] for entry in trainer.state.log_history if "selection_score" in entry]
    assert len(scores) == 6
    assert trainer.selected_epoch == 1 + max(range(6), key=lambda place: (scores[place], -place))
    assert trainer.selection.measure(trainer.model)["selection_score"] == pytest.approx(max(scores), abs=1e-6)
    # A resumed run knows what was selected before it was interrupted.
    again = selecting_trainer(tmp_path, tokenizer, 6)
    again.train(resume_from_checkpoint=tmp_path / "step-8")
    assert again.selected_epoch == trainer.selected_epoch
    for name, value in weights(trainer).items():
        assert torch.equal(weights(again)[name], value)


def test_the_two_criteria():
    example = one_example()
    harmonic = Selection([example], [example], 0.2)
    assert harmonic.score(0.2, 1.0) == 1.0
    assert harmonic.score(0.0, 1.0) < 1.0  # knowing less than unseen text shows, too
    first = Selection([example], [example], 0.2, "forgotten_first")
    assert first.score(0.2, 0.1) > first.score(0.21, 1.0)
    assert first.score(0.1, 0.9) > first.score(0.0, 0.8)


def one_example():
    from myosotis.data.encoding import Example

    return Example((1, 2), (1, 2), (False, True))


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
