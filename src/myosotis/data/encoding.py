"""Tokenisation of records: the whole text at once, with labels on the response only."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jinja2 import TemplateError
from torch import Tensor

from myosotis.data.records import Record
from myosotis.engine.errors import InputError, SettingsError

IGNORED = -100

_MARK = "\ue000"  # from the private use area: not in any text, and not changed by templates

CHAT = "chat"
"""The template that puts prompt and response into the tokenizer's own chat template."""


@dataclass(frozen=True)
class Example:
    """One tokenised record.

    Attributes:
        input_ids: Token ids.
        labels: Labels of the same length, **not shifted**: the id of a token to learn or forget, -100 elsewhere.
        facts: Whether each token belongs to a fact.
        subject: Subject of the record.
        cut: Whether the record was truncated.
        marked: Parts of the response that the record marks as its facts, as text.
    """

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    facts: tuple[bool, ...]
    subject: str | None = None
    cut: bool = False
    marked: tuple[str, ...] = ()

    @property
    def response_start(self) -> int:
        """Position of the first labelled token; the prompt ends before it."""
        return next(position for position, label in enumerate(self.labels) if label != IGNORED)


@dataclass(frozen=True)
class Encoder:
    """Turns records into examples.

    The whole text is tokenised once and a token is labelled when it holds a character of the response. The boundary is
    therefore right for tokenizers that merge across it, and the ids are the same as in use. Tags of the template belong
    to the prompt.

    Attributes:
        tokenizer: Fast tokenizer of ``transformers``.
        template: Template of prompt and response; :data:`CHAT` for the tokenizer's own chat template.
        max_length: Largest number of tokens; longer examples are cut and have no end-of-sequence label.
        append_eos: Whether one labelled end-of-sequence token follows a response.
    """

    tokenizer: Any
    template: str = "{prompt} {response}"
    max_length: int = 512
    append_eos: bool = True

    def __post_init__(self) -> None:
        if not getattr(self.tokenizer, "is_fast", False):
            raise SettingsError("the tokenizer must be a fast one, which maps tokens to characters")
        if self.template == CHAT:
            return
        if self.template.count("{prompt}") != 1 or self.template.count("{response}") != 1:
            raise SettingsError(f"the template must hold {{prompt}} and {{response}} once each, got {self.template!r}")
        if self.template.index("{response}") < self.template.index("{prompt}"):
            raise SettingsError(f"the template must put {{prompt}} before {{response}}, got {self.template!r}")

    def __call__(self, record: Record) -> Example:
        """Tokenise one record.

        Raises:
            InputError: No response token fits into ``max_length``, or the tokenizer has no chat template.
        """
        text, start, end = self._render(record)
        encoding = self.tokenizer(text, return_offsets_mapping=True, verbose=False)
        ids, offsets = list(encoding["input_ids"]), list(encoding["offset_mapping"])
        eos = self.tokenizer.eos_token_id
        ends_with_eos = self.append_eos and record.response is not None and self.template != CHAT and eos is not None
        if ends_with_eos and ids[-1:] == [eos] and offsets[-1][1] <= start:
            del ids[-1], offsets[-1]  # the tokenizer's own, without characters in the text
        labelled = [start < stop and begin < end for begin, stop in offsets]
        if ends_with_eos:
            ids, offsets, labelled = [*ids, eos], [*offsets, (end, end)], [*labelled, True]
        cut = len(ids) > self.max_length
        ids, offsets, labelled = (row[: self.max_length] for row in (ids, offsets, labelled))
        spans = _fact_spans(record, text, start, end) or [(start, end)]
        prompt_ids = {token for token, is_labelled in zip(ids, labelled, strict=True) if not is_labelled}
        facts = [
            is_labelled and token not in prompt_ids and any(begin < right and stop > left for left, right in spans)
            for token, is_labelled, (begin, stop) in zip(ids, labelled, offsets, strict=True)
        ]
        labels = [token if is_labelled else IGNORED for token, is_labelled in zip(ids, labelled, strict=True)]
        # The first token cannot be predicted.
        if all(label == IGNORED for label in labels[1:]):
            raise InputError(
                f"a record has no token to learn or forget within {self.max_length} tokens; raise data.max_length"
            )
        return Example(tuple(ids), tuple(labels), tuple(facts), record.subject, cut, record.facts)

    def _render(self, record: Record) -> tuple[str, int, int]:
        """The whole text, with begin and end of the part that counts."""
        if record.text is not None:
            return record.text, 0, len(record.text)
        if record.messages:
            return self._render_chat(record)
        if self.template == CHAT:
            question = {"role": "user", "content": str(record.prompt)}
            answer = {"role": "assistant", "content": str(record.response)}
            return self._render_chat(Record(messages=(question, answer)))
        before, rest = self.template.split("{prompt}")
        between, after = rest.split("{response}")
        head = f"{before}{record.prompt}{between}"
        end = len(head) + len(record.response or "")
        return f"{head}{record.response}{after}", len(head), end

    def _render_chat(self, record: Record) -> tuple[str, int, int]:
        if self.tokenizer.chat_template is None:
            raise InputError("the records are chats, but the tokenizer has no chat template")
        messages = [dict(message) for message in record.messages]
        content = messages[-1]["content"].strip()
        try:
            text = self.tokenizer.apply_chat_template(messages, tokenize=False)
            marked = self.tokenizer.apply_chat_template(
                [*messages[:-1], {**messages[-1], "content": messages[-1]["content"].replace(content, _MARK)}],
                tokenize=False,
            )
        except (TemplateError, IndexError, ValueError) as error:
            raise InputError(f"the chat template rejects these messages: {type(error).__name__}") from None
        # A plain search would find short words in the template itself, as "e" in "<eos>". A template may begin with the
        # date or a random text, so that only its end is the same twice.
        before, mark, after = marked.partition(_MARK)
        start = len(before) if text.startswith(before + content) else len(text) - len(after) - len(content)
        if not mark or not text.endswith(content + after) or not text.startswith(content, start):
            raise InputError("the chat template changes the last message, so that it cannot be located in the text")
        end = start + len(content)
        eos = self.tokenizer.eos_token or ""
        rest = text[end:].lstrip()
        if eos and rest.startswith(eos):
            end = len(text) - len(rest) + len(eos)
        # The tokenizer adds its own leading special token, which the template has already.
        bos = self.tokenizer.bos_token or ""
        adds_bos = bool(bos) and self.tokenizer("")["input_ids"][:1] == [self.tokenizer.bos_token_id]
        cut = len(bos) if adds_bos and text.startswith(bos) else 0
        return text[cut:end], start - cut, end - cut


