"""Inputs of a job: records read, split and tokenised."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch

from myosotis.data.copies import Shared, shared, with_copies_grouped, without_copies
from myosotis.data.encoding import Encoder, Example, split_text
from myosotis.data.people import fictitious_people
from myosotis.data.records import Record
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.seeding import derive_seed, generator
from myosotis.unlearning.language.audit.memorization import affordable_prefixes
from myosotis.unlearning.language.audit.sets import GENERATED, SPLITS, AuditSets, measurable, subjects_of
from myosotis.unlearning.language.audit.stress import rewordings
from myosotis.unlearning.language.job.config import AuditConfig, LanguageUnlearningConfig
from myosotis.unlearning.language.job.sources import read_source
from myosotis.unlearning.language.job.suites import AuditSuites, read_suite_inputs
from myosotis.unlearning.language.training.records import EncodedRecord


@dataclass(frozen=True)
class Records:
    """Records by set, before tokenisation.

    Attributes:
        forget: Records to forget.
        retain: Records to retain, which training reads.
        held_retain: Records to retain, held out of the training for the audit.
        unseen: Records that the model was never trained on.
        general: Other text.
        selection: Records to retain, held out of training and audit for the selection of an epoch.
    """

    forget: list[Record]
    retain: list[Record]
    held_retain: list[Record]
    unseen: list[Record]
    general: list[Record]
    selection: list[Record]


@dataclass(frozen=True)
class JobInputs:
    """Everything that a job has read, beside its models.

    Attributes:
        records: Records by set.
        shared: Counts of what two sets share, by the names of the pair.
        sets: All examples.
        audited: The examples that the audit measures.
        selection: The examples of the selection of an epoch.
        tokenizer: The model's tokenizer.
        suites: The further suites of the audit.
        prefixes: By set of the audit, how many prefixes of a record extraction likelihood is measured from at most;
            None for all.
    """

    records: Records
    shared: Mapping[str, Shared]
    sets: AuditSets
    audited: AuditSets
    selection: list[Example]
    tokenizer: Any
    suites: AuditSuites
    prefixes: Mapping[str, int | None]

    @property
    def all_retained(self) -> list[Example]:
        """Everything that the model was taught and is to retain, trained on or held out."""
        return [*self.sets.retain, *self.sets.held_retain, *self.selection]

    @property
    def forget_rows(self) -> list[EncodedRecord]:
        """The forget records with their tokens."""
        return [EncodedRecord(*pair) for pair in zip(self.sets.forget, self.records.forget, strict=True)]


def encode_inputs(
    config: LanguageUnlearningConfig, records: Records, shared_records: Mapping[str, Shared], tokenizer: Any
) -> JobInputs:
    """Tokenise records, and read the rows of the suites.

    Args:
        config: The configuration of the job.
        records: Records by set.
        shared_records: Counts of what two sets share.
        tokenizer: The model's tokenizer.

    Raises:
        InputError: A record or a row is faulty.
    """
    data = config.data
    with settings_as_input(f"model {config.model.name}"):
        encoder = Encoder(tokenizer, data.template, data.max_length, data.append_eos)
    split = ["general"] if data.general == "packaged" else []
    for name in vars(records) if data.split_texts else split:
        pieces = [piece for record in getattr(records, name) for piece in split_text(record, encoder)]
        records = replace(records, **{name: pieces})
    examples = {name: encode_records(rows, encoder, name) for name, rows in vars(records).items()}
    selection = examples.pop("selection")
    wordings = {name: rewordings(getattr(records, name), encoder) for name in GENERATED}
    sets = AuditSets(
        examples["forget"],
        examples["retain"],
        examples["held_retain"],
        examples["unseen"],
        examples["general"],
        wordings,
    )
    audited = _audited(sets, config)
    suites = AuditSuites(
        config.audit,
        tokenizer,
        encoder,
        records.forget,
        records.unseen,
        sets.forget,
        audited.held_retain or audited.retain,
        sets.unseen,
        read_suite_inputs(config.audit),
        config.seed,
    )
    prefixes = _prefixes(audited, config.audit)
    return JobInputs(records, shared_records, sets, audited, selection, tokenizer, suites, prefixes)


def _audited(sets: AuditSets, config: LanguageUnlearningConfig) -> AuditSets:
    """The sets with no more subjects of retain records than the audit is to measure."""
    most = config.audit.retain_sample
    if most is None:
        return sets
    drawn: dict[str, Any] = {}
    for split in ("retain", "held_retain"):
        examples = getattr(sets, split)
        subjects = subjects_of(examples)
        known = list(dict.fromkeys(subjects))
        order = torch.randperm(len(known), generator=generator(config.seed, "audited", split)).tolist()
        chosen = {known[index] for index in order[:most]}
        drawn[split] = [example for example, subject in zip(examples, subjects, strict=True) if subject in chosen]
    return replace(sets, **drawn)


_BUDGET = 8_000
"""Tokens that ``audit.prefixes: auto`` allows the extraction likelihood of a set to generate."""


def _prefixes(sets: AuditSets, settings: AuditConfig) -> dict[str, int | None]:
    prefixes: dict[str, int | None] = {}
    for split in SPLITS:
        long = measurable(getattr(sets, split), settings.n)
        if settings.prefixes == "auto":
            prefixes[split] = affordable_prefixes(long.sequences, long.starts, settings.n, _BUDGET)
        else:
            prefixes[split] = None if settings.prefixes == "all" else settings.prefixes
    return prefixes


def fingerprints_of(records: Records, salt: str) -> dict[str, list[str]]:
    """Return the salted fingerprints of the contents of each set of records, in order of themselves."""
    return {
        name: sorted(salted_fingerprint(record.content, salt) for record in rows)
        for name in ("forget", "retain", "held_retain", "unseen", "selection", "general")
        if (rows := getattr(records, name)) or name in ("forget", "retain", "unseen")
    }


MIN_HELD = 5
"""Fewest subjects to hold out where there are enough: with fewer, retention cannot be decided."""


def read_given(config: LanguageUnlearningConfig) -> tuple[list[Record], list[Record], list[Record]]:
    """Return the records to forget, to retain and unseen ones as they are given, or draw the fictitious people.

    Raises:
        InputError: A source is missing, empty or faulty.
    """
    data = config.data
    if data.people is None:
        return read_source(data.forget), read_source(data.retain), read_source(data.unseen)
    sizes = (data.people.forget, data.people.retain, data.people.unseen)
    people = fictitious_people(sum(sizes), derive_seed(config.seed, "people"))
    parts = (people[: sizes[0]], people[sizes[0] : sizes[0] + sizes[1]], people[sizes[0] + sizes[1] :])
    forget, retain, unseen = ([record for person in part for record in person.records()] for part in parts)
    return forget, retain, unseen


def read_records(config: LanguageUnlearningConfig) -> tuple[Records, dict[str, Shared]]:
    """Read every set of records, or draw the fictitious people; hold some of those to retain out of the training.

    Returns:
        The records, and what sets share by name of the pair, where ``data.allow_shared`` permits it.

    Raises:
        InputError: A source is missing, empty or faulty, or two sets share subjects, responses or near-copies.
    """
    data = config.data
    general = read_source(data.general)
    forget, retain, unseen = read_given(config)
    # Retain records must not teach what is erased, and unseen records must be unseen to set the level.
    pairs = {
        "forget and retain": (forget, retain),
        "forget and unseen": (forget, unseen),
        "retain and unseen": (retain, unseen),
    }
    common_records = {name: common for name, pair in pairs.items() if (common := shared(*pair))}
    if common_records and not data.allow_shared:
        name, common = next(iter(common_records.items()))
        raise InputError(
            f"the {name} sets share records ({common}), so comparing them would mislead; remove them, or permit and "
            "report them with data.allow_shared=true"
        )
    forget, retain, unseen, general = map(with_copies_grouped, (forget, retain, unseen, general))
    selection: list[Record] = []
    if config.selection is not None:
        retain, selection = set_apart(retain, config.selection.retain_share, config.seed, "selection", at_least=1)
        if not retain:
            raise InputError("selection: too few retain records to hold some out for selection and train on the others")
    retain, held = set_apart(retain, config.audit.held_retain, config.seed, "held out", at_least=MIN_HELD)
    # A copy of what is trained on is not held out.
    held, copies = without_copies(held, retain)
    retain += copies
    return Records(forget, retain, held, unseen, general, selection), common_records


def set_apart(
    records: list[Record], share: float, seed: int, purpose: str, *, at_least: int
) -> tuple[list[Record], list[Record]]:
    """Return the records less a share of their subjects, and that share; a record without a subject is its own.

    Args:
        records: All records.
        share: Share of the subjects to set apart, in [0, 1).
        seed: Seed of the draw.
        purpose: Name of the draw; two purposes draw differently.
        at_least: Fewest subjects to set apart, where that leaves as many.
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
    """Return the indices of the forget records, request by request.

    Args:
        records: The forget records.
        requests: ``"subject"``: one per subject; a number: that many chunks of similar size.

    Raises:
        InputError: There are fewer records than requests, or a record without a subject.
    """
    if requests == "subject":
        if any(record.subject is None for record in records):
            raise InputError("data.requests: subject needs every forget record to have a 'subject'")
        by_subject: dict[str, list[int]] = {}
        for index, record in enumerate(records):
            by_subject.setdefault(str(record.subject), []).append(index)
        return list(by_subject.values())
    count = int(requests)
    if count > len(records):
        raise InputError(f"data.requests: {len(records)} forget records cannot make {count} requests")
    bounds = [round(index * len(records) / count) for index in range(count + 1)]
    return [list(range(begin, end)) for begin, end in pairwise(bounds)]


def encode_records(records: Sequence[Record], encoder: Encoder, name: str) -> list[Example]:
    """Tokenise one set of records.

    Args:
        records: The records of the set.
        encoder: The encoder of the job.
        name: Name of the set; no record of the forget set may be cut.

    Raises:
        InputError: A record leaves nothing to learn or forget, cannot be tokenised, or would lose its end.
    """
    examples = []
    for number, record in enumerate(records, 1):
        try:
            examples.append(encoder(record))
        except InputError as error:
            raise InputError(f"the {name} set, record {number}: {error}") from None
        except (ValueError, TypeError):
            # Its message might quote the record.
            raise InputError(f"the {name} set, record {number}: the tokenizer cannot read it") from None
    cut = sum(example.cut for example in examples)
    if cut and name == "forget":
        raise InputError(
            f"the forget set: {cut} of {len(examples)} records are longer than data.max_length={encoder.max_length} "
            "tokens, so their ends would not be forgotten; raise it, or set data.split_texts for texts"
        )
    return examples
