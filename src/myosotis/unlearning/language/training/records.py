"""The records of a training: rows of several kinds, each encoded once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from myosotis.data.encoding import Encoder, Example, only_facts, pad_examples
from myosotis.data.records import Record, parse_record
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.term import SideName


@dataclass(frozen=True)
class EncodedRecord:
    """A tokenised record with its text, which methods that write other answers need.

    Attributes:
        example: The tokens.
        record: The text; None where only tokens were given.
    """

    example: Example
    record: Record | None = None


def encode_rows(rows: Sequence[Any], encoder: Encoder) -> list[EncodedRecord]:
    """Return rows with their tokens; those that are encoded already stay as they are.

    Args:
        rows: Records, mappings with the keys of one (e.g. a ``datasets.Dataset``), examples, or encoded records.
        encoder: Encoder of the rows that are not encoded.

    Raises:
        InputError: A row is not a record, or leaves nothing to learn or forget.
    """
    return [_encode(row, index, encoder) for index, row in enumerate(rows)]


def _encode(row: Any, index: int, encoder: Encoder) -> EncodedRecord:
    if isinstance(row, EncodedRecord):
        return row
    if isinstance(row, Example):
        return EncodedRecord(row)
    record = row if isinstance(row, Record) else parse_record(row, f"row {index}")
    return EncodedRecord(encoder(record), record)


def texts_of(rows: Sequence[EncodedRecord]) -> list[Record]:
    """Return the records themselves.

    Raises:
        ValueError: A row was given as tokens only.
    """
    records = [row.record for row in rows if row.record is not None]
    if len(records) < len(rows):
        raise ValueError("the text of the records is needed: pass records or rows instead of tokenised examples")
    return records


def tokens_to_forget(method: Method, chosen: str) -> str:
    """Return which tokens of the forget set carry the loss: of a counterfactual teacher, always the facts.

    Args:
        method: The method.
        chosen: What the settings say.
    """
    return chosen if method.strangers is None else "facts"


def forget_examples(examples: Sequence[Example], forget_tokens: str) -> list[Example]:
    """Return examples with the labels of the tokens to forget: ``"facts"`` for the fact tokens alone."""
    return [only_facts(example) for example in examples] if forget_tokens == "facts" else list(examples)


@dataclass(frozen=True)
class TrainingRecords:
    """The examples of a training, by side.

    Attributes:
        forget: Examples to forget.
        alternate: What may be said instead, one for each forget example; empty where no term reads it.
        retain: Examples to retain.
        pad_id: Token id of padding.
    """

    forget: Sequence[Example]
    alternate: Sequence[Example]
    retain: Sequence[Example]
    pad_id: int

    @property
    def by_side(self) -> Mapping[SideName, Sequence[Example]]:
        """The examples of each side."""
        return {"forget": self.forget, "alternate": self.alternate, "retain": self.retain}

    def batches(self, examples: Sequence[Example], size: int) -> list[dict[str, Tensor]]:
        """Return examples as padded batches, in order."""
        return [pad_examples(examples[begin : begin + size], self.pad_id) for begin in range(0, len(examples), size)]
