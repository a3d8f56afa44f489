"""Measures of a model's answers: probability, facts, certainty and wording, record by record."""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.data.copies import words_of
from myosotis.data.encoding import IGNORED, Example, pad_examples
from myosotis.engine.progress import progress
from myosotis.unlearning.language.audit.greedy import GreedyPass, finite_logits, greedy_passes
from myosotis.unlearning.language.methods.forward import (
    evaluation_mode,
    labelled_first,
    labelled_logits,
    takes_positions,
)
from myosotis.unlearning.language.methods.token_losses import token_log_probs


def answer_metrics(
    model: nn.Module, examples: Sequence[Example], *, batch_size: int = 16
) -> dict[str, Float[Tensor, " count"]]:
    r"""Return what teacher forcing tells about each record's labelled tokens.

    Args:
        model: A causal language model of ``transformers``.
        examples: The records.
        batch_size: Records per forward pass; does not change the values beyond rounding.

    Returns:
        One value per record, on the CPU, under each of these keys: ``nll``, mean negative log-likelihood in nats;
        ``probability``, exp(-nll), the length-normalised probability of the answer; ``token_probability``, mean
        probability of the labelled tokens; ``token_accuracy``, share of labelled tokens that are the greedy choice,
        also called exact memorisation; ``token_top5``, share that are among the five likeliest; ``fact_probability``,
        ``fact_accuracy`` and ``fact_top5``, the same over fact tokens only, NaN for a record without any;
        ``extraction_strength``, see :func:`extraction_strength`; ``entropy``, mean entropy of the predictions in nats;
        ``top_probability``, mean of the largest probability.

    Raises:
        DivergedError: The model's logits are not finite.
    """
    values: dict[str, Tensor] = {}
    with evaluation_mode(model):
        for batch in labelled_batches(model, examples, batch_size):
            facts = nn.utils.rnn.pad_sequence(
                [torch.tensor(examples[index].facts[1:]) for index in batch.indices], batch_first=True
            ).to(batch.labels.device)
            of_positions = facts.gather(1, batch.positions) & (batch.labels != IGNORED)
            for name, row in _answer_values(batch.logits, batch.labels, of_positions).items():
                values.setdefault(name, torch.zeros(len(examples)))[batch.indices] = row.float().cpu()
    return values


def accuracy_of(values: Mapping[str, Float[Tensor, " count"]]) -> Float[Tensor, " count"]:
    """Return the accuracy by which records are judged: on their facts, or on all labelled tokens where none has facts.

    Args:
        values: Values of :func:`answer_metrics`.
    """
    facts = values["fact_accuracy"]
    return values["token_accuracy"] if bool(facts.isnan().all()) else facts


def probability_of(values: Mapping[str, Float[Tensor, " count"]]) -> Float[Tensor, " count"]:
    """Return the mean probability of the tokens that :func:`accuracy_of` judges records on.

    Args:
        values: Values of :func:`answer_metrics`.
    """
    facts = values["fact_probability"]
    return values["token_probability"] if bool(facts.isnan().all()) else facts


def mean_accuracy(model: Any, examples: Sequence[Example]) -> float:
    """Return the mean accuracy on fact tokens, or on labelled tokens where no record has facts."""
    return accuracy_of(answer_metrics(model, examples)).double().nanmean().item()


@dataclass(frozen=True)
class LabelledBatch:
    """Output of a forward pass on a few records: each row's labelled positions, moved to the front.

    Attributes:
        indices: Indices of the records.
        logits: (batch, most labelled, vocab).
        labels: (batch, most labelled), -100 where a row has fewer.
        positions: (batch, most labelled), their positions in the shifted sequence.
    """

    indices: list[int]
    logits: Tensor
    labels: Tensor
    positions: Tensor


def labelled_batches(model: nn.Module, examples: Sequence[Example], batch_size: int) -> Iterator[LabelledBatch]:
    """Yield a model's output on records, batch by batch, records of similar length together."""
    device = next(model.parameters()).device
    slices = takes_positions(model)
    order = sorted(range(len(examples)), key=lambda index: len(examples[index].input_ids))
    for begin in range(0, len(order), batch_size):
        indices = order[begin : begin + batch_size]
        batch = pad_examples([examples[index] for index in indices], 0)
        inputs = {name: batch[name].to(device) for name in ("input_ids", "attention_mask")}
        labels = batch["labels"][:, 1:].to(device)
        positions = labelled_first(labels)
        _, logits = labelled_logits(model, positions, slices, **inputs)
        yield LabelledBatch(indices, finite_logits(logits), labels.gather(1, positions), positions)


_AT_ONCE = 2**25
"""Numbers of logits that are processed together: 128 MB in float32."""


