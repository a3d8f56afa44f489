"""What may be said instead of a forget answer: refusals, or alternate answers of the model's own making."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from myosotis.data.encoding import IGNORED, Encoder, Example
from myosotis.data.records import Record
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import generator
from myosotis.unlearning.language.audit.greedy import GreedyPass
from myosotis.unlearning.language.methods import Method
from myosotis.unlearning.language.methods.forward import evaluation_mode
from myosotis.unlearning.language.training.records import EncodedRecord, encode_rows, texts_of
from myosotis.unlearning.language.training.refusals import refusal_records


def alternates_of(
    method: Method, model: Any, encoder: Encoder, rows: Sequence[EncodedRecord], refusals: Sequence[str], seed: int
) -> list[Example]:
    """Return what a method puts in place of each forget answer; nothing for a method that needs none.

    Args:
        method: The method.
        model: The model before unlearning, on the device where it is to generate.
        encoder: Encoder of the records.
        rows: The forget records.
        refusals: Refusals to draw from.
        seed: Seed of the draws.

    Raises:
        InputError: A record is plain text, so nothing is asked that could be answered otherwise.
        ValueError: A record was given as tokens only.
    """
    if method.alternates is None:
        return []
    if method.alternates == "refusals":
        return [encoder(record) for record in refusal_records(texts_of(rows), seed, refusals)]
    return alternate_examples(model, encoder, rows, seed)


def alternate_examples(
    model: nn.Module,
    encoder: Encoder,
    records: Sequence[Any],
    seed: int,
    *,
    temperature: float = 1.0,
    batch_size: int = 16,
) -> list[Example]:
    """Return each record with another answer in place of its own.

    A record's own ``alternate`` is taken where it has one. Otherwise the model keeps the answer up to its first fact
    token, draws another token there, and goes on greedily: the alternate has the answer's form and another content.
    The authors prompt an instruction-tuned model for such answers instead, which a base model does not understand.

    Args:
        model: The model before unlearning.
        encoder: Encoder of the records.
        records: Records with a prompt, or chats, encoded or not.
        seed: Seed of the draws.
        temperature: Temperature of the draw of the other token, > 0.
        batch_size: Records per generation.

    Raises:
        InputError: A record is plain text.
        ValueError: The temperature is not positive.
    """
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    rows = encode_rows(records, encoder)
    texts = texts_of(rows)
    if any(record.text is not None for record in texts):
        raise InputError("this method answers prompts with alternates, but a forget record is plain text")
    stream = generator(seed, "alternates")
    made: list[Example] = []
    for begin in range(0, len(rows), batch_size):
        examples = [row.example for row in rows[begin : begin + batch_size]]
        generated = _generated(model, encoder, examples, temperature, stream)
        made += [
            encoder(_with_alternate(record)) if record.alternate is not None else example
            for record, example in zip(texts[begin : begin + batch_size], generated, strict=True)
        ]
    return made


def _with_alternate(record: Record) -> Record:
    """The record with its alternate as the answer."""
    if record.messages:
        last = {"role": "assistant", "content": str(record.alternate)}
        return replace(record, messages=(*record.messages[:-1], last), facts=())
    return replace(record, response=record.alternate, facts=())


def _generated(
    model: Any, encoder: Encoder, examples: Sequence[Example], temperature: float, stream: torch.Generator
) -> list[Example]:
    device = next(model.parameters()).device
    branches = [_first_fact(example) for example in examples]
    with evaluation_mode(model):
        prefixes = []
        for example, branch in zip(examples, branches, strict=True):
            prefix = torch.tensor([example.input_ids[:branch]], device=device)
            logits = model(input_ids=prefix, attention_mask=torch.ones_like(prefix)).logits[0, -1].float().cpu()
            logits[example.input_ids[branch]] = -torch.inf
            other = torch.multinomial((logits / temperature).softmax(dim=-1), 1, generator=stream)
            prefixes.append(torch.tensor([*example.input_ids[:branch], int(other)]))
        # Plain greedy decoding: generation settings of the model, e.g. penalties, do not apply.
        greedy = GreedyPass(model, prefixes)
        rest = max(len(example.input_ids) - branch for example, branch in zip(examples, branches, strict=True))
        starts = [(row, len(ids), rest + 8) for row, ids in enumerate(prefixes)]
        tails = greedy.continuations(starts, end_token_ids(model, encoder.tokenizer))
    made = []
    for example, ids, tail in zip(examples, prefixes, tails, strict=True):
        tokens = (*ids.tolist(), *tail)
        start = example.response_start
        labels = (*(IGNORED,) * start, *tokens[start:])
        made.append(Example(tokens, labels, (False,) * len(tokens), example.subject))
    return made


def end_token_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return every token that ends an answer, by the tokenizer and by the model's settings."""
    known = [tokenizer.eos_token_id]
    for settings in (getattr(model, "generation_config", None), getattr(model, "config", None)):
        ids = getattr(settings, "eos_token_id", None)
        known += ids if isinstance(ids, list | tuple) else [ids]
    return frozenset(int(token) for token in known if token is not None)


def _first_fact(example: Example) -> int:
    """Index of the answer's first fact token; of its first token where no fact is marked."""
    start = max(example.response_start, 1)
    return next((index for index in range(start, len(example.facts)) if example.facts[index]), start)
