"""Stress tests of forgetting: a few steps of relearning, quantised weights, other wordings and formats."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import IGNORED, Encoder, Example, pad_examples, pad_token_id
from myosotis.data.records import Record
from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.engine.progress import progress
from myosotis.unlearning.language.audit.answers import mean_accuracy
from myosotis.unlearning.language.methods.token_losses import token_log_probs

FORMATS: Mapping[str, str] = {
    "bare": "{prompt}\n{response}",
    "short tags": "Q: {prompt}\nA: {response}",
    "instruction": "### Instruction:\n{prompt}\n\n### Response:\n{response}",
    "chat-like": "User: {prompt}\nAssistant: {response}",
}
"""Templates unlike the one that records were learnt in."""


@dataclass(frozen=True)
class Relearning:
    """How fast a model relearns forgotten records from a few of them.

    Attributes:
        steps: Optimisation steps of each measurement.
        accuracy: Accuracy on the records that were **not** shown again, after these steps.
        shown: Number of records shown again.
        held: Number of records not shown.
        diverged: The step at which a loss or a logit was no longer finite, which ended it; else None.
    """

    steps: tuple[int, ...]
    accuracy: tuple[float, ...]
    shown: int
    held: int
    diverged: int | None = None


def split_for_relearning(examples: Sequence[Example], share: float) -> tuple[list[Example], list[Example]]:
    """Return the records that an attacker has, and the others, which come back if they are only hidden.

    The first of each subject's records, where subjects have several, else the first of all; so that what is held
    differs in its facts, not only in its wording.

    Args:
        examples: The forgotten records.
        share: Share of the records that the attacker has, in (0, 1).

    Raises:
        ValueError: The share is out of range, or leaves a side empty.
    """
    if not 0 < share < 1:
        raise SettingsError(f"share must be in (0, 1), got {share}")
    counts: dict[str | None, int] = {}
    ranks = []
    for index, example in enumerate(examples):
        rank = 0 if example.subject is None else counts.get(example.subject, 0)
        counts[example.subject] = rank + 1
        ranks.append((rank, index))
    count = max(1, round(share * len(examples)))
    shown = {index for _, index in sorted(ranks)[:count]}
    held = [example for index, example in enumerate(examples) if index not in shown]
    if not held:
        raise SettingsError(f"{len(examples)} records are too few to train on some and measure the others")
    return [examples[index] for index in sorted(shown)], held


def relearning_curve(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    share: float = 0.2,
    steps: int = 10,
    every: int = 2,
    learning_rate: float = 1e-4,
) -> Relearning:
    """Fine-tune a model on a few of the forgotten records and watch the others.

    All weights are trained by AdamW in float32, one batch of all shown records a step; afterwards they are as they
    were, to the bit and in their own dtype. A model that never knew the records is the measure: what it relearns is
    what the shown records teach by themselves.

    Args:
        model: A causal language model without adapters.
        tokenizer: Tokenizer, for its padding token.
        examples: The forgotten records.
        share: Share of them that is shown again.
        steps: Optimisation steps.
        every: Steps between measurements.
        learning_rate: Learning rate of AdamW.

    Raises:
        ValueError: See :func:`split_for_relearning`.
    """
    shown, held = split_for_relearning(examples, share)
    batch = pad_examples(shown, pad_token_id(tokenizer))
    device = next(model.parameters()).device
    inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
    labels = batch["labels"][:, 1:].to(device)
    diverged = None
    with _float32_restored(model) as parameters, progress("relearning", steps) as ticker:
        at, accuracy = [0], [mean_accuracy(model, held)]
        optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
        for step in range(1, steps + 1):
            log_probs = token_log_probs(model(**inputs, use_cache=False).logits[:, :-1], labels)
            loss = -log_probs.sum() / (labels != IGNORED).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            ticker.advance(1)
            sound = bool(loss.isfinite())
            if sound and (step % every == 0 or step == steps):
                try:
                    accuracy.append(mean_accuracy(model, held))
                    at.append(step)
                except DivergedError:
                    sound = False
            if not sound:
                diverged = step
                break
        optimizer.zero_grad()
    return Relearning(tuple(at), tuple(accuracy), len(shown), len(held), diverged)


@contextmanager
def _float32_restored(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Inside, all weights are trainable and float32, in eval mode; outside, weights and flags are as they were.

    Half precision would not do: the second moments of AdamW underflow in float16, and its steps are below the spacing
    of bfloat16.
    """
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    tensors = [*parameters, *(buffer for buffer in model.buffers() if buffer.is_floating_point())]
    flags = [p.requires_grad for p in parameters]
    originals = [tensor.detach().to("cpu", copy=True) for tensor in tensors]
    mode = model.training
    model.eval()
    try:
        for tensor in tensors:
            tensor.data = tensor.data.float()
        for parameter in parameters:
            parameter.requires_grad_(True)
        yield parameters
    finally:
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.grad = None
            parameter.requires_grad_(flag)
        for tensor, value in zip(tensors, originals, strict=True):
            tensor.data = value.to(tensor.device)
        model.train(mode)


