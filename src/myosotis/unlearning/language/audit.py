"""The audit: what a model knows of the forget, retain and unseen records, and of general text."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.encoding import Example
from myosotis.evaluation.intervals import bootstrap_mean
from myosotis.unlearning.language.answers import answer_metrics, greedy_answers, perplexity, rouge_l_recall
from myosotis.unlearning.language.memorization import memorization_by_n

SPLITS = ("forget", "retain", "unseen")
"""The sets of records that an audit looks at, where they are there."""


@dataclass(frozen=True)
class AuditSets:
    """The records of an audit. ``general`` is other text, for perplexity."""

    forget: Sequence[Example]
    retain: Sequence[Example] = ()
    unseen: Sequence[Example] = ()
    general: Sequence[Example] = ()


@dataclass(frozen=True)
class Audit:
    """What one model showed.

    Attributes:
        metrics: By split and metric: mean, low, high, count, units; ``general`` holds ``perplexity`` only.
        answers: The greedy answers to the forget prompts; shown only on request.
    """

    metrics: dict[str, dict[str, Any]]
    answers: list[str] = field(default_factory=list)


def audit_model(
    model: nn.Module,
    tokenizer: Any,
    sets: AuditSets,
    *,
    n: int = 10,
    further_n: Sequence[int] = (),
    confidence: float = 0.95,
    max_new_tokens: int = 32,
    batch_size: int = 16,
    seed: int = 0,
) -> Audit:
    """Measure a model on every set.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        sets: The records.
        n: Of the extraction likelihood. Records with fewer than n tokens behind their prompt are left out of it.
        further_n: Further n, told as ``extraction_likelihood_<n>``.
        confidence: Level of the intervals, which resample subjects.
        max_new_tokens: Of the answers that ROUGE looks at.
        batch_size: Records per forward pass.
        seed: Of the bootstrap.

    Returns:
        Per set: the metrics of :func:`~myosotis.unlearning.language.answer_metrics`, ``rouge_l_recall``,
        ``memorization_accuracy`` and ``extraction_likelihood``, both from the end of the prompt on.
    """
    metrics: dict[str, dict[str, Any]] = {}
    answers: list[str] = []
    for split in SPLITS:
        examples: Sequence[Example] = getattr(sets, split)
        if not examples:
            continue
        values = answer_metrics(model, examples, batch_size=batch_size)
        said = greedy_answers(model, tokenizer, examples, max_new_tokens=max_new_tokens, batch_size=batch_size)
        values["rouge_l_recall"] = rouge_l_recall(tokenizer, examples, said)
        values.update(_memorization(model, examples, n, further_n, batch_size))
        answers = said if split == "forget" else answers
        groups = subjects_of(examples)
        metrics[split] = {
            name: asdict(bootstrap_mean(row, groups, level=confidence, seed=seed))
            for name, row in values.items()
            if not row.isnan().all()
        }
    if sets.general:
        metrics["general"] = {"perplexity": perplexity(model, sets.general)}
    return Audit(metrics, answers)


def subjects_of(examples: Sequence[Example]) -> list[str | int]:
    """Return the subject of each example, or its place where it has none: what intervals resample as a whole."""
    return [place if example.subject is None else example.subject for place, example in enumerate(examples)]


@dataclass(frozen=True)
class Measurable:
    """Those of some examples whose labelled part is long enough for an extraction likelihood, and where it begins."""

    places: list[int]
    sequences: list[Tensor]
    starts: list[int]


def measurable(examples: Sequence[Example], n: int) -> Measurable:
    """Return the examples with at least n tokens behind their prompt."""
    starts = [max(example.response_start, 1) for example in examples]
    places = [place for place, example in enumerate(examples) if len(example.input_ids) - starts[place] >= n]
    return Measurable(
        places, [torch.tensor(examples[place].input_ids) for place in places], [starts[place] for place in places]
    )


def _memorization(
    model: nn.Module, examples: Sequence[Example], n: int, further_n: Sequence[int], batch_size: int
) -> Mapping[str, Tensor]:
    names = {
        n: "extraction_likelihood",
        **{other: f"extraction_likelihood_{other}" for other in further_n if other != n},
    }
    kept = measurable(examples, n)
    values = {name: torch.full((len(examples),), float("nan")) for name in ("memorization_accuracy", *names.values())}
    # Records too short for the main n are left out of every other, so that all speak of the same ones.
    if kept.places:
        accuracy, likelihoods = memorization_by_n(
            model, kept.sequences, list(names), starts=kept.starts, batch_size=batch_size
        )
        values["memorization_accuracy"][kept.places] = accuracy
        for other, name in names.items():
            values[name][kept.places] = likelihoods[other]
    return values


@dataclass(frozen=True)
class Criterion:
    """One comparison that a verdict rests on.

    Attributes:
        name: What is compared.
        value: What the model after unlearning shows.
        low: Lower end of its interval, where there is one.
        high: Upper end.
        threshold: What it is compared with.
        threshold_of: Where the threshold comes from.
        sign: ``"<"``, ``"<="`` or ``">="``.
        threshold_low: Lower end of the threshold's own interval, where it was measured.
        threshold_high: Upper end.
    """

    name: str
    value: float
    threshold: float
    threshold_of: str
    sign: str
    low: float | None = None
    high: float | None = None
    threshold_low: float | None = None
    threshold_high: float | None = None

    @property
    def holds(self) -> bool:
        """Whether value and threshold stand as they should."""
        if self.sign == "<":
            return self.value < self.threshold
        return self.value <= self.threshold if self.sign == "<=" else self.value >= self.threshold

    @property
    def decided(self) -> bool:
        """Whether the interval of the value lies clear of the threshold, or of the threshold's own interval."""
        if self.low is None or self.high is None:
            return self.name == "perplexity_ratio"
        low = self.threshold if self.threshold_low is None else self.threshold_low
        high = self.threshold if self.threshold_high is None else self.threshold_high
        return self.high < low or self.low > high


def forgetting_criteria(before: Audit, after: Audit) -> list[Criterion]:
    """Return the comparisons that say whether the forget set is forgotten; none without unseen records."""
    unseen, now = before.metrics.get("unseen"), after.metrics["forget"]
    if unseen is None:
        return []
    rows = (("fact_accuracy", "<="), ("memorization_accuracy", "<"), ("extraction_likelihood", "<"))
    return [
        Criterion(
            name,
            now[name]["mean"],
            unseen[name]["mean"],
            "unseen records, before",
            sign,
            now[name]["low"],
            now[name]["high"],
            unseen[name]["low"],
            unseen[name]["high"],
        )
        for name, sign in rows
        if name in now and name in unseen
    ]


def keeping_criteria(before: Audit, after: Audit, fact_floor: float, ratio_ceiling: float) -> list[Criterion]:
    """Return the comparisons that say whether the rest is kept; none without retain records and general text."""
    criteria = []
    retain = after.metrics.get("retain", {}).get("fact_accuracy")
    if retain is not None:
        criteria.append(
            Criterion(
                "retain_fact_accuracy",
                retain["mean"],
                fact_floor,
                "the configuration",
                ">=",
                retain["low"],
                retain["high"],
            )
        )
    if "general" in after.metrics:
        ratio = after.metrics["general"]["perplexity"] / before.metrics["general"]["perplexity"]
        criteria.append(Criterion("perplexity_ratio", ratio, ratio_ceiling, "the configuration", "<="))
    return criteria
