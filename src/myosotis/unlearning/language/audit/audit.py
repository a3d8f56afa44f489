"""The audit: what a model knows of the forget, retain, held-out and unseen records, and of general text."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.encoding import Example
from myosotis.evaluation.intervals import Interval, mean_interval, student_interval
from myosotis.unlearning.language.audit.answers import (
    answer_metrics,
    bounded_exp,
    greedy_answers,
    rouge_l_recall,
    token_nll,
)
from myosotis.unlearning.language.audit.memorization import memorization_by_n

SPLITS = ("forget", "retain", "held_retain", "unseen")
"""The sets of records that an audit measures, where they are given."""

_UNBOUNDED = frozenset({"nll", "entropy"})
"""Measures that are not shares: their intervals are Student's."""


@dataclass(frozen=True)
class AuditSets:
    """The records of an audit.

    Attributes:
        forget: Records to forget.
        retain: Records to retain, which training may read.
        held_retain: Records to retain that were held out of the training: their measures are not in sample.
        unseen: Records that the model was never trained on.
        general: Other text, for perplexity.
    """

    forget: Sequence[Example]
    retain: Sequence[Example] = ()
    held_retain: Sequence[Example] = ()
    unseen: Sequence[Example] = ()
    general: Sequence[Example] = ()


@dataclass(frozen=True)
class Audit:
    """Measures of one model.

    Attributes:
        metrics: By split and metric: mean, low, high, count, units; ``general`` holds ``perplexity`` only.
        values: By split and metric, the value of every record, NaN where it has none; of ``general`` the summed
            negative log-likelihood (``nll_sum``) and the number of labelled tokens (``tokens``) of every text.
        answers: The greedy answers to the forget prompts; shown only on request.
    """

    metrics: dict[str, dict[str, Any]]
    values: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return figures and values for a JSON file, without the answers."""
        return {
            "metrics": self.metrics,
            "values": {
                split: {
                    name: [None if math.isnan(value) else value for value in row.tolist()] for name, row in rows.items()
                }
                for split, rows in self.values.items()
            },
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Audit":
        """Return the audit that :meth:`as_json` gave, without its answers."""
        values = {
            split: {
                name: torch.tensor([math.nan if value is None else value for value in row], dtype=torch.float64)
                for name, row in rows.items()
            }
            for split, rows in stored["values"].items()
        }
        return cls(dict(stored["metrics"]), values)


def audit_model(
    model: nn.Module,
    tokenizer: Any,
    sets: AuditSets,
    *,
    n: int = 10,
    further_n: Sequence[int] = (),
    prefixes: Mapping[str, int | None] | None = None,
    confidence: float = 0.95,
    max_new_tokens: int = 32,
    batch_size: int = 16,
) -> Audit:
    """Measure a model on every set.

    Args:
        model: A causal language model.
        tokenizer: The model's tokenizer.
        sets: The records.
        n: n of the extraction likelihood. Records with fewer than n tokens after their prompt are left out of it.
        further_n: Further n, reported as ``extraction_likelihood_<n>``.
        prefixes: By set, the largest number of prefixes of each record that the extraction likelihood is measured
            from; all of them unless given.
        confidence: Level of the intervals over subjects.
        max_new_tokens: Length of the answers that ROUGE looks at; a longer record's own length where it is more.
        batch_size: Records per forward pass.

    Returns:
        Per set: the metrics of :func:`~myosotis.unlearning.language.answer_metrics`, ``rouge_l_recall``,
        ``memorization_accuracy`` and ``extraction_likelihood``, both from the end of the prompt on.
    """
    metrics: dict[str, dict[str, Any]] = {}
    values_by_split: dict[str, dict[str, Tensor]] = {}
    answers: list[str] = []
    for split in SPLITS:
        examples: Sequence[Example] = getattr(sets, split)
        if not examples:
            continue
        values = answer_metrics(model, examples, batch_size=batch_size)
        # Cut shorter than the record's own answer, one that is known by heart could not be recalled whole.
        lengths = [max(max_new_tokens, len(example.input_ids) - example.response_start) for example in examples]
        generated = greedy_answers(model, tokenizer, examples, max_new_tokens=lengths, batch_size=batch_size)
        values["rouge_l_recall"] = rouge_l_recall(tokenizer, examples, generated)
        values.update(_memorization(model, examples, n, further_n, (prefixes or {}).get(split), batch_size))
        answers = generated if split == "forget" else answers
        groups = subjects_of(examples)
        values_by_split[split] = {name: row.double() for name, row in values.items() if not row.isnan().all()}
        metrics[split] = {
            name: asdict(_interval_of(name)(row, groups, level=confidence))
            for name, row in values_by_split[split].items()
        }
    if sets.general:
        sums, tokens = token_nll(model, sets.general)
        values_by_split["general"] = {"nll_sum": sums, "tokens": tokens}
        metrics["general"] = {"perplexity": bounded_exp((sums.sum() / tokens.sum()).item())}
    return Audit(metrics, values_by_split, answers)


def _interval_of(measure: str) -> Callable[..., Interval]:
    return student_interval if measure in _UNBOUNDED else mean_interval


def subjects_of(examples: Sequence[Example]) -> list[str | int]:
    """Return the subject of each example, or its index where it has none: the unit that intervals resample."""
    return [index if example.subject is None else example.subject for index, example in enumerate(examples)]


@dataclass(frozen=True)
class Measurable:
    """The examples whose labelled part is long enough for an extraction likelihood, and where it begins."""

    indices: list[int]
    sequences: list[Tensor]
    starts: list[int]


def measurable(examples: Sequence[Example], n: int) -> Measurable:
    """Return the examples with at least n tokens behind their prompt."""
    starts = [max(example.response_start, 1) for example in examples]
    indices = [index for index, example in enumerate(examples) if len(example.input_ids) - starts[index] >= n]
    return Measurable(
        indices, [torch.tensor(examples[index].input_ids) for index in indices], [starts[index] for index in indices]
    )


def _memorization(
    model: nn.Module,
    examples: Sequence[Example],
    n: int,
    further_n: Sequence[int],
    prefixes: int | None,
    batch_size: int,
) -> Mapping[str, Tensor]:
    names = {
        n: "extraction_likelihood",
        **{other: f"extraction_likelihood_{other}" for other in further_n if other != n},
    }
    long = measurable(examples, n)
    values = {name: torch.full((len(examples),), float("nan")) for name in ("memorization_accuracy", *names.values())}
    # Records too short for the main n are left out of every other, so that all are over the same records.
    if long.indices:
        accuracy, likelihoods = memorization_by_n(
            model, long.sequences, list(names), starts=long.starts, prefixes=prefixes, batch_size=batch_size
        )
        values["memorization_accuracy"][long.indices] = accuracy
        for other, name in names.items():
            values[name][long.indices] = likelihoods[other]
    return values
