"""Records and rows of the sources that a configuration names."""

from pathlib import Path
from typing import Any

from myosotis.data.records import Record, read_dataset, read_dataset_rows, read_jsonl, read_jsonl_rows, renamed
from myosotis.unlearning.language.job.config import DatasetConfig, FileConfig, Source


def read_source(source: Source | None) -> list[Record]:
    """Return the records of a source; none without a source.

    Raises:
        InputError: The source is missing, empty or faulty.
    """
    if source is None:
        return []
    if isinstance(source, DatasetConfig):
        return read_dataset(source.dataset, source.split, source.subset, source.fields)
    if isinstance(source, FileConfig):
        return read_jsonl(Path(source.file), source.fields)
    return read_jsonl(Path(source))


def read_rows(source: Source) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a source with their fields renamed, each with its name in errors.

    Raises:
        InputError: The source is missing or holds no row.
    """
    if isinstance(source, DatasetConfig):
        rows, fields = read_dataset_rows(source.dataset, source.split, source.subset), source.fields
    elif isinstance(source, FileConfig):
        rows, fields = read_jsonl_rows(Path(source.file)), source.fields
    else:
        rows, fields = read_jsonl_rows(Path(source)), {}
    return [(where, renamed(row, fields, where)) for where, row in rows]
