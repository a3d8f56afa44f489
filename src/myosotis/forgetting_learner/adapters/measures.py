"""What a learner answers, by the adapter that each prompt goes to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.data.records import Record
from myosotis.evaluation.comparison import Comparison, Rule, compared, fixed, one_sided
from myosotis.evaluation.intervals import Interval, mean_interval
from myosotis.forgetting_learner.adapters.learner import SubjectLearner, prompt_of
from myosotis.forgetting_learner.adapters.result import PromptFigures
from myosotis.forgetting_learner.adapters.router import by_shard
from myosotis.unlearning.language.audit.answers import answer_metrics


@dataclass(frozen=True)
class Answers:
    """What a learner answers to prompts, one value each.

    Attributes:
        facts: Share of the facts' tokens that are right, NaN without facts.
        facts_of_model: The same of the model without adapters.
        right: Whether the prompt goes to the adapter of its subject.
        any: Whether it goes to an adapter.
        subjects: Unit of each.
        known: Whether the subjects have adapters.
    """

    facts: Float[Tensor, " count"]
    facts_of_model: Float[Tensor, " count"]
    right: Float[Tensor, " count"]
    any: Float[Tensor, " count"]
    subjects: Sequence[str]
    known: bool

    def figures(self, level: float) -> PromptFigures:
        """Return the means with their intervals."""
        has_facts = not bool(self.facts.isnan().all())

        def mean(values: Tensor) -> Interval:
            return mean_interval(values, self.subjects, level=level)

        return PromptFigures(
            facts=mean(self.facts) if has_facts else None,
            facts_of_model=mean(self.facts_of_model) if has_facts else None,
            right=mean(self.right) if self.known else None,
            any=mean(self.any),
        )


def answers_to(learner: SubjectLearner, records: Sequence[Record], *, asks: bool = True) -> Answers:
    """Return what a learner answers to records.

    Args:
        learner: Learner.
        records: Records.
        asks: Whether they have facts to ask for; else only where they go is measured.
    """
    examples = [learner.encoder(record) for record in records]
    routed = learner.route_ids([prompt_of(example) for example in examples])
    plain = _facts(learner, examples, None) if asks else torch.full((len(examples),), torch.nan)
    facts = plain.clone()
    for shard, indices in by_shard(routed).items():
        if asks and shard is not None:
            facts[indices] = _facts(learner, [examples[index] for index in indices], shard)
    shards = [None if record.subject is None else learner.shard_of(record.subject) for record in records]
    right = [found is not None and found == own for found, own in zip(routed, shards, strict=True)]
    subjects = [record.subject or str(number) for number, record in enumerate(records)]
    known = any(shard in learner.shards for shard in shards)
    went = torch.tensor([shard is not None for shard in routed]).float()
    return Answers(facts, plain, torch.tensor(right).float(), went, subjects, known)


def _facts(learner: SubjectLearner, examples: Sequence[Example], shard: str | None) -> Float[Tensor, " count"]:
    with learner.active([shard]):
        values = answer_metrics(learner.model, examples)
    return values["fact_accuracy"]


def reworded(records: Sequence[Record]) -> list[Record]:
    """Return the records under the other wordings of their questions."""
    return [replace(record, prompt=other) for record in records if record.prompt for other in record.paraphrases]


def against_level(
    name: str, values: Float[Tensor, " count"], subjects: Sequence[str], rule: Rule, level: float, confidence: float
) -> Comparison:
    """Return the comparison of a mean with a fixed level, by subject."""
    interval = mean_interval(values, subjects, level=one_sided(confidence))
    return compared(
        name,
        mean_interval(values, subjects, level=confidence),
        fixed(level),
        interval.transformed(lambda value: value - level),
        rule,
        confidence=confidence,
    )


def shares(learner: SubjectLearner, rows: Mapping[str, Tensor], level: float, *, own: bool) -> Interval:
    """Return how many prompts, known by their stored features, go to an adapter by their score.

    Args:
        learner: Learner.
        rows: Features on the grid of the prompts of each subject, by its keyed name.
        level: Level of confidence.
        own: Whether to count the adapter of the subject alone.
    """
    found, units = [], []
    for shard, features in rows.items():
        for best in learner.router.best(features):
            found.append(best == shard if own else best is not None)
            units.append(shard)
    return mean_interval(torch.tensor(found).double(), units, level=level)
