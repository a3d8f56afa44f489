"""The audit: what a model knows of the forget, retain, held-out and unseen records, and of general text."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED, Example
from myosotis.engine.processes import gather_by_index, process_indices
from myosotis.engine.progress import progress
from myosotis.evaluation.intervals import Interval, mean_interval, student_interval
from myosotis.unlearning.language.audit.answers import (
    answer_metrics,
    answers_of,
    bounded_exp,
    decoded,
    end_tokens,
    recall,
    rouge_l_recall,
    token_nll,
    uniform_draws,
)
from myosotis.unlearning.language.audit.greedy import GreedyPass, greedy_passes, max_positions
from myosotis.unlearning.language.audit.memorization import accuracies, likelihoods_of
from myosotis.unlearning.language.audit.own_answers import expected_by, form_of
from myosotis.unlearning.language.audit.sets import (
    GENERATED,
    SPLITS,
    AuditSets,
    measurable,
    sample_length,
    sampled_records,
    subjects_of,
)
from myosotis.unlearning.language.methods.forward import evaluation_mode

_UNBOUNDED = frozenset({"nll", "entropy", "answer_length", "answer_nll"})

_SHARES = frozenset({"token_accuracy", "fact_accuracy", "answer_recall", "greedy_recall", "rouge_l_recall"})
"""Measures that are nearly all or nothing: their intervals are score intervals, those of the others Student's."""


@dataclass(frozen=True)
class Audit:
    """Measures of one model.

    Attributes:
        metrics: By split and metric: mean, low, high, count, units; ``general`` holds ``perplexity`` only.
        values: By split and metric, the value of every record, NaN where it has none; of ``general`` the summed
            negative log-likelihood (``nll_sum``) and the number of labelled tokens (``tokens``) of every text.
        answers: By split, the tokens of the greedy answer to every prompt, with the token that ends it; not stored.
    """

    metrics: dict[str, dict[str, Any]]
    values: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    answers: dict[str, list[list[int]]] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return figures and values for a JSON file, without the answers."""
        return {
            "metrics": self.metrics,
            "values": {
                split: {name: listed_values(row) for name, row in rows.items()} for split, rows in self.values.items()
            },
        }

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> "Audit":
        """Return the audit that :meth:`as_json` gave."""
        values = {
            split: {name: read_values(row) for name, row in rows.items()} for split, rows in stored["values"].items()
        }
        return cls(dict(stored["metrics"]), values)


def listed_values(values: Tensor) -> list[float | None]:
    """Return values for a JSON file: None for NaN."""
    return [None if math.isnan(value) else value for value in values.tolist()]


def read_values(stored: Sequence[float | None]) -> Tensor:
    """Return the values that :func:`listed_values` gave, in float64."""
    return torch.tensor([math.nan if value is None else value for value in stored], dtype=torch.float64)


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
    samples: int = 8,
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
        samples: Answers at temperature 1 to each record of the forget and the unseen set; of as many records as
            10,000 tokens allow for, the same for every model.
        batch_size: Records per forward pass.

    Returns:
        Per set: the metrics of :func:`~myosotis.unlearning.language.answer_metrics`, ``rouge_l_recall``,
        ``memorization_accuracy`` and ``extraction_likelihood``, both from the end of the prompt on,
        ``answer_recall``, what the greedy answer gives away (:func:`~.answers.recall`), and its form
        (:func:`~.own_answers.form_of`). Of the forget and the unseen
        set also ``greedy_recall``, the highest over the greedy answers to the question and to its rewordings,
        ``top5_recall``, the share of the fact tokens, or of all where records mark none, that are among the five
        likeliest, as a mean over the question and its rewordings, and ``sampled_recall``, the mean over the samples.
    """
    metrics: dict[str, dict[str, Any]] = {}
    values_by_split: dict[str, dict[str, Tensor]] = {}
    answers: dict[str, list[list[int]]] = {}
    for split in SPLITS:
        examples: Sequence[Example] = getattr(sets, split)
        if not examples:
            continue
        own = process_indices(len(examples))
        rows = [examples[index] for index in own]
        values = answer_metrics(model, rows, batch_size=batch_size)
        ns = list(dict.fromkeys([n, *further_n]))
        sampled = set(sampled_records(examples, samples)) if split in GENERATED and samples else set()
        generated, measured = _generated(
            model,
            tokenizer,
            rows,
            ns,
            (prefixes or {}).get(split),
            max_new_tokens,
            batch_size,
            {position: samples for position, index in enumerate(own) if index in sampled},
            facts=sets.marked,
        )
        texts = [decoded(tokenizer, answer) for answer in generated]
        values["rouge_l_recall"] = rouge_l_recall(tokenizer, rows, texts)
        values["answer_recall"] = torch.tensor(
            [recall(tokenizer, example, answer, facts=sets.marked) for example, answer in zip(rows, texts, strict=True)]
        )
        values.update(measured, **form_of(generated, end_tokens(tokenizer)))
        if split in GENERATED:
            wordings = sets.rewordings.get(split, [()] * len(examples))
            values["greedy_recall"], values["top5_recall"] = _in_all_wordings(
                model,
                tokenizer,
                rows,
                (values["answer_recall"], values.get("fact_top5" if sets.marked else "token_top5", torch.zeros(0))),
                [wordings[index] for index in own],
                max_new_tokens,
                batch_size,
                facts=sets.marked,
            )
        values = gather_values(values, own)
        answers[split] = list(gather_by_index(dict(zip(own, generated, strict=True))).values())
        values_by_split[split], metrics[split] = _summary(values, examples, confidence)
    if sets.general:
        own = process_indices(len(sets.general))
        nll = token_nll(model, [sets.general[index] for index in own])
        found = gather_by_index({index: pair for index, *pair in zip(own, *(row.tolist() for row in nll), strict=True)})
        sums, tokens = torch.tensor(list(found.values()), dtype=torch.float64).T
        values_by_split["general"] = {"nll_sum": sums, "tokens": tokens}
        metrics["general"] = {"perplexity": bounded_exp((sums.sum() / tokens.sum()).item())}
    return Audit(metrics, values_by_split, answers)