def _fact_spans(record: Record, text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans = []
    for fact in record.facts:
        left = text.find(fact, start, end)
        while left >= 0:
            spans.append((left, left + len(fact)))
            left = text.find(fact, left + 1, end)
    return spans


def split_text(record: Record, encoder: Encoder) -> list[Record]:
    """Return a text as consecutive records that each fit into the encoder's ``max_length``, cut between words.

    Args:
        record: Record; if it is not a text, or fits, it is returned unchanged.
        encoder: Encoder, whose tokenizer counts the tokens.

    Raises:
        InputError: A single word is longer than ``max_length``.
    """
    pieces, rest = [], record.text
    # Pieces of one text are not independent of one another.
    subject = record.subject or hashlib.sha256(record.content.encode("utf-8")).hexdigest()
    while rest is not None:
        offsets = encoder.tokenizer(rest, return_offsets_mapping=True, verbose=False)["offset_mapping"]
        if len(offsets) <= encoder.max_length:
            break
        end = rest.rfind(" ", 1, offsets[encoder.max_length - 1][0] + 1)
        if end < 0:
            raise InputError(f"a text has a word of more than {encoder.max_length} tokens; raise data.max_length")
        pieces.append(replace(record, text=rest[:end], facts=(), subject=subject))
        rest = rest[end:]
    return [*pieces, replace(record, text=rest, facts=(), subject=subject)] if pieces else [record]


def only_facts(example: Example) -> Example:
    """Return an example with labels on its fact tokens only; unchanged if it has no facts.

    Example:
        >>> only_facts(Example((5, 6, 7), (-100, 6, 7), (False, False, True))).labels
        (-100, -100, 7)
    """
    if not any(example.facts[1:]):
        return example
    labels = tuple(label if is_fact else IGNORED for label, is_fact in zip(example.labels, example.facts, strict=True))
    return replace(example, labels=labels)


def pad_token_id(tokenizer: Any) -> int:
    """Return the id to pad with: the tokenizer's own, else end-of-sequence, else 0; padding is always masked."""
    for candidate in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if candidate is not None:
            return int(candidate)
    return 0


def pad_examples(examples: Sequence[Example], pad_id: int) -> dict[str, Tensor]:
    """Pad examples on the right into one batch.

    Args:
        examples: At least one example.
        pad_id: Token id at padded positions.

    Returns:
        ``input_ids``, ``attention_mask`` and unshifted ``labels``, each (batch, time) of int64.

    Example:
        >>> batch = pad_examples([Example((5, 6), (-100, 6), (False, True)), Example((7,), (7,), (True,))], pad_id=0)
        >>> batch["input_ids"].tolist(), batch["labels"].tolist(), batch["attention_mask"].tolist()
        ([[5, 6], [7, 0]], [[-100, 6], [7, -100]], [[1, 1], [1, 0]])
    """
    length = max(len(example.input_ids) for example in examples)

    def pad(rows: Sequence[Sequence[int]], value: int) -> Tensor:
        return torch.tensor([[*row, *[value] * (length - len(row))] for row in rows], dtype=torch.long)

    return {
        "input_ids": pad([example.input_ids for example in examples], pad_id),
        "attention_mask": pad([[1] * len(example.input_ids) for example in examples], 0),
        "labels": pad([example.labels for example in examples], IGNORED),
    }