def round_to_nearest(weight: Float[Tensor, "out in"], bits: int, group: int = 64) -> Float[Tensor, "out in"]:
    r"""Return a weight rounded to so many bits and back, symmetrically.

    $$\tilde w = s\, \mathrm{round}(w / s), \qquad s = \max |w| / (2^{b-1} - 1)$$

    with one scale per output unit for 8 bits and more, and per group of inputs below, as inference engines do.

    Args:
        weight: One row per output unit.
        bits: At least 2.
        group: Inputs that share a scale below 8 bits.

    Raises:
        ValueError: There are too few bits or an empty group.

    Example:
        >>> round_to_nearest(torch.tensor([[1.0, -0.4, 0.2]]), bits=2)
        tensor([[1., -0., 0.]])
    """
    if bits < 2 or group < 1:
        raise ValueError(f"bits must be at least 2 and group at least 1, got {bits} and {group}")
    rows, columns = weight.shape
    size = columns if bits >= 8 else min(group, columns)
    padded = nn.functional.pad(weight.float(), (0, -columns % size)).view(rows, -1, size)
    scale = (padded.abs().amax(dim=-1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-12)
    rounded: Tensor = ((padded / scale).round() * scale).view(rows, -1)[:, :columns].to(weight.dtype)
    return rounded


@contextmanager
def quantized(model: nn.Module, bits: int) -> Iterator[None]:
    """Inside, the linear layers of a model, but for its output layer, hold weights of so many bits."""
    network: Any = model
    head = network.get_output_embeddings() if hasattr(network, "get_output_embeddings") else None
    layers: list[Any] = [
        module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]
    originals = [layer.weight.detach().to("cpu", copy=True) for layer in layers]
    try:
        with torch.no_grad():
            for layer in layers:
                weight: Tensor = layer.weight
                turned = isinstance(layer, Conv1D)
                rounded = round_to_nearest(weight.T if turned else weight, bits)
                weight.copy_(rounded.T if turned else rounded)
        yield
    finally:
        with torch.no_grad():
            for layer, value in zip(layers, originals, strict=True):
                layer.weight.copy_(value)


_REWORDINGS = ("Please answer this question: {}", "{} Reply in one sentence.")
"""Other ways to ask any question."""

_MAX_PARAPHRASES = 2


def rewordings(records: Sequence[Record], encoder: Encoder) -> list[list[Example]]:
    """Return each record asked for in other words: its own paraphrases, at most two, and two that suit any question.

    In the template that the records were learnt in; of a text, which answers nothing, there are none.

    Args:
        records: The records.
        encoder: How they were learnt.
    """
    return [[example for other in _reworded(record) if not (example := encoder(other)).cut] for record in records]


def _reworded(record: Record) -> list[Record]:
    if record.messages:
        *earlier, last, answer = record.messages
        return [
            replace(record, messages=(*earlier, {**last, "content": wording.format(last["content"])}, answer))
            for wording in _REWORDINGS
        ]
    if record.prompt is None:
        return []
    prompts = [*record.paraphrases[:_MAX_PARAPHRASES], *(wording.format(record.prompt) for wording in _REWORDINGS)]
    return [replace(record, prompt=prompt) for prompt in prompts]


def reworded_examples(records: Sequence[Record], encoder: Encoder) -> dict[str, list[Example]]:
    """Return records as someone might ask for them who does not know how they were learnt.

    Prompts in other formats, in lower case and, where records bring them, paraphrased; chats with their last question
    in lower case; texts from their middle on and behind a heading.

    Args:
        records: The records.
        encoder: How they were learnt.

    Returns:
        By the name of the change; only those that some record allows for.
    """
    asked = [record for record in records if record.prompt is not None]
    chats = [record for record in records if record.messages]
    texts = [record for record in records if record.text is not None]
    changes: dict[str, list[tuple[Encoder, Record]]] = {}
    if asked:
        for name, template in FORMATS.items():
            if template != encoder.template:
                other = replace(encoder, template=template)
                changes[name] = [(other, record) for record in asked]
        changes["lower case"] = [(encoder, replace(record, prompt=str(record.prompt).lower())) for record in asked]
        paraphrased = [(encoder, replace(record, prompt=wording)) for record in asked for wording in record.paraphrases]
        if paraphrased:
            changes["paraphrased"] = paraphrased
    if chats:
        changes.setdefault("lower case", []).extend((encoder, _lower_chat(record)) for record in chats)
    if texts:
        halves = [_second_half(record) for record in texts]
        changes["from the middle"] = [(encoder, record) for record in halves if record is not None]
        heading = replace(encoder, template="{prompt}{response}", append_eos=False)
        changes["behind a heading"] = [
            (
                heading,
                Record(
                    prompt="From the archive:\n\n", response=record.text, subject=record.subject, facts=record.facts
                ),
            )
            for record in texts
        ]
    return {name: [encode(record) for encode, record in rows] for name, rows in changes.items() if rows}


def _lower_chat(record: Record) -> Record:
    *earlier, last, answer = record.messages
    return replace(record, messages=(*earlier, {**last, "content": last["content"].lower()}, answer))


def _second_half(record: Record) -> Record | None:
    """A text from its middle on; None where all its marked facts lie before that."""
    text = str(record.text)
    middle = text.find(" ", len(text) // 2)
    if middle < 0:
        raise InputError("a text without a space in its second half cannot be queried from its middle")
    half = text[middle + 1 :]
    facts = tuple(fact for fact in record.facts if fact in half)
    return None if record.facts and not facts else replace(record, text=half, facts=facts)
