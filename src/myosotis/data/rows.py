"""Rows as users have them, as records and as examples."""

from collections.abc import Sequence
from typing import Any

from myosotis.data.encoding import Encoder, Example
from myosotis.data.records import Record, parse_record


def to_records(rows: Sequence[Any]) -> list[Record]:
    """Return rows as records.

    Args:
        rows: Records, or mappings with the keys of one; e.g. a ``datasets.Dataset``.

    Raises:
        ValueError: A row is tokenised already.
        InputError: A row is not a record.
    """
    if any(isinstance(row, Example) for row in rows):
        raise ValueError("the text of the records is needed: pass records or rows instead of tokenised examples")
    return [_to_record(row, place) for place, row in enumerate(rows)]


def to_examples(rows: Sequence[Any], encoder: Encoder) -> list[Example]:
    """Return rows as examples; those that are examples already stay as they are.

    Args:
        rows: See :func:`to_records`; examples too.
        encoder: For the others.

    Raises:
        InputError: A row is not a record, or leaves nothing to learn or forget.
    """
    return [row if isinstance(row, Example) else encoder(_to_record(row, place)) for place, row in enumerate(rows)]


def _to_record(row: Any, place: int) -> Record:
    return row if isinstance(row, Record) else parse_record(row, f"row {place}")