def judged_by(
    original: nn.Module, audit: Audit, sets: AuditSets, *, confidence: float = 0.95, batch_size: int = 16
) -> Audit:
    """Return an audit with what the model before unlearning makes of its answers (:func:`~.own_answers.expected_by`).

    Several processes share the answers, so all of them must call it.

    Args:
        original: The model before unlearning; for its own audit that model itself.
        audit: An audit that has its answers still.
        sets: Its records.
        confidence: Level of the intervals over subjects.
        batch_size: Answers per forward pass.
    """
    metrics, values = dict(audit.metrics), dict(audit.values)
    for split, answers in audit.answers.items():
        examples: Sequence[Example] = getattr(sets, split)
        own = process_indices(len(examples))
        rows, said = [examples[index] for index in own], [answers[index] for index in own]
        judged = gather_values(expected_by(original, rows, said, batch_size=batch_size), own)
        found, intervals = _summary(judged, examples, confidence)
        values[split], metrics[split] = {**values[split], **found}, {**metrics[split], **intervals}
    return replace(audit, metrics=metrics, values=values)


def averaged(audit: Audit, split: str, copies: int, examples: Sequence[Example], confidence: float) -> Audit:
    """Return the audit of records from that of copies of them: the figures of each are means over its copies.

    Args:
        audit: Audit of the copies, those of a record one after another.
        split: Their set.
        copies: Copies of a record.
        examples: The records.
        confidence: Level of the intervals over subjects.
    """
    means = {name: rows.reshape(-1, copies).nanmean(dim=1) for name, rows in audit.values[split].items()}
    values, intervals = _summary(means, examples, confidence)
    return Audit({split: intervals}, {split: values})


