"""Requests one after another: order, fresh optimisers, re-evaluation of earlier ones, taking up an interrupted run."""

import copy

import pytest
import torch

from myosotis.data.encoding import Encoder
from myosotis.unlearning.language import UnlearnTrainer, unlearn_sequential
from myosotis.unlearning.language.training.preparation import add_adapter
from myosotis.unlearning.language.training.sequential import RequestOutcome, came_back, forget_measures


@pytest.fixture(scope="session")
def forget_requests(forget_records):
    return [forget_records[:3], forget_records[3:5], forget_records[5:]]


def state(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("lora_init", ["default", "fila"])
def test_every_request_is_a_training_of_its_own_from_the_weights_before(
    lora_init, tokenizer, tmp_path, forget_requests, lora, retain_records, settings_for, tiny_llama
):
    options = {"lora_init": lora_init, "learning_rate": 1e-2}
    model, outcomes = unlearn_sequential(
        tiny_llama(), settings_for(tmp_path / "all", **options), forget_requests, retain_records, tokenizer, lora()
    )
    assert [outcome.request for outcome in outcomes] == [1, 2, 3]
    assert [len(outcome.measures) for outcome in outcomes] == [1, 2, 3]
    expected = tiny_llama()
    encoder = Encoder(tokenizer, max_length=512)
    for number, request in enumerate(forget_requests):
        adapted = add_adapter(expected, lora(), seed=42, request=number + 1)
        trainer = UnlearnTrainer(adapted, settings_for(tmp_path / "one", **options), request, retain_records, tokenizer)
        trainer.train()
        expected = trainer.model.merge_and_unload()
        for earlier in range(number + 1):
            measured = forget_measures(expected, [encoder(record) for record in forget_requests[earlier]])
            assert outcomes[number].measures[earlier] == pytest.approx(measured, abs=1e-6)
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name


def test_replay_unlearns_earlier_requests_again_with_each(
    tokenizer, tmp_path, forget_requests, retain_records, settings_for, tiny_llama
):
    asked = []
    args = settings_for(tmp_path / "all", learning_rate=1e-2)
    model, outcomes = unlearn_sequential(
        tiny_llama(), args, forget_requests, retain_records, tokenizer, replay=True,
        stop_rule=lambda number, examples: asked.append((number, len(examples))),
    )  # fmt: skip
    assert asked == [(1, 3), (2, 5), (3, 8)]
    assert [len(outcome.measures) for outcome in outcomes] == [1, 2, 3]
    expected = tiny_llama()
    for number in range(3):
        joined = [record for request in forget_requests[: number + 1] for record in request]
        trainer = UnlearnTrainer(
            expected, settings_for(tmp_path / "one", learning_rate=1e-2), joined, retain_records, tokenizer
        )
        trainer.train()
        expected = trainer.model
    assert all(torch.equal(value, state(model)[name]) for name, value in state(expected).items())


def outcome(number, *probabilities, reason="epochs"):
    measures = [{"probability": value} for value in probabilities]
    return RequestOutcome(
        request=number,
        stop_reason=reason,
        epochs=5.0,
        steps=10,
        divergence=None,
        trainable_parameters=100,
        measures=measures,
    )


def test_a_request_came_back_where_more_is_known_than_right_after_it():
    before = [{"probability": 0.9}] * 3
    # Of the .8 that the first request removed, .3 are back; of the second, less than a fifth.
    outcomes = [outcome(1, 0.1), outcome(2, 0.2, 0.3), outcome(3, 0.4, 0.35, 0.1)]
    assert came_back(outcomes, before) == [1]
    assert came_back(outcomes, before, margin=0.5) == []
    # What is known less than right after it is not back, with a stop rule or without.
    assert came_back([outcome(1, 0.36), outcome(2, 0.25, 0.3), outcome(3, 0.25, 0.3, 0.1)], before) == []
    # What was never removed cannot come back, and nothing comes after the last request.
    assert came_back([outcome(1, 0.95), outcome(2, 0.99, 0.1)], before) == []
    assert came_back([outcome(1, 0.1)], before) == []


def test_each_request_has_its_own_stop_rule(
    tokenizer, tmp_path, forget_requests, lora, retain_records, settings_for, rule_at, tiny_llama
):
    asked = []

    def rule(number, examples):
        asked.append((number, len(examples)))
        return rule_at(examples, 0.9, min_epochs=number)

    _, outcomes = unlearn_sequential(
        tiny_llama(),
        settings_for(tmp_path, num_train_epochs=5),
        forget_requests,
        retain_records,
        tokenizer,
        lora(),
        stop_rule=rule,
    )
    assert asked == [(1, 3), (2, 2), (3, 3)]
    assert [outcome.epochs for outcome in outcomes] == [1, 2, 3]
    assert {outcome.stop_reason for outcome in outcomes} == {"forgotten"}


def test_an_interrupted_sequence_goes_on_where_it_was(
    tokenizer, tmp_path, forget_requests, lora, retain_records, settings_for, tiny_llama
):
    kept = {}

    def keep(outcome, model):
        kept[outcome.request] = copy.deepcopy(model)

    args = settings_for(tmp_path / "whole", learning_rate=1e-2)
    whole, outcomes = unlearn_sequential(
        tiny_llama(), args, forget_requests, retain_records, tokenizer, lora(), on_outcome=keep
    )
    torch.manual_seed(7)  # another process has drawn other numbers before
    rest, again = unlearn_sequential(
        kept[1],
        settings_for(tmp_path / "rest", learning_rate=1e-2),
        forget_requests,
        retain_records,
        tokenizer,
        lora(),
        done=outcomes[:1],
    )
    assert again == outcomes
    assert all(torch.equal(value, state(whole)[name]) for name, value in state(rest).items())


def test_empty_requests_are_refused(tokenizer, tmp_path, forget_records, retain_records, settings_for, tiny_llama):
    for requests in ([], [forget_records[:1], []]):
        with pytest.raises(ValueError, match="at least one record"):
            unlearn_sequential(tiny_llama(), settings_for(tmp_path), requests, retain_records, tokenizer)
