"""Requests one after another: order, fresh optimisers, re-evaluation of earlier ones, taking up an interrupted run."""

import copy

import pytest
import torch

from myosotis.data.encoding import Encoder
from myosotis.unlearning.language import StopRule, Thresholds, UnlearnTrainer, unlearn_sequential
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


def test_requests_that_came_back_are_those_whose_rule_holds_no_longer(tokenizer, forget_requests, tiny_llama):
    model = tiny_llama()
    encoder = Encoder(tokenizer, max_length=512)
    requests = [[encoder(record) for record in request] for request in forget_requests]
    sequences = [[torch.tensor(example.input_ids) for example in request] for request in requests]
    # Every accuracy is in [0, 1]: at a threshold of 1 a set is forgotten whatever the model knows, below 0 never.
    levels = {1: -1.0, 2: 1.0, 3: -1.0}

    def rule(number, examples):
        assert examples == requests[number - 1]
        level = levels[number]
        return StopRule(Thresholds(level, level, 2, 40.0, (1, 200), 3, 0.0, 0.0), sequences[number - 1], min_epochs=4)

    def outcome(number, reason):
        return RequestOutcome(number, reason, 5.0, 10, None, 100, ())

    reasons = ("forgotten", "forgotten", "forgotten")
    assert came_back(model, [outcome(place + 1, r) for place, r in enumerate(reasons)], requests, rule) == [1]
    # What was never forgotten cannot come back, and nothing comes after the last request.
    reasons = ("epochs", "forgotten", "epochs")
    assert came_back(model, [outcome(place + 1, r) for place, r in enumerate(reasons)], requests, rule) == []
    assert came_back(model, [outcome(1, "forgotten")], requests[:1], rule) == []


def test_each_request_has_its_own_stop_rule(
    tokenizer, tmp_path, forget_requests, lora, retain_records, settings_for, thresholds, tiny_llama
):
    asked = []

    def rule(number, examples):
        asked.append((number, len(examples)))
        thresholds = Thresholds(1.1, 1.1, 2, 40.0, (1, 200), 3, 0.0, 0.0)
        sequences = [torch.tensor(example.input_ids) for example in examples]
        return StopRule(thresholds, sequences, min_epochs=number)

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