def _summary(
    values: Mapping[str, Tensor], examples: Sequence[Example], confidence: float
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The figures of a set that it has, and their intervals over subjects."""
    groups = subjects_of(examples)
    found = {name: row.double() for name, row in values.items() if not row.isnan().all()}
    return found, {name: asdict(_interval(name, row, groups, confidence)) for name, row in found.items()}


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


def _interval(measure: str, values: Tensor, groups: Sequence[str | int], level: float) -> Interval:
    if measure in _SHARES:
        return mean_interval(values, groups, level=level)
    interval = student_interval(values, groups, level=level)
    return interval if measure in _UNBOUNDED else interval.transformed(lambda end: min(max(end, 0.0), 1.0))


def _generated(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    ns: Sequence[int],
    prefixes: int | None,
    max_new_tokens: int,
    batch_size: int,
    samples: Mapping[int, int],
    *,
    facts: bool,
) -> tuple[list[list[int]], dict[str, Tensor]]:
    """The tokens of the greedy answer to each record, memorisation and recall of samples, from the same pass.

    NaN for memorisation of records shorter than the first n, and for records that are not sampled.

    Records too short for the main n are left out of every other, so that all are over the same records.
    """
    names = {n: "extraction_likelihood" if n == ns[0] else f"extraction_likelihood_{n}" for n in ns}
    measures = ("memorization_accuracy", *names.values(), "sampled_recall")
    values = {name: torch.full((len(examples),), math.nan) for name in measures}
    answers: list[list[int]] = [[] for _ in examples]
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
            asked_for = [(row, *begin) for row, begin in enumerate(zip(starts, lengths, strict=True))]
            generated = greedy.continuations(asked_for, end_tokens(tokenizer))
            asked = {row: samples[index] for row, index in enumerate(indices) if index in samples}
            own = [examples[index] for index in indices]
            for row, value in _sampled_recall(greedy, tokenizer, own, starts, asked, facts=facts).items():
                values["sampled_recall"][indices[row]] = value
            likelihoods = likelihoods_of(greedy, starts, ns, prefixes)
            accuracy = accuracies(greedy, starts)
            for row, index in enumerate(indices):
                answers[index] = generated[row]
                if index in long:
                    values["memorization_accuracy"][index] = accuracy[row]
                    for n, name in names.items():
                        values[name][index] = likelihoods[n][row]
    return answers, values


def _sampled_recall(
    greedy: GreedyPass,
    tokenizer: Any,
    examples: Sequence[Example],
    starts: Sequence[int],
    samples: Mapping[int, int],
    *,
    facts: bool,
) -> dict[int, float]:
    """The mean recall of samples, by the row of those records of a pass that are sampled."""
    if not samples:
        return {}
    lengths = {row: sample_length(examples[row]) for row in samples}
    longest = max(lengths.values())
    draws = torch.cat(
        [
            nn.functional.pad(uniform_draws(examples[row], count, lengths[row]), (0, longest - lengths[row]))
            for row, count in samples.items()
        ]
    )
    asked = [(row, starts[row]) for row, count in samples.items() for _ in range(count)]
    sums = dict.fromkeys(samples, 0.0)
    for (row, _), tokens in zip(asked, greedy.sampled(asked, draws, end_tokens(tokenizer)), strict=True):
        sums[row] += recall(tokenizer, examples[row], decoded(tokenizer, tokens[: lengths[row]]), facts=facts)
    return {row: total / samples[row] for row, total in sums.items()}


def _in_all_wordings(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    own: tuple[Tensor, Tensor],
    wordings: Sequence[Sequence[Example]],
    max_new_tokens: int,
    batch_size: int,
    *,
    facts: bool,
) -> tuple[Tensor, Tensor]:
    """Recall and top-five share of each record over its own wording, which are given, and others.

    The highest recall of the greedy answers, and the mean of the shares.
    """
    positions = max_positions(model)
    asked = [
        (index, other)
        for index, others in enumerate(wordings)
        for other in others
        if positions is None or len(other.input_ids) <= positions
    ]
    recalls, shares = own[0].tolist(), [[value] for value in own[1].tolist()]
    sequences = [torch.tensor(other.input_ids) for _, other in asked]
    starts = [max(other.response_start, 1) for _, other in asked]
    with evaluation_mode(model), progress("asking in other words", len(asked)) as ticker:
        for chosen, greedy in greedy_passes(model, sequences, starts, batch_size, ticker):
            begins = [
                (starts[place], max(max_new_tokens, len(sequences[place]) - asked[place][1].response_start))
                for place in chosen
            ]
            answers = answers_of(greedy, tokenizer, begins)
            for place, answer, ranks in zip(chosen, answers, greedy.ranks, strict=True):
                index, other = asked[place]
                recalls[index] = max(recalls[index], recall(tokenizer, examples[index], answer, facts=facts))
                counted = other.facts if facts else [label != IGNORED for label in other.labels]
                likely = [rank < 5 for rank, counts in zip(ranks, counted[1:], strict=True) if counts]
                if likely:
                    shares[index].append(sum(likely) / len(likely))
    return torch.tensor(recalls), torch.tensor([sum(row) / len(row) for row in shares])
