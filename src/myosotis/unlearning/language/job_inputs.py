"""What a job is given: reading it, tokenising it, and refusing what is wrong before anything is written."""

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import Encoder, Example
from myosotis.data.people import fictitious_people
from myosotis.data.records import (
    Record,
    count_overlap,
    read_dataset,
    read_dataset_rows,
    read_jsonl,
    read_jsonl_rows,
    renamed,
)
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed, generator
from myosotis.unlearning.language.config import (
    DatasetConfig,
    FileConfig,
    LanguageUnlearningConfig,
    LoraSettings,
    Source,
)


@dataclass(frozen=True)
class Records:
    """What was read, before tokenisation."""

    forget: list[Record]
    retain: list[Record]
    unseen: list[Record]
    general: list[Record]
    selection: list[Record]


def read_records(config: LanguageUnlearningConfig) -> Records:
    """Read every set of records, or draw the fictitious people.

    Raises:
        InputError: A source is missing, empty or faulty, or a record is in both the forget and the retain set.
    """
    data = config.data
    general = _read(data.general)
    if data.people is not None:
        sizes = (data.people.forget, data.people.retain, data.people.unseen)
        people = fictitious_people(sum(sizes), derive_seed(config.seed, "people"))
        parts = (people[: sizes[0]], people[sizes[0] : sizes[0] + sizes[1]], people[sizes[0] + sizes[1] :])
        forget, retain, unseen = ([record for person in part for record in person.records()] for part in parts)
    else:
        forget, retain, unseen = _read(data.forget), _read(data.retain), _read(data.unseen)
    if not data.allow_overlap:
        _refuse_overlap("the forget and the retain set", count_overlap(forget, retain))
    # Unseen records set the level of forgetting; one that was seen would raise it.
    for name, others in (("the forget and the unseen set", forget), ("the retain and the unseen set", retain)):
        _refuse_overlap(name, count_overlap(others, unseen), "")
    selection: list[Record] = []
    if config.selection is not None:
        retain, selection = _set_apart(retain, config.selection.retain_share, config.seed)
    return Records(forget, retain, unseen, general, selection)


def _set_apart(records: list[Record], share: float, seed: int) -> tuple[list[Record], list[Record]]:
    """What the audit will look at, and a share of the subjects, or single records without one, held for selection."""
    subjects = list(dict.fromkeys(_subject(record) for record in records))
    order = torch.randperm(len(subjects), generator=generator(seed, "selection")).tolist()
    chosen = {subjects[place] for place in order[: max(1, round(share * len(subjects)))]}
    audited = [record for record in records if _subject(record) not in chosen]
    if not audited:
        raise InputError("selection: too few retain records to hold some for selection and audit the others")
    return audited, [record for record in records if _subject(record) in chosen]


def _subject(record: Record) -> str:
    return record.content if record.subject is None else record.subject


def split_requests(records: Sequence[Record], requests: str | int) -> list[list[int]]:
    """Return the places of the forget records, request by request.

    Args:
        records: The forget records.
        requests: ``"subject"``: one per subject; a number: so many chunks of like size.

    Raises:
        InputError: There are fewer records than requests, or a record without a subject.
    """
    if requests == "subject":
        if any(record.subject is None for record in records):
            raise InputError("data.requests: subject needs every forget record to have a 'subject'")
        by_subject: dict[str, list[int]] = {}
        for place, record in enumerate(records):
            by_subject.setdefault(str(record.subject), []).append(place)
        return list(by_subject.values())
    count = int(requests)
    if count > len(records):
        raise InputError(f"data.requests: {len(records)} forget records cannot make {count} requests")
    bounds = [round(place * len(records) / count) for place in range(count + 1)]
    return [list(range(begin, end)) for begin, end in pairwise(bounds)]


def _refuse_overlap(where: str, count: int, remedy: str = "; data.allow_overlap=true permits it") -> None:
    if count:
        noun = "record is" if count == 1 else "records are"
        raise InputError(f"{count} {noun} in both {where}{remedy}")


def _read(source: Source | None) -> list[Record]:
    if source is None:
        return []
    if isinstance(source, DatasetConfig):
        return read_dataset(source.dataset, source.split, source.subset, source.fields)
    if isinstance(source, FileConfig):
        return read_jsonl(Path(source.file), source.fields)
    return read_jsonl(Path(source))


def read_rows(source: Source) -> list[tuple[str, dict[str, Any]]]:
    """Return the rows of a source as they are, with other names for fields applied, each with what to call it.

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


def check_target_modules(model: Any, lora: LoraSettings) -> None:
    """Raise ``InputError`` if a pattern matches no linear module, or a module is narrower than the adapter's rank."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    targets = lora.target_modules
    if targets == "all-linear":
        head = model.get_output_embeddings()
        matched = [name for name, layer in layers.items() if layer is not head]
    elif isinstance(targets, str):
        try:
            matched = [name for name in layers if re.fullmatch(targets, name)]
        except re.error as error:
            raise InputError(f"lora.target_modules: {targets!r} is not a regular expression: {error}") from None
        _refuse_unmatched([] if matched else [targets], layers)
    else:
        by_pattern = {
            pattern: [name for name in layers if name == pattern or name.endswith(f".{pattern}")] for pattern in targets
        }
        _refuse_unmatched([pattern for pattern, names in by_pattern.items() if not names], layers)
        matched = [name for names in by_pattern.values() for name in names]
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    for name in matched:
        if layers[name].weight is embedding:
            raise InputError(f"lora.target_modules: the weight of {name} is tied to the embeddings; leave it out")
        side = min(layers[name].weight.shape)
        if lora.rank > side:
            raise InputError(f"lora.rank: {lora.rank} is more than module {name} can hold; at most {side}")


def _refuse_unmatched(patterns: Sequence[str], layers: Iterable[str]) -> None:
    if patterns:
        last = sorted({name.rpartition(".")[2] for name in layers})
        close = difflib.get_close_matches(patterns[0], last, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the model has {', '.join(last)}"
        raise InputError(f"lora.target_modules: no module matches {patterns[0]!r}; {hint}")


def encode_records(records: Sequence[Record], encoder: Encoder, name: str) -> list[Example]:
    """Tokenise one set of records.

    Args:
        records: The set.
        encoder: Of the job.
        name: What the set is called; of the forget set no record may be cut.

    Raises:
        InputError: A record leaves nothing to learn or forget, cannot be tokenised, or would lose its end.
    """
    examples = []
    for place, record in enumerate(records, 1):
        try:
            examples.append(encoder(record))
        except InputError as error:
            raise InputError(f"the {name} set, record {place}: {error}") from None
        except (ValueError, TypeError):
            # Its message might quote the record.
            raise InputError(f"the {name} set, record {place}: the tokenizer cannot read it") from None
    cut = sum(example.cut for example in examples)
    if cut and name == "forget":
        raise InputError(
            f"the forget set: {cut} of {len(examples)} records are longer than data.max_length={encoder.max_length} "
            "tokens, so that their ends would stay; raise it, or set data.split_texts for texts"
        )
    return examples
