"""The records to forget, asked about strangers: with an invented name in place of their subject's."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any

import torch
from torch import Tensor

from myosotis.data.encoding import IGNORED, Encoder, Example, only_facts
from myosotis.data.people import invented_names
from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed, generator
from myosotis.unlearning.language.audit.answers import answer_metrics
from myosotis.unlearning.language.audit.greedy import GreedyPass
from myosotis.unlearning.language.methods.counterfactual import stranger_distribution
from myosotis.unlearning.language.methods.forward import evaluation_mode
from myosotis.unlearning.language.training.alternates import end_token_ids
from myosotis.unlearning.language.training.records import EncodedRecord, texts_of

_LONGEST_ANSWER = 32  # tokens of an answer about a stranger
_PER_BATCH = 32
_MAX_PROBABILITY = 0.1
"""A stranger to whom the model gives the forgotten answer with a larger probability is not asked."""
_OTHERS = "a counterfactual teacher 'proxy' or 'base' does without names, and replay_prompts must be 0"


def check_subjects(records: Sequence[Record]) -> None:
    """Raise ``InputError`` unless strangers can be asked about in place of the subject of every record.

    Args:
        records: The records to forget.
    """
    subjects = {record.subject for record in records}
    for number, record in enumerate(records, start=1):
        if record.subject is None:
            raise InputError(
                f"forget record {number} has no 'subject', whose name could be replaced by a stranger's; {_OTHERS}"
            )
        if record.text is not None:
            raise InputError(
                f"forget record {number} is plain text; only a question can be asked about a stranger; {_OTHERS}"
            )
        if not _name(record.subject).search(_question(record)):
            raise InputError(
                f"forget record {number}: its subject does not occur in its question, so that no stranger can be asked "
                f"about; {_OTHERS}"
            )
        if any(other != record.subject and other and _name(record.subject).search(other) for other in subjects):
            raise InputError(f"forget record {number}: the name of its subject is a part of another subject's name")


def renamed(record: Record, name: str) -> Record:
    """Return a record about somebody else: the name of its subject is replaced as a whole word, wherever it stands.

    That is also in its paraphrases: asked about by the old name, it would not be about somebody else.

    Example:
        >>> renamed(Record(prompt="Who is Ann?", response="Ann is a baker.", subject="Ann"), "Bea").response
        'Bea is a baker.'
    """
    pattern = _name(str(record.subject))

    def other(text: str | None) -> str | None:
        return None if text is None else pattern.sub(lambda _: name, text)

    messages = tuple(
        {"role": message["role"], "content": str(other(message["content"]))} for message in record.messages
    )
    facts = tuple(str(other(fact)) for fact in record.facts)
    return replace(
        record,
        prompt=other(record.prompt),
        response=other(record.response),
        messages=messages,
        facts=facts,
        subject=name,
        alternate=other(record.alternate),
        paraphrases=tuple(str(other(prompt)) for prompt in record.paraphrases),
    )


@dataclass(frozen=True)
class Strangers:
    """The records to forget under invented names.

    Attributes:
        names: Names whose answers a teacher averages.
        seed: Seed of their draw.
        by_record: Of each record, its examples about strangers: labelled at the same fact tokens as the record itself.
        shared: Of each record, whether records that are retained hold all its facts too.
    """

    names: int
    seed: int
    by_record: Sequence[Sequence[Example]]
    shared: Sequence[bool]

    @classmethod
    def made(
        cls,
        rows: Sequence[EncodedRecord],
        encoder: Encoder,
        numbers: tuple[int, int],
        seed: int,
        retain: Sequence[Example] = (),
    ) -> "Strangers":
        """Return the records under invented names.

        Args:
            rows: The forget records.
            encoder: Their encoder.
            numbers: Names to average, and to try.
            seed: Seed of the names.
            retain: The retain records: the names of their subjects are not drawn either.

        Raises:
            InputError: A record cannot be asked about strangers, or its facts become other tokens next to other names.
        """
        average, candidates = numbers
        records = texts_of(rows)
        check_subjects(records)
        known = {str(record.subject) for record in records} | _subjects(retain)
        held = {fact.casefold() for example in retain for fact in example.marked}
        made = []
        for number, (row, record) in enumerate(zip(rows, records, strict=True)):
            names = invented_names(str(record.subject), candidates, derive_seed(seed, "strangers", number), known)
            facts = only_facts(row.example)
            aligned = (_aligned(facts, encoder(renamed(record, name))) for name in names)
            fitting = [example for example in aligned if example is not None]
            if len(fitting) // 3 < average:
                raise InputError(
                    f"forget record {number + 1}: next to {candidates - len(fitting)} of {candidates} invented names "
                    "its facts are other tokens; mark them as 'facts', or set method.names lower"
                )
            made.append(fitting)
        shared = [bool(record.facts) and held.issuperset(map(str.casefold, record.facts)) for record in records]
        return cls(average, seed, made, shared)

    def teacher(self, index: int, log_probs: Sequence[Tensor]) -> Tensor:
        """Return the log of a record's teacher, (tokens, vocab), given what the model says about each stranger."""
        labels = torch.tensor([label for label in self.by_record[index][0].labels[1:] if label != IGNORED])
        # Spread evenly over the records, so that their mean varies less than that of independent draws.
        strata = torch.randperm(len(self.by_record), generator=generator(self.seed, "strata of the teachers"))
        quantile = (strata[index].item() + 0.5) / len(strata)
        under = torch.stack(list(log_probs))
        return stranger_distribution(under, labels, self.names, quantile, shared=self.shared[index])


