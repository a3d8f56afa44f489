"""How near the records to forget are to those to retain: their forms, and the activations of the model."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.data.copies import with_copies_grouped
from myosotis.data.encoding import IGNORED, Encoder, Example, pad_examples, pad_token_id
from myosotis.data.forms import PASSAGE, shared_forms
from myosotis.data.records import Record
from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import device
from myosotis.engine.seeding import generator
from myosotis.evaluation.overlap import feature_overlap
from myosotis.unlearning.language.audit.precision import audit_autocast
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import read_given
from myosotis.unlearning.language.methods.forward import evaluation_mode

_WORK = {"cpu": 1e12}
"""Weights times tokens of the sample by the type of the device: ten to twenty seconds."""
_WORK_OF_ACCELERATORS = 1e14
_MOST = 1000  # sampled records of a side: their cosines take memory by the square
_FEWEST = 5
_LISTED = 8


def overlap_lines(config: LanguageUnlearningConfig, tokenizer: Any, model: Any) -> list[str]:
    """Return what ``check`` says about what is at risk. Records are named by their number in their source.

    Args:
        config: Configuration of the job.
        tokenizer: The model's tokenizer.
        model: The model; a sample of the records is passed through it.
    """
    forget, retain, _ = read_given(config)
    if not retain:
        return ["overlap: no records to retain are given, so that what is at risk cannot be measured"]
    return [
        *_text_lines(forget, retain),
        *_name_lines(forget, retain),
        *_activation_lines(config, tokenizer, model, forget, retain),
    ]


def response_states(
    model: Any, examples: Sequence[Example], block: int, *, pad_id: int = 0, batch_size: int = 16
) -> Float[Tensor, "n width"]:
    """Return the mean hidden state of each example's labelled tokens, in float32 on the CPU.

    The first token is left out: it is not predicted, and its state is far larger than all others.

    Args:
        model: A causal language model of ``transformers``.
        examples: Examples, each with a label after its first token.
        block: Number of blocks that the states have passed; 0: the embeddings.
        pad_id: Token id at padded positions.
        batch_size: Examples of a forward pass.
    """
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    where = next(model.parameters()).device
    states: dict[int, Tensor] = {}
    with evaluation_mode(model):
        for begin in range(0, len(order), batch_size):
            rows = order[begin : begin + batch_size]
            batch = {name: value.to(where) for name, value in pad_examples([examples[i] for i in rows], pad_id).items()}
            labelled = batch.pop("labels") != IGNORED
            labelled[:, 0] = False
            hidden = model.base_model(**batch, output_hidden_states=True, use_cache=False).hidden_states[block].float()
            means = (hidden * labelled[..., None]).sum(dim=1) / labelled.sum(dim=1, keepdim=True)
            states.update(zip(rows, means.cpu(), strict=True))
    return torch.stack([states[index] for index in range(len(examples))])


def _text_lines(forget: Sequence[Record], retain: Sequence[Record]) -> list[str]:
    shared = shared_forms(forget, retain)
    lines = [
        f"overlap of texts: {len(shared.retain):,} of {len(retain):,} records to retain have the form of a record to "
        f"forget (the same words without name and facts), {len(shared.partly):,} others that of its answer or "
        f"{PASSAGE} words in a row"
    ]
    if shared.retain:
        named = "" if len(shared.retain) == len(retain) else f": {_numbers(shared.retain)}"
        lines.append(f"  where unlearning did harm in our measurements, records of such a form lost most{named}")
        lines.append("  give more of them to retain, and hold some out (audit.held_retain) to see what they lose")
    elif shared.partly:
        lines.append(f"  these others: {_numbers(shared.partly)}")
    if shared.retain and len(shared.forget) < len(forget):
        lines.append(f"  no record to retain has the form of {len(forget) - len(shared.forget):,} of those to forget")
    return lines


def _name_lines(forget: Sequence[Record], retain: Sequence[Record]) -> list[str]:
    """Who is named with a word of a name to forget; a subject that no text says, like a number, is no name."""
    spoken = {own.subject for own in (*forget, *retain) if own.subject and own.subject.casefold() in own.content}

    def words(record: Record) -> set[str]:
        return set(record.subject.casefold().split()) if record.subject in spoken else set()

    subjects = {record.subject for record in forget}
    wanted = set().union(*map(words, forget))
    alike = [index for index, record in enumerate(retain) if record.subject not in subjects and words(record) & wanted]
    if not alike:
        return []
    return [
        f"overlap of names: the subjects of {len(alike):,} of {len(retain):,} records to retain share a word of their "
        f"name with one to forget: {_numbers(alike)}",
        "  most people who lost something in our measurements did; give every such record there is to retain",
    ]


def _activation_lines(
    config: LanguageUnlearningConfig, tokenizer: Any, model: Any, forget: Sequence[Record], retain: Sequence[Record]
) -> list[str]:
    weights = sum(parameter.numel() for parameter in model.parameters())
    tokens = int(_WORK.get(device().type, _WORK_OF_ACCELERATORS) / weights / 2)
    encoder = Encoder(tokenizer, config.data.template, config.data.max_length, config.data.append_eos)
    samples = [_sample(rows, encoder, tokens, config.seed, side) for side, rows in enumerate((forget, retain))]
    if any(len(sample) < min(_FEWEST, len(rows)) for sample, rows in zip(samples, (forget, retain), strict=True)):
        return [f"overlap of activations: not measured: too slow for {weights / 1e6:,.1f} million weights here"]
    block = model.config.get_text_config().num_hidden_layers // 2
    pad_id = pad_token_id(tokenizer)
    with audit_autocast(config.audit.precision):
        states = [response_states(model, list(sample.values()), block, pad_id=pad_id) for sample in samples]
    chosen = list(samples[1])
    grouped = with_copies_grouped(retain)
    groups = [grouped[index].subject or f"record {index}" for index in chosen]
    try:
        overlap = feature_overlap(states[0], states[1], groups)
    except SettingsError as error:
        return [f"overlap of activations: not measured: {error}"]
    of = "" if config.fine_tune is None else ", before it is taught"
    drawn = ""
    if len(samples[0]) < len(forget) or len(chosen) < len(retain):
        shares = (f"{len(sample):,} of {len(rows):,}" for sample, rows in zip(samples, (forget, retain), strict=True))
        drawn = "; drawn by the seed: {} to forget, {} to retain".format(*shares)
    nearest = [chosen[index] for index in overlap.retained.argsort(descending=True, stable=True)[:_LISTED].tolist()]
    return [
        f"overlap of activations (answers, block {block} of the model{of}{drawn}): {overlap.sentence}",
        f"  nearest to all records to forget, of those to retain: {_numbers(nearest)}",
    ]


def _sample(records: Sequence[Record], encoder: Encoder, tokens: int, seed: int, side: int) -> dict[int, Example]:
    """Encoded records by their index, in a random order, with so many tokens at most."""
    sample: dict[int, Example] = {}
    for index in torch.randperm(len(records), generator=generator(seed, "overlap", side))[:_MOST].tolist():
        example = encoder(records[index])
        tokens -= len(example.input_ids)
        if tokens < 0:
            break
        sample[index] = example
    return sample


def _numbers(indices: Sequence[int]) -> str:
    """Records by their numbers, the first few of them."""
    listed = ", ".join(str(index + 1) for index in indices[:_LISTED])
    return f"record{'s' * (len(indices) > 1)} {listed}" + (", ..." if len(indices) > _LISTED else "")
