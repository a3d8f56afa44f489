"""A model's own answers, whatever they say: do they stutter, run on or fall silent, would another model expect them?"""

import itertools
import re
from collections import Counter
from collections.abc import Collection, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED, Example
from myosotis.unlearning.language.audit.answers import labelled_batches
from myosotis.unlearning.language.methods.forward import evaluation_mode

EXPECTED = 100
"""A token is expected where it is among so many likeliest ones."""

OF_ORIGINAL = ("answer_surprise", "answer_nll")
"""The figures that take the model before unlearning."""

_MIN_SHARING = 4
"""With fewer subjects no word is known to be none of theirs."""

_WORD = re.compile(r"\w+")


def repetition(tokens: Sequence[int]) -> float:
    """Return the share of token pairs that have stood in the answer before, ``seq-rep-2``.

    (Welleck et al., "Neural Text Generation with Unlikelihood Training", ICLR 2020.)

    Example:
        >>> repetition([5, 6, 7, 8]), repetition([5, 6, 6, 6, 6]), repetition([5])
        (0.0, 0.5, 0.0)
    """
    pairs = list(itertools.pairwise(tokens))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def form_of(answers: Sequence[Sequence[int]], ends: Collection[int]) -> dict[str, Float[Tensor, " count"]]:
    """Return what the form of each answer shows, without looking at what it says.

    Args:
        answers: Tokens of each greedy answer, with the token that ends it.
        ends: Tokens that end an answer.

    Returns:
        ``answer_repetition``, ``answer_length`` in tokens, ``answer_runs_on``: 1 where an answer does not end, and
        ``answer_silence``: 1 where it has no token but the one that ends it.

    Example:
        >>> form = form_of([[5, 6, 0], [5, 5, 5]], {0})
        >>> form["answer_repetition"], form["answer_runs_on"]
        (tensor([0.0000, 0.5000]), tensor([0., 1.]))
    """
    said = [[token for token in row if token not in ends] for row in answers]
    return {
        "answer_repetition": torch.tensor([repetition(row) for row in said]),
        "answer_length": torch.tensor([float(len(row)) for row in said]),
        "answer_runs_on": torch.tensor([float(bool(row) and row[-1] not in ends) for row in answers]),
        "answer_silence": torch.tensor([float(not row) for row in said]),
    }


def expected_by(
    original: nn.Module, examples: Sequence[Example], answers: Sequence[Sequence[int]], *, batch_size: int = 16
) -> dict[str, Float[Tensor, " count"]]:
    """Return what the model before makes of answers: a wrong fact surprises it in one place, a broken model everywhere.

    Args:
        original: The model before unlearning.
        examples: The records that were asked about.
        answers: Tokens of each answer, which may be of another model.
        batch_size: Answers per forward pass.

    Returns:
        ``answer_surprise``, the share of tokens that are not among the 100 likeliest ones, and ``answer_nll``, the mean
        negative log-likelihood of a token in nats; NaN for an answer without tokens.

    Raises:
        DivergedError: The logits are not finite.
    """
    values = {name: torch.full((len(examples),), torch.nan) for name in OF_ORIGINAL}
    said = [index for index, answer in enumerate(answers) if answer]
    spoken = [_spoken(examples[index], answers[index]) for index in said]
    with evaluation_mode(original):
        for batch in labelled_batches(original, spoken, batch_size):
            for index, logits, labels in zip(batch.indices, batch.logits, batch.labels, strict=True):
                there = labels != IGNORED
                log_p = logits[there].float().log_softmax(dim=-1)
                own = log_p.gather(-1, labels[there].unsqueeze(-1))
                unexpected = (log_p > own).sum(dim=-1) >= EXPECTED
                values["answer_surprise"][said[index]] = unexpected.double().mean().item()
                values["answer_nll"][said[index]] = -own.mean().item()
    return values


def _spoken(example: Example, answer: Sequence[int]) -> Example:
    """A record with another answer; without a prompt its first token stays, as it is where the answer begins."""
    start = max(example.response_start, 1)
    return Example(
        (*example.input_ids[:start], *answer),
        (*[IGNORED] * start, *answer),
        (False,) * (start + len(answer)),
    )


def shared_words(texts: Sequence[tuple[str | int, str]]) -> set[str]:
    """Return the words that at least half of the subjects share: the form of a text, which is nobody's secret.

    Args:
        texts: Subject and text of each record; of less than four subjects nothing is shared.

    Example:
        >>> texts = ["Born in Rome.", "born in Oslo", "It is in Bonn", "In Lima"]
        >>> sorted(shared_words(list(enumerate(texts))))
        ['born', 'in']
    """
    words: dict[str | int, set[str]] = {}
    for subject, text in texts:
        words.setdefault(subject, set()).update(_WORD.findall(text.casefold()))
    counts = Counter(word for own in words.values() for word in own)
    return {word for word, count in counts.items() if len(words) >= _MIN_SHARING and 2 * count >= len(words)}


def masked(text: str, words: Collection[str]) -> str:
    """Return a text in which all words but these are masked, however long.

    Example:
        >>> masked("She was born, born in Rome.", {"was", "born", "in"})
        '▒▒▒ was born, born in ▒▒▒.'
    """
    return _WORD.sub(lambda word: word[0] if word[0].casefold() in words else "▒▒▒", text)
