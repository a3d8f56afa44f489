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

from myosotis.data.copies import Shared, shared, with_copies_grouped
from myosotis.data.encoding import Encoder, Example
from myosotis.data.people import fictitious_people
from myosotis.data.records import (
    Record,
    read_dataset,
    read_dataset_rows,
    read_jsonl,
    read_jsonl_rows,
    renamed,
)
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed, generator
from myosotis.unlearning.language.job.config import (
    DatasetConfig,
    FileConfig,
    LanguageUnlearningConfig,
    LoraSettings,
    Source,
)


@dataclass(frozen=True)
class Records:
    """What was read, before tokenisation.

    Attributes:
        forget: To be forgotten.
        retain: To be kept, and trained on to that end.
        held_retain: To be kept, and held out of the training for the audit.
        unseen: Never trained on.
        general: Other text.
        selection: To be kept, and held out of training and audit for the selection of an epoch.
    """

    forget: list[Record]
    retain: list[Record]
    held_retain: list[Record]
    unseen: list[Record]
    general: list[Record]
    selection: list[Record]


FEWEST_HELD = 5
"""So many subjects are held out where there are enough: with fewer, nothing about the rest can be decided."""


def read_records(config: LanguageUnlearningConfig) -> tuple[Records, dict[str, Shared]]:
    """Read every set of records, or draw the fictitious people; hold some of those to be kept out of the training.

    Returns:
        The records, and what sets share by name of the pair, where ``data.allow_shared`` permits it.

    Raises:
        InputError: A source is missing, empty or faulty, or two sets share subjects, responses or near-copies.
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
    # What is kept must not teach what is erased, and what was seen must not set the level of what was not.
    pairs = {
        "forget and retain": (forget, retain),
        "forget and unseen": (forget, unseen),
        "retain and unseen": (retain, unseen),
    }
    found = {name: common for name, pair in pairs.items() if (common := shared(*pair))}
    if found and not data.allow_shared:
        name, common = next(iter(found.items()))
        raise InputError(
            f"the {name} sets share records ({common}): what one says of the other would be wrong; take them out, or "
            "let the report say so by data.allow_shared=true"
        )
    forget, retain, unseen, general = map(with_copies_grouped, (forget, retain, unseen, general))
    selection: list[Record] = []
    if config.selection is not None:
        retain, selection = set_apart(retain, config.selection.retain_share, config.seed, "selection", at_least=1)
        if not retain:
            raise InputError("selection: too few retain records to hold some for selection and train on the others")
    retain, held = set_apart(retain, config.audit.held_retain, config.seed, "held out", at_least=FEWEST_HELD)
    return Records(forget, retain, held, unseen, general, selection), found


def set_apart(
    records: list[Record], share: float, seed: int, purpose: str, *, at_least: int
) -> tuple[list[Record], list[Record]]:
    """Return the records less a share of their subjects, and that share; a record without a subject is its own.

    Args:
        records: All of them.
        share: Of the subjects, in [0, 1); 0 sets none apart.
        seed: Decides which.
        purpose: Two purposes draw differently.
        at_least: So many subjects are taken where that leaves as many.
    """
    subjects = list(dict.fromkeys(_subject(record) for record in records))
    count = max(round(share * len(subjects)), min(at_least, len(subjects) // 2)) if share else 0
    order = torch.randperm(len(subjects), generator=generator(seed, purpose)).tolist()
    chosen = {subjects[index] for index in order[:count]}
    return (
        [record for record in records if _subject(record) not in chosen],
        [record for record in records if _subject(record) in chosen],
    )


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


def check_token_ids(model: Any, tokenizer: Any, examples: Sequence[Example], texts: Sequence[str]) -> None:
    """Raise ``InputError`` if examples or texts have a token that the model has no embedding for."""
    ids = [token for example in examples for token in example.input_ids]
    ids += [token for text in texts for token in tokenizer(text, verbose=False)["input_ids"]]
    rows = len(model.get_input_embeddings().weight)
    if max(ids) >= rows:
        raise InputError(
            f"model: its tokenizer makes token {max(ids)} of these records, but it has embeddings for tokens 0 to "
            f"{rows - 1} only; resize them to the tokenizer"
        )


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
