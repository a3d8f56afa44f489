"""Records and rows of the sources that a configuration names."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from myosotis.data.records import Record, Row, parse_record, read_dataset_rows, read_jsonl_rows, renamed
from myosotis.engine.errors import InputError
from myosotis.unlearning.language.job.config import DatasetConfig, FileConfig, Source, TableConfig

PACKAGED_TEXT = Path(str(files("myosotis"))) / "examples" / "data" / "general.jsonl"
"""General text of the package."""


def read_source(source: Source | Literal["packaged"] | None) -> list[Record]:
    """Return the records of a source; none without a source.

    Raises:
        InputError: The source is missing, empty or faulty.
    """
    if source is None:
        return []
    rows = read_rows(str(PACKAGED_TEXT) if source == "packaged" else source)
    return [parse_record(row, where) for where, row in rows]


def read_rows(source: Source) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a source with their fields renamed, each with its name in errors.

    Raises:
        InputError: The source is missing, or holds no row or fewer than are to be read.
    """
    if isinstance(source, DatasetConfig):
        rows = read_dataset_rows(source.dataset, source.split, source.subset)
        return _selected(rows, source, f"data set {source.dataset}, split {source.split}")
    if isinstance(source, FileConfig):
        return _selected(read_jsonl_rows(Path(source.file)), source, source.file)
    return [(where, dict(row)) for where, row in read_jsonl_rows(Path(source))]


def _selected(rows: list[tuple[str, Row]], table: TableConfig, name: str) -> list[tuple[str, dict[str, Any]]]:
    """The rows that a table reads, with its names of fields, and with subjects by number where it counts them."""
    end = len(rows) if table.take is None else table.skip + table.take
    if end > len(rows) or table.skip >= len(rows):
        missing = f"rows from {table.skip + 1}" + ("" if table.take is None else f" to {end}")
        raise InputError(f"{name}: holds {len(rows)} rows, so there are no {missing}; see 'skip' and 'take'")
    selected = []
    for number in range(table.skip, end):
        where, row = rows[number]
        fields = renamed(row, table.fields, where)
        if table.rows_per_subject is not None:
            if fields.get("subject") is not None:
                raise InputError(f"{where}: has a subject, so 'rows_per_subject' has nothing to say; leave it out")
            fields["subject"] = f"{name}, subject {number // table.rows_per_subject + 1}"
        selected.append((where, fields))
    return selected
