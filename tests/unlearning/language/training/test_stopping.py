"""The stop rule: when it is met, and what it refuses to compare."""

from dataclasses import replace

import pytest
import torch

from myosotis.data.encoding import Example
from myosotis.unlearning.language import StopRule
from myosotis.unlearning.language.audit.forgotten import Level
from myosotis.unlearning.language.audit.greedy import GreedyPass

# At a level of .9 a figure in [0, 1] is at most .1 above it; at -5 it is more than the margin of 1.2 above.
MET, NEVER = 0.9, -5.0


@pytest.mark.parametrize(
    ("value", "min_epochs", "epochs", "reason"),
    [(MET, 0, 1, "forgotten"), (MET, 3, 3, "forgotten"), (NEVER, 0, 4, "epochs")],
)
def test_the_stop_rule(value, min_epochs, epochs, reason, tokenizer, tmp_path, rule_at, trainer_for):
    first = trainer_for(tmp_path, tokenizer)
    rule = rule_at(first.records.forget, value, min_epochs=min_epochs)
    trainer = trainer_for(tmp_path, tokenizer, stop_rule=rule, num_train_epochs=4)
    trainer.train()
    assert trainer.stop_reason == reason
    assert round(trainer.state.epoch) == epochs
    measured = [entry for entry in trainer.state.log_history if "forget_probability" in entry]
    assert len(measured) == epochs


def subjects(count, per_subject=3):
    return [
        Example((1, 2, 3, 4), (-100, 2, 3, 4), (False, True, True, True), f"person {person}")
        for person in range(count)
        for _ in range(per_subject)
    ]


def rule_of(people, spread, unseen=0.2, **options):
    examples = subjects(people)
    known = {"fact_probability": torch.ones(len(examples))}
    others = torch.tensor([unseen - spread, unseen, unseen + spread] * 4)
    level = Level("unseen records, before", {"fact_probability": others}, list(range(12)), paired=False)
    return StopRule(examples, known, level, figures=("probability",), **options)


def now(rule, value, spread=0.0):
    ends = torch.tensor([value - spread, value, value + spread])
    return {"fact_probability": ends.repeat_interleave(3).repeat(len(rule.examples) // 9)}


def test_training_stops_where_forgotten_would_be_answered_yes():
    # The margin is a fifth of 1 - .2: the level of unseen records is enough, and less is not asked for.
    rule = rule_of(9, spread=0.03)
    assert rule.satisfied(now(rule, 0.2, 0.03), 1)
    assert rule.satisfied(now(rule, 0.3, 0.03), 1)
    assert not rule.satisfied(now(rule, 0.36, 0.03), 1)  # at the margin it is not shown
    assert not rule.satisfied(now(rule, 0.5, 0.03), 1)
    # Where people differ more, more must be shown.
    assert not rule_of(9, spread=0.3).satisfied(now(rule, 0.3, 0.3), 1)
    assert not rule_of(9, spread=0.03, min_epochs=2).satisfied(now(rule, 0.2), 1)


def test_the_means_of_few_subjects_decide():
    rule = rule_of(3, spread=0.1)
    assert rule.satisfied(now(rule, 0.36), 1)
    assert not rule.satisfied(now(rule, 0.37), 1)


def test_one_wholly_remembered_subject_goes_on():
    rule = rule_of(30, spread=0.03)
    values = now(rule, 0.2)
    assert rule.satisfied(values, 1)
    values["fact_probability"][:3] = 1.0
    assert not rule.satisfied(values, 1)


def test_nothing_learnt_stops_at_once_and_nothing_comparable_is_refused():
    rule = rule_of(9, spread=0.03)
    never = replace(rule, before={"fact_probability": now(rule, 0.2)["fact_probability"]})
    assert never.satisfied(now(rule, 0.2), 1)
    with pytest.raises(
        ValueError, match="nothing tells when the forget set is forgotten: no forget record is long enough"
    ):
        replace(
            rule,
            before={},
            figures=("memorization_accuracy",),
            level=replace(rule.level, values={"memorization_accuracy": torch.ones(12)}),
        )
    with pytest.raises(ValueError, match="only 0 of 27 forget records have it and are of a comparable length"):
        StopRule(
            rule.examples,
            {"memorization_accuracy": torch.ones(27)},
            Level("unseen records, before", {"memorization_accuracy": torch.ones(12)}, list(range(12)), paired=False),
            figures=("memorization_accuracy",),
            out_of_range=[True] * 27,
        )


def test_a_rule_that_never_stops_measures_without_rollouts(rule_at, llama, monkeypatch):
    stream = torch.Generator().manual_seed(0)
    ids = [tuple(torch.randint(300, (9,), generator=stream).tolist()) for _ in range(3)]
    examples = [Example(row, (-100, *row[1:]), (False,) * 9) for row in ids]
    watching, active = (rule_at(examples, 1.0, active=way) for way in (False, True))
    both = active.measure(llama)
    assert active.satisfied(both, 1)
    monkeypatch.setattr(GreedyPass, "_roll", lambda *_: pytest.fail("tokens were generated"))
    seen = watching.measure(llama)
    assert torch.equal(seen["memorization_accuracy"], both["memorization_accuracy"])
    assert "extraction_likelihood" not in seen
    assert set(watching.means(seen)) == {"forget_probability", "forget_token_accuracy", "forget_memorization_accuracy"}
    assert not watching.satisfied(seen, 1)
