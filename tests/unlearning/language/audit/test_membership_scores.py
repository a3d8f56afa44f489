"""Membership-inference scores of texts, against the definitions."""

import copy
import math
import zlib

import pytest
import torch

from myosotis.data.encoding import IGNORED, Encoder
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.unlearning.language.audit.membership import (
    SCORES,
    gradient_norms,
    membership_scores,
    min_k_plus_plus_score,
    min_k_score,
    standardized_log_probs,
)


@pytest.fixture
def examples(tokenizer):
    encoder = Encoder(tokenizer, max_length=120)
    records = [record for person in fictitious_people(2, seed=2) for record in person.records()[:3]]
    return [encoder(record) for record in records] + [encoder(Record(text="The lantern stood at the window."))]


def test_the_numbers_of_the_definition():
    assert min_k_score(torch.tensor([-1.0, -2.0, -3.0, -4.0, -5.0]), 0.4) == 4.5
    p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
    z = standardized_log_probs(p.log().expand(1, 3, 3), torch.tensor([[0, 1, 2]]))[0]
    expected = torch.tensor([0.63309, -1.14861, -2.13442], dtype=torch.float64)
    torch.testing.assert_close(z, expected, atol=1e-5, rtol=0)
    mean, sigma = (p * p.log()).sum(), ((p * p.log() ** 2).sum() - (p * p.log()).sum() ** 2).sqrt()
    torch.testing.assert_close(z, (p.log() - mean) / sigma)
    assert min_k_plus_plus_score(z, 0.4) == pytest.approx(2.13442, abs=1e-5)


def test_one_token_at_least_is_looked_at():
    assert min_k_score(torch.tensor([-3.0, -1.0]), 0.01) == 3.0
    with pytest.raises(ValueError, match="k must be"):
        min_k_score(torch.tensor([-3.0]), 0.0)
    with pytest.raises(ValueError, match="without a token"):
        min_k_score(torch.tensor([]))


def test_a_certain_prediction_has_a_finite_standardised_log_probability():
    z = standardized_log_probs(torch.tensor([[[1000.0, 0.0]]]), torch.tensor([[0]]))
    assert z.isfinite().all()


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_scores_do_not_depend_on_the_batch(make, examples, tokenizer):
    model = make()
    reference = torch.linspace(1, 2, len(examples))
    together = membership_scores(model, tokenizer, examples, reference_nll=reference)
    assert set(together) == set(SCORES)
    for place, example in enumerate(examples):
        alone = membership_scores(model, tokenizer, [example], reference_nll=reference[place : place + 1], batch_size=1)
        for name in SCORES:
            assert together[name][place].item() == pytest.approx(alone[name].item(), rel=1e-4), name
    loss = together["loss"]
    torch.testing.assert_close(together["reference"], loss - reference)
    labels = [label for label in examples[0].labels if label != IGNORED]
    text = tokenizer.decode(labels, skip_special_tokens=True)
    assert together["zlib"][0].item() == pytest.approx(loss[0].item() / len(zlib.compress(text.encode())), rel=1e-5)


@pytest.mark.parametrize("order", [1.0, 2.0, math.inf])
def test_gradient_norm_is_the_mean_over_tensors_and_leaves_no_trace(order, examples, tiny_llama):
    model = tiny_llama()
    model.train()
    next(model.parameters()).requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    values = gradient_norms(model, examples[:2], order)
    assert model.training
    assert not next(model.parameters()).requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    plain = tiny_llama()
    example = examples[0]
    labels = torch.tensor([example.labels])
    plain(input_ids=torch.tensor([example.input_ids]), labels=labels).loss.backward()
    norms = torch.stack([p.grad.norm(p=order) for p in plain.parameters()])
    assert values[0].item() == pytest.approx(norms.mean().item(), rel=1e-3)
    if order == 2.0:
        assert values[0].item() != pytest.approx(norms.square().sum().sqrt().item(), rel=1e-2)


def test_the_reference_score_needs_a_reference(examples, tokenizer, tiny_llama):
    without = membership_scores(tiny_llama(), tokenizer, examples[:1], scores=("loss", "reference"))
    assert set(without) == {"loss"}
