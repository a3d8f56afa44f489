"""Gradients without conflict: the projection, and a trainer's step with it."""

import copy

import pytest
import torch

from myosotis.unlearning.language import gradient_ascent_loss, project_conflict


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
def test_a_projected_step_is_the_projected_gradient(size, tokenizer, tmp_path, forget_records, tiny_llama, trainer_for):
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
    labels, half = batch["labels"][:, 1:], len(forget_records)
    parameters = list(reference.parameters())
    forget = torch.autograd.grad(gradient_ascent_loss(logits[:half], labels[:half]), parameters, retain_graph=True)
    retain = torch.autograd.grad(-gradient_ascent_loss(logits[half:], labels[half:]), parameters)
    assert sum((f * r).sum() for f, r in zip(forget, retain, strict=True)) < 0
    step = [f + r for f, r in zip(project_conflict(forget, retain), retain, strict=True)]
    trainer.train()
    for parameter, change, after in zip(parameters, step, trainer.model.parameters(), strict=True):
        torch.testing.assert_close(after, parameter - 0.1 * change, atol=1e-9, rtol=1e-7)