def _answer_values(logits: Tensor, labels: Tensor, facts: Tensor) -> dict[str, Tensor]:
    """The values of a batch; of large vocabularies record by record, as they take copies of the logits."""
    rows = max(1, _AT_ONCE // max(logits[0].numel(), 1))
    parts = [
        _values_of_rows(logits[begin : begin + rows], labels[begin : begin + rows], facts[begin : begin + rows])
        for begin in range(0, len(logits), rows)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _values_of_rows(logits: Tensor, labels: Tensor, facts: Tensor) -> dict[str, Tensor]:
    labelled = labels != IGNORED
    count = labelled.sum(dim=1)
    choices = logits.argmax(dim=-1)
    right = (choices == labels) & labelled
    at_labels = token_log_probs(logits, labels)
    nll = -at_labels.sum(dim=1) / count

    def mean(per_token: Tensor) -> Tensor:
        return (per_token * labelled).sum(dim=1) / count

    def mean_of_facts(per_token: Tensor) -> Tensor:
        return (per_token * facts).sum(dim=1) / facts.sum(dim=1)

    targets = logits.gather(-1, labels.clamp(min=0).unsqueeze(-1))
    in_top5 = ((logits > targets).sum(dim=-1) < 5) & labelled
    log_p = logits.float().log_softmax(dim=-1)
    top = mean(log_p.amax(dim=-1).exp())
    entropy = mean(-log_p.exp().mul_(log_p).sum(dim=-1))
    return {
        "nll": nll,
        "probability": torch.exp(-nll),
        "token_probability": mean(at_labels.exp()),
        "token_accuracy": right.sum(dim=1) / count,
        "token_top5": mean(in_top5),
        "fact_probability": mean_of_facts(at_labels.exp()),
        "fact_accuracy": mean_of_facts(right),
        "fact_top5": mean_of_facts(in_top5),
        "extraction_strength": extraction_strength(choices, labels),
        "entropy": entropy,
        "top_probability": top,
    }


def extraction_strength(
    choices: Int[Tensor, "batch time"], labels: Int[Tensor, "batch time"]
) -> Float[Tensor, " batch"]:
    """Return 1 - k/L: k is the shortest beginning of a text after which every greedy choice is right.

    (Carlini et al., "Extracting Training Data from Large Language Models", USENIX Security 2021.) Where even the last
    token is wrong it is 0; released code gives 1/L there.

    Args:
        choices: Greedy tokens, teacher-forced.
        labels: Shifted labels, -100 where ignored; L of them per row count.

    Returns:
        In [0, 1], NaN for a row without a label.

    Example:
        >>> labels = torch.tensor([[7, 8, 9], [7, 8, 9], [7, 8, 9]])
        >>> extraction_strength(torch.tensor([[7, 8, 0], [0, 8, 9], [7, 8, 9]]), labels)
        tensor([0.0000, 0.6667, 1.0000])
    """
    labelled = labels != IGNORED
    wrong = (choices != labels) & labelled
    # Labelled tokens that stand behind the last wrong one.
    still_wrong = wrong.flip(1).cumsum(dim=1).flip(1) > 0
    return (labelled & ~still_wrong).sum(dim=1) / labelled.sum(dim=1)


def greedy_answers(
    model: nn.Module,
    tokenizer: Any,
    examples: Sequence[Example],
    *,
    max_new_tokens: int | Sequence[int] = 64,
    batch_size: int = 16,
) -> list[str]:
    """Return the greedy answer to each record's prompt, up to its first end-of-sequence token.

    Where teacher forcing shows the greedy answer to follow the true one, nothing is generated.

    Args:
        model: A causal language model.
        tokenizer: Its tokenizer.
        examples: The records; those without a prompt are continued from their first token.
        max_new_tokens: Maximum tokens of an answer, for all records or for each.
        batch_size: Records per forward pass.
    """
    lengths = [max_new_tokens] * len(examples) if isinstance(max_new_tokens, int) else list(max_new_tokens)
    answers = [""] * len(examples)
    sequences = [torch.tensor(example.input_ids) for example in examples]
    with evaluation_mode(model), progress("answering", len(examples)) as ticker:
        starts = [max(example.response_start, 1) for example in examples]
        for indices, greedy in greedy_passes(model, sequences, starts, batch_size, ticker):
            begins = [(starts[index], lengths[index]) for index in indices]
            for index, answer in zip(indices, answers_of(greedy, tokenizer, begins), strict=True):
                answers[index] = answer
    return answers


def answers_of(greedy: GreedyPass, tokenizer: Any, starts: Sequence[tuple[int, int]]) -> list[str]:
    """Return the answer to each sequence of a pass.

    Args:
        greedy: The pass.
        tokenizer: Tokenizer of the model.
        starts: Length of the prompt, and of the answer at most, of each sequence.
    """
    rows = greedy.continuations([(row, *start) for row, start in enumerate(starts)], end_tokens(tokenizer))
    return [decoded(tokenizer, row) for row in rows]


def rouge_l_recall(tokenizer: Any, examples: Sequence[Example], answers: Sequence[str]) -> Float[Tensor, " count"]:
    """Return ROUGE-L recall, with stemming, of answers against the records' labelled text.

    Args:
        tokenizer: Tokenizer of the records.
        examples: The records.
        answers: One per record, e.g. of :func:`greedy_answers`.

    Returns:
        One value in [0, 1] per record.
    """
    return torch.tensor(
        [_rouge_l(labelled_text(tokenizer, example), answer) for example, answer in zip(examples, answers, strict=True)]
    )


def recall(tokenizer: Any, example: Example, answer: str, *, facts: bool) -> float:
    """Return how much of a record an answer gives away, in [0, 1].

    Args:
        tokenizer: Tokenizer of the record.
        example: The record.
        answer: What the model says.
        facts: Whether the share of the marked facts that occur in the answer counts, whatever their case and
            punctuation, NaN for a record without any; else the ROUGE-L recall of the response. Sets can be compared
            by one of them only, as most words of a response are its form.
    """
    if not facts:
        return _rouge_l(labelled_text(tokenizer, example), answer)
    if not example.marked:
        return math.nan
    said = f" {' '.join(words_of(answer))} "
    return sum(f" {' '.join(words_of(fact))} " in said for fact in example.marked) / len(example.marked)


def labelled_text(tokenizer: Any, example: Example) -> str:
    """Return the labelled text of a record, without the token that ends it."""
    unspoken = {IGNORED, tokenizer.eos_token_id}
    return str(tokenizer.decode([label for label in example.labels if label not in unspoken]))


@cache
def _scorer() -> Any:
    from rouge_score.rouge_scorer import RougeScorer  # seconds of imports, which a configuration does not need

    return RougeScorer(["rougeL"], use_stemmer=True)


def _rouge_l(truth: str, answer: str) -> float:
    # The scorer returns the integer 0 for an empty answer.
    return float(_scorer().score(truth, answer)["rougeL"].recall)


def uniform_draws(example: Example, count: int, length: int) -> Float[Tensor, "count length"]:
    """Return the random numbers that sample a record's continuations: its own, whatever it is measured with.

    Two models are thus sampled by the same numbers, and neither batches nor processes change an answer.
    """
    digest = hashlib.blake2b(repr(example.input_ids).encode(), digest_size=7).digest()
    return torch.rand(count, length, generator=torch.Generator().manual_seed(int.from_bytes(digest, "big")))


def decoded(tokenizer: Any, tokens: Sequence[int]) -> str:
    """Return an answer as text, without the end-of-sequence token that ends it."""
    eos = tokenizer.eos_token_id
    return str(tokenizer.decode(tokens[:-1] if list(tokens[-1:]) == [eos] else tokens)).strip()


def end_tokens(tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer."""
    return frozenset() if tokenizer.eos_token_id is None else frozenset({tokenizer.eos_token_id})


_LARGEST_NLL = 700.0  # its exponential is the largest that a float holds


def token_nll(
    model: nn.Module, examples: Sequence[Example], *, batch_size: int = 4
) -> tuple[Float[Tensor, " count"], Float[Tensor, " count"]]:
    """Return the summed negative log-likelihood of each record's labelled tokens, in nats, and how many there are."""
    sums = torch.zeros(len(examples), dtype=torch.float64)
    counts = torch.zeros(len(examples), dtype=torch.float64)
    with evaluation_mode(model):
        for batch in labelled_batches(model, examples, batch_size):
            sums[batch.indices] = -token_log_probs(batch.logits, batch.labels).double().sum(dim=1).cpu()
            counts[batch.indices] = (batch.labels != IGNORED).sum(dim=1).double().cpu()
    return sums, counts


def perplexity(model: nn.Module, examples: Sequence[Example], *, batch_size: int = 4) -> float:
    """Return exp of the mean negative log-likelihood over all labelled tokens of all records."""
    sums, counts = token_nll(model, examples, batch_size=batch_size)
    return bounded_exp((sums.sum() / counts.sum()).item())


def bounded_exp(nll: float) -> float:
    """Return exp of a mean negative log-likelihood, of a collapsed model the largest that a float holds."""
    return math.exp(min(nll, _LARGEST_NLL))
