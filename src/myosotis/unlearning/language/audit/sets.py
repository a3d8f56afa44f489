"""The records of an audit: its sets, their subjects, and which of them are sampled and measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.unlearning.language.audit.answers import uniform_draws

SPLITS = ("forget", "retain", "held_retain", "unseen")
"""The sets of records that an audit measures, where they are given."""

GENERATED = ("forget", "unseen")
"""The sets whose records are also asked for in other words, and sampled."""

_SAMPLED_TOKENS = 10_000
"""Tokens that the samples of a set may cost; where all records would cost more, some of them are sampled."""

_PREAMBLE = 16
"""Tokens that a sampled answer may be longer than the record's own."""


@dataclass(frozen=True)
class AuditSets:
    """The records of an audit.

    Attributes:
        forget: Records to forget.
        retain: Records to retain, which training may read.
        held_retain: Records to retain that were held out of the training: their measures are not in sample.
        unseen: Records that the model was never trained on.
        general: Other text, for perplexity.
        rewordings: By set, the same questions in other words: for each record some examples, or none.
        facts: Whether answers are judged by facts; by what the sets mark unless given.
    """

    forget: Sequence[Example]
    retain: Sequence[Example] = ()
    held_retain: Sequence[Example] = ()
    unseen: Sequence[Example] = ()
    general: Sequence[Example] = ()
    rewordings: Mapping[str, Sequence[Sequence[Example]]] = field(default_factory=dict)
    facts: bool | None = None

    @property
    def examples(self) -> list[Example]:
        """All examples of all sets, without the rewordings."""
        return [*self.forget, *self.retain, *self.held_retain, *self.unseen, *self.general]

    @property
    def marked(self) -> bool:
        """Whether most records of each set that is compared mark their facts."""
        if self.facts is not None:
            return self.facts
        compared = [rows for rows in (self.forget, self.held_retain, self.unseen) if rows]
        return all(2 * sum(bool(example.marked) for example in rows) >= len(rows) for rows in compared)


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


def sampled_records(examples: Sequence[Example], samples: int) -> list[int]:
    """Return the indices of the records whose answers are sampled: all, or as many as the budget allows for."""
    chosen: list[int] = []
    cost = 0
    for index in drawn_order(examples):
        cost += samples * sample_length(examples[index])
        if cost > _SAMPLED_TOKENS and chosen:
            break
        chosen.append(index)
    return sorted(chosen)


def drawn_order(examples: Sequence[Example]) -> list[int]:
    """Return the indices of records, one of each subject first, then another of each, and so on.

    Which, is drawn by the records themselves, so it is the same for every model.
    """
    order = sorted(range(len(examples)), key=lambda index: uniform_draws(examples[index], 1, 1).item())
    rank: dict[str | int, int] = {}
    turns, subjects = {}, subjects_of(examples)
    for index in order:
        turns[index] = rank.get(subjects[index], 0)
        rank[subjects[index]] = turns[index] + 1
    return sorted(order, key=lambda index: turns[index])


def sample_length(example: Example) -> int:
    """Return how many tokens a sampled answer to a record may have: its own, and some for a preamble."""
    return len(example.input_ids) - example.response_start + _PREAMBLE