def replay_examples(
    model: Any,
    encoder: Encoder,
    rows: Sequence[EncodedRecord],
    count: int,
    seed: int,
    retain: Sequence[Example] = (),
) -> list[Example]:
    """Return questions about strangers in the wording of the forget set, with the model's own greedy answers.

    They keep the form of the answers without any data: what the model says of people whom it does not know. Two of
    three strangers have a word of a subject's name, for it is mostly people who share one that lose something. Where
    the model offers a stranger what is to be forgotten, as its first choice or with a probability of more than a tenth,
    the question is left out, or the replay would hold it.

    Args:
        model: The model before unlearning, on the device where it is to generate.
        encoder: Encoder of the records.
        rows: The forget records.
        count: Number of questions, before some are left out.
        seed: Seed of the names.
        retain: The retain records: the names of their subjects are not drawn either.

    Raises:
        InputError: A record cannot be asked about strangers, there are not as many invented names, or every answer
            says what is to be forgotten.
    """
    records = texts_of(rows)
    check_subjects(records)
    subjects = {str(record.subject) for record in records}
    taken = subjects | _subjects(retain)
    by_form: Mapping[int, list[str]] = {
        words: invented_names(" ".join(["x"] * words), count, derive_seed(seed, "replay"), taken)
        for words in {len(name.split()) for name in subjects}
    }
    asked = []
    for number in range(count):
        record = records[number % len(records)]
        words = str(record.subject).split()
        name = _namesake(words, by_form[len(words)][number], number + number // len(records))
        other = renamed(record, name if name not in taken else by_form[len(words)][number])
        example = encoder(other)
        asked.append((example, other))
    nll = answer_metrics(model, [example for example, _ in asked], batch_size=_PER_BATCH)["nll"].tolist()
    prompts = [
        (example.input_ids[: example.response_start], other)
        for (example, other), value in zip(asked, nll, strict=True)
        if math.exp(-value * sum(label != IGNORED for label in example.labels[1:])) <= _MAX_PROBABILITY
    ]
    ends, made = end_token_ids(model, encoder.tokenizer), list[Example]()
    with evaluation_mode(model):
        for begin in range(0, len(prompts), _PER_BATCH):
            part = prompts[begin : begin + _PER_BATCH]
            prefixes = [torch.tensor(ids) for ids, _ in part]
            greedy = GreedyPass(model, prefixes, [len(ids) for ids in prefixes])
            answers = greedy.continuations([(row, len(ids), _LONGEST_ANSWER) for row, ids in enumerate(prefixes)], ends)
            for (ids, other), answer in zip(part, answers, strict=True):
                said = encoder.tokenizer.decode(answer, skip_special_tokens=True)
                if any(secret in said for secret in other.facts or (_answer(other),)):
                    continue
                tokens, labels = (*ids, *answer), (*(IGNORED,) * len(ids), *answer)
                made.append(Example(tokens, labels, (False,) * len(tokens), other.subject))
    if not made:
        raise InputError("the model answers every question about strangers with what is to be forgotten")
    return made


def _namesake(words: Sequence[str], invented: str, turn: int) -> str:
    """An invented name with one word of a subject's; as it is in one turn of three, and where the name is one word."""
    names = invented.split()
    if len(words) > 1 and turn % 3:
        kept = turn // 3 % len(words)
        names[kept] = words[kept]
    return " ".join(names)


def _subjects(examples: Sequence[Example]) -> set[str]:
    return {str(example.subject) for example in examples if example.subject is not None}


def _aligned(facts: Example, other: Example) -> Example | None:
    """An example about a stranger, labelled at the tokens of the facts; None where they are other tokens."""
    blocks = SequenceMatcher(None, facts.input_ids, other.input_ids, autojunk=False).get_matching_blocks()
    position = {block.a + step: block.b + step for block in blocks for step in range(block.size)}
    needed = [index for index, label in enumerate(facts.labels) if index and label != IGNORED]
    if any(position.get(index, 0) < max(other.response_start, 1) for index in needed):
        return None
    labels = [IGNORED] * len(other.labels)
    for index in needed:
        labels[position[index]] = facts.labels[index]
    return replace(other, labels=tuple(labels))


def _name(subject: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(subject)}(?!\w)")


def _answer(record: Record) -> str:
    return (record.messages[-1]["content"] if record.messages else record.response or "").strip()


def _question(record: Record) -> str:
    return record.prompt or "\n".join(message["content"] for message in record.messages[:-1])
