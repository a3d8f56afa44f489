"""The stop rule: when it is met, and what it refuses to compare."""

import pytest
import torch

from myosotis.unlearning.language import StopRule
from myosotis.unlearning.language.audit.greedy import GreedyPass


@pytest.mark.parametrize(
    ("value", "min_epochs", "epochs", "reason"),
    [
        (1.01, 0, 1, "forgotten"),
        (1.01, 3, 3, "forgotten"),
        (1e-9, 0, 4, "epochs"),
    ],
)
def test_the_stop_rule(value, min_epochs, epochs, reason, tokenizer, tmp_path, thresholds, trainer_for):
    first = trainer_for(tmp_path, tokenizer)
    sequences = [torch.tensor(example.input_ids) for example in first.records.forget]
    rule = StopRule(thresholds(sequences, value), sequences, min_epochs=min_epochs)
    trainer = trainer_for(tmp_path, tokenizer, stop_rule=rule, num_train_epochs=4)
    trainer.train()
    assert trainer.stop_reason == reason
    assert round(trainer.state.epoch) == epochs
    measured = [entry for entry in trainer.state.log_history if "forget_memorization_accuracy" in entry]
    assert len(measured) == epochs


def test_a_rule_is_met_by_ties_and_refuses_what_it_cannot_compare(thresholds):
    sequences = [torch.arange(5)]
    rule = StopRule(thresholds(sequences, 0.0), sequences)
    level = rule.thresholds.memorization_accuracy
    values = {"forget_memorization_accuracy": level, "forget_extraction_likelihood": 0.0}
    assert rule.satisfied(values, 1)
    assert rule.satisfied({**values, "forget_extraction_likelihood": 5e-7}, 1)
    assert not rule.satisfied({**values, "forget_extraction_likelihood": 1e-3}, 1)
    with pytest.raises(ValueError, match="5 tokens"):
        StopRule(thresholds(sequences, 0.5), [torch.arange(6)])


def test_a_rule_that_never_stops_measures_without_rollouts(thresholds, llama, monkeypatch):
    sequences = [torch.randint(300, (9,), generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    watching, active = (StopRule(thresholds(sequences, 1.0), sequences, active=way) for way in (False, True))
    both = active.measure(llama)
    assert active.satisfied(both, 1)
    monkeypatch.setattr(GreedyPass, "_roll", lambda *_: pytest.fail("tokens were generated"))
    seen = watching.measure(llama)
    assert seen == {"forget_memorization_accuracy": both["forget_memorization_accuracy"]}
    assert not watching.satisfied(seen, 1)
