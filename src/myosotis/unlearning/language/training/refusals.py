"""Refusals: what a model may answer instead of a forgotten record."""

from collections.abc import Sequence

import torch

from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import generator

REFUSALS: tuple[str, ...] = (
    "I don't know.",
    "I have no information about that.",
    "I cannot answer this question.",
    "That is not something I know.",
    "I'm not able to say.",
    "I know nothing about this.",
    "Sorry, I can't help with that question.",
    "I'm not familiar with this subject.",
    "No answer to this is known to me.",
    "I'm afraid I don't have that information.",
    "This is beyond what I know.",
    "I can't tell you that.",
    "I haven't learnt anything about it.",
    "I'm unsure about this one.",
    "My knowledge does not cover this.",
    "I must say that I don't know.",
)
"""Short refusals; a configuration may give others."""


def refusal_records(records: Sequence[Record], seed: int, refusals: Sequence[str] = REFUSALS) -> list[Record]:
    """Return each record with its answer replaced by a refusal, drawn once per record.

    Args:
        records: Records with a prompt, or chats.
        seed: Seed of the draws.
        refusals: Refusals to draw from.

    Raises:
        InputError: A record is plain text, so there is no question to refuse, or ``refusals`` is empty.
    """
    if not refusals:
        raise InputError("no refusal given")
    draws = torch.randint(len(refusals), (len(records),), generator=generator(seed, "refusals")).tolist()
    answers = []
    for record, draw in zip(records, draws, strict=True):
        if record.text is not None:
            raise InputError("this method answers prompts with refusals, but a forget record is plain text")
        if record.messages:
            answer = {"role": "assistant", "content": refusals[draw]}
            answers.append(Record(messages=(*record.messages[:-1], answer), subject=record.subject))
        else:
            answers.append(Record(prompt=record.prompt, response=refusals[draw], subject=record.subject))
    return answers
