"""The loss of a step: means over the step, weights, accumulation."""

import math

import pytest
import torch

from myosotis.unlearning.language import gradient_ascent_loss, inverted_hinge_loss


def test_a_composite_is_the_weighted_sum_of_its_terms(tokenizer, tmp_path, method_settings, trainer_for):
    trainer = trainer_for(tmp_path, tokenizer, method="composite", method_settings=method_settings["composite"])
    assert [term.name for _, term in trainer.terms] == ["forget_hinge", "forget_npo", "retain_nll"]
    batch = trainer.data_collator([(0, (1,)), (3, (2,))])
    with torch.no_grad():
        seen = trainer.forward_pass(trainer.model, batch)
        hinge = inverted_hinge_loss(seen.logits[:2], seen.labels[:2])
        npo = 20 * math.log(2)
        nll = -gradient_ascent_loss(seen.logits[2:], seen.labels[2:])
        total = trainer.compute_loss(trainer.model, batch)
    assert total.item() == pytest.approx((hinge + 0.5 * npo + nll).item(), rel=1e-4)


@pytest.mark.parametrize(
    "method",
    ["ihl", "counterfactual", "npo", "kl", "dpo", "gd", "undial", "ceu", "pdu", "rmu", "satimp", "composite"],
)
def test_accumulation_does_not_change_the_trajectory(
    method, tokenizer, tmp_path, losses, method_settings, tiny_llama, trainer_for, weights
):
    runs = []
    for size, accumulation in ((8, 1), (1, 8), (3, 3)) if method == "ihl" else ((8, 1), (3, 3)):
        trainer = trainer_for(
            tmp_path,
            tokenizer,
            model=tiny_llama().double(),
            method=method,
            method_settings=method_settings.get(method, {}),
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


def test_a_step_is_the_token_mean_over_the_batch_and_not_the_mean_of_means(tokenizer, tmp_path, losses, trainer_for):
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
