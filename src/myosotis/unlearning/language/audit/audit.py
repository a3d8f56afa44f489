"""The audit: what a model knows of the forget, retain, held-out and unseen records, and of general text."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.encoding import Example
from myosotis.engine.processes import gather_by_index, process_indices
from myosotis.engine.progress import progress
from myosotis.evaluation.intervals import Interval, mean_interval, student_interval
from myosotis.unlearning.language.audit.answers import (
    answer_metrics,
    answers_of,
    bounded_exp,
    rouge_l_recall,
    token_nll,
)
from myosotis.unlearning.language.audit.greedy import greedy_passes
from myosotis.unlearning.language.audit.memorization import accuracies, likelihoods_of
from myosotis.unlearning.language.methods.forward import evaluation_mode

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
    """Measure a model on every set. Several processes share the records, so all of them must call it.

    Args:
        model: A causal language model; whole in every process.
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
        own = process_indices(len(examples))
        rows = [examples[index] for index in own]
        values = answer_metrics(model, rows, batch_size=batch_size)
        ns = list(dict.fromkeys([n, *further_n]))
        generated, measured = _generated(
            model, tokenizer, rows, ns, (prefixes or {}).get(split), max_new_tokens, batch_size
        )
        values["rouge_l_recall"] = rouge_l_recall(tokenizer, rows, generated)
        values.update(measured)
        values = gather_values(values, own)
        generated = list(gather_by_index(dict(zip(own, generated, strict=True))).values())
        answers = generated if split == "forget" else answers
        groups = subjects_of(examples)
        values_by_split[split] = {name: row.double() for name, row in values.items() if not row.isnan().all()}
        metrics[split] = {
            name: asdict(_interval_of(name)(row, groups, level=confidence))
            for name, row in values_by_split[split].items()
        }
    if sets.general:
        own = process_indices(len(sets.general))
        nll = token_nll(model, [sets.general[index] for index in own])
        found = gather_by_index({index: pair for index, *pair in zip(own, *(row.tolist() for row in nll), strict=True)})
        sums, tokens = torch.tensor(list(found.values()), dtype=torch.float64).T
        values_by_split["general"] = {"nll_sum": sums, "tokens": tokens}
        metrics["general"] = {"perplexity": bounded_exp((sums.sum() / tokens.sum()).item())}
    return Audit(metrics, values_by_split, answers)


def shared_values(count: int, measure: Callable[[Sequence[int]], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the values of ``count`` records, which several processes share; all of them must call it.

    Args:
        count: Number of records.
        measure: Returns one value per record of those with the given indices, by measure.
    """
    own = process_indices(count)
    return gather_values(measure(own), own)


def gather_values(values: Mapping[str, Tensor], own: Sequence[int]) -> dict[str, Tensor]:
    """Return the values of all records, where each process has those of its share.

    Args:
        values: One value per record of the share, by measure.
        own: The records of the share, see :func:`~myosotis.engine.processes.process_indices`.
    """
    rows = {index: {name: float(row[position]) for name, row in values.items()} for position, index in enumerate(own)}
    found = gather_by_index(rows)
    names = next(iter(found.values()))
    return {name: torch.tensor([row[name] for row in found.values()]) for name in names}


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


def _generated(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    ns: Sequence[int],
    prefixes: int | None,
    max_new_tokens: int,
    batch_size: int,
) -> tuple[list[str], dict[str, Tensor]]:
    """The greedy answer to each record, and memorisation, from the same pass; NaN for records shorter than the first n.

    Records too short for the main n are left out of every other, so that all are over the same records.
    """
    names = {n: "extraction_likelihood" if n == ns[0] else f"extraction_likelihood_{n}" for n in ns}
    values = {name: torch.full((len(examples),), math.nan) for name in ("memorization_accuracy", *names.values())}
    answers = [""] * len(examples)
    long = set(measurable(examples, ns[0]).indices)
    sequences = [torch.tensor(example.input_ids) for example in examples]
    with evaluation_mode(model), progress("answering and measuring memorisation", len(examples)) as ticker:
        begins = [max(example.response_start, 1) for example in examples]
        for indices, greedy in greedy_passes(model, sequences, begins, batch_size, ticker):
            starts = [begins[index] for index in indices]
            # Cut shorter than the record's own answer, one that is known by heart could not be recalled whole.
            lengths = [
                max(max_new_tokens, len(examples[index].input_ids) - examples[index].response_start)
                for index in indices
            ]
            said = answers_of(greedy, tokenizer, list(zip(starts, lengths, strict=True)))
            likelihoods = likelihoods_of(greedy, starts, ns, prefixes)
            accuracy = accuracies(greedy, starts)
            for row, index in enumerate(indices):
                answers[index] = said[row]
                if index in long:
                    values["memorization_accuracy"][index] = accuracy[row]
                    for n, name in names.items():
                        values[name][index] = likelihoods[n][row]
    return answers, values
