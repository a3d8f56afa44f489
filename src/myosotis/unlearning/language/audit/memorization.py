"""Memorisation of texts: memorisation accuracy, extraction likelihood, thresholds of forgetting.

(Jang et al., "Knowledge Unlearning for Mitigating Privacy Risks in Language Models", ACL 2023, eqs. 2 to 5.)
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.engine.errors import SettingsError
from myosotis.engine.progress import progress
from myosotis.evaluation.comparison import TOLERANCE
from myosotis.unlearning.language.audit.greedy import GreedyPass, greedy_passes
from myosotis.unlearning.language.methods.forward import evaluation_mode

Sequences = Sequence[Int[Tensor, " _"]]


def _check_sequences(sequences: Sequences, starts: Sequence[int] | None, shortest: int, reason: str) -> list[int]:
    """Return the starts, 1 for each sequence where none are given, after checking the sequences."""
    if not len(sequences):
        raise ValueError("no sequence given")
    starts = [1] * len(sequences) if starts is None else list(starts)
    if len(starts) != len(sequences) or min(starts) < 1:
        raise ValueError("starts must hold one position of at least 1 per sequence")
    for index, sequence in enumerate(sequences):
        if sequence.ndim != 1 or sequence.is_floating_point():
            raise TypeError(f"sequence {index} must be a 1-D tensor of token ids, got shape {tuple(sequence.shape)}")
        if len(sequence) - starts[index] < shortest:
            given = f"{len(sequence)} tokens" + (f", {starts[index]} of them prompt" if starts[index] > 1 else "")
            raise ValueError(
                f"sequence {index} has {given}; {reason} needs at least {shortest} beyond the first prefix"
            )
    return starts


def accuracies(greedy: GreedyPass, starts: Sequence[int]) -> list[float]:
    """Return the memorisation accuracy of each sequence of a pass, see :func:`memorization_accuracy`."""
    return [
        sum(choice == token for choice, token in zip(choices[start - 1 : -1], sequence[start:].tolist(), strict=True))
        / (len(sequence) - start)
        for choices, sequence, start in zip(greedy.choices, greedy.sequences, starts, strict=True)
    ]


def _overlap(generated: Sequence[int], truth: Sequence[int], n: int) -> float:
    """Share of the generated n-grams, counted with multiplicity, that stand in the truth; equal lengths."""
    known = {tuple(truth[start : start + n]) for start in range(len(truth) - n + 1)}
    grams = [tuple(generated[start : start + n]) for start in range(len(generated) - n + 1)]
    return sum(gram in known for gram in grams) / len(grams)


def _sampled(sequence: Tensor, first: int, last: int, prefixes: int | None) -> list[int]:
    """Prefix lengths from first to last: all, or some at equal distances from a start that the sequence itself draws.

    Each prefix has the same chance to be in it, so a mean over the sample is an unbiased estimate of that over all; and
    two models are measured from the same prefixes.
    """
    count = last - first + 1
    if prefixes is None or prefixes >= count:
        return list(range(first, last + 1))
    digest = hashlib.blake2b(sequence.cpu().long().numpy().tobytes(), digest_size=6).digest()
    start = int.from_bytes(digest, "big") / 2**48
    return [first + int((start + index) * count / prefixes) for index in range(prefixes)]


def affordable_prefixes(sequences: Sequences, starts: Sequence[int], n: int, budget: int) -> int | None:
    """Return how many prefixes of each sequence a budget of generated tokens allows for; None for all of them.

    It counts as if no token of a sequence were known, so it depends on no model: all models of a comparison are
    measured alike.

    Args:
        sequences: 1-D tensors of token ids.
        starts: The shortest prefix of each.
        n: n of the extraction likelihood; a prefix leaves at least as many tokens.
        budget: Tokens to generate for all sequences together.

    Example:
        >>> sequences = [torch.arange(11)] * 10
        >>> affordable_prefixes(sequences, [1] * 10, 1, budget=550), affordable_prefixes(sequences, [1] * 10, 1, 220)
        (None, 4)
    """
    rests = [range(n, len(sequence) - start + 1) for sequence, start in zip(sequences, starts, strict=True)]
    if sum(sum(rest) for rest in rests) <= budget:
        return None
    of_one_prefix = sum(sum(rest) / len(rest) for rest in rests if len(rest))
    return max(1, int(budget / of_one_prefix))


def likelihoods_of(
    greedy: GreedyPass, starts: Sequence[int], ns: Sequence[int], prefixes: int | None
) -> dict[int, list[float]]:
    """Return the extraction likelihood by n and sequence of a pass, NaN where one is too short.

    Arguments are those of :func:`memorization_by_n`.
    """
    begins = {
        n: [
            (row, length)
            for row, (sequence, start) in enumerate(zip(greedy.sequences, starts, strict=True))
            for length in _sampled(sequence, start, len(sequence) - n, prefixes)
        ]
        for n in ns
    }
    # A prefix that several n are measured from is continued once.
    asked = sorted({begin for rows in begins.values() for begin in rows})
    rests = [len(greedy.sequences[row]) - length for row, length in asked]
    rolled = dict(
        zip(
            asked, greedy.continuations([(*begin, rest) for begin, rest in zip(asked, rests, strict=True)]), strict=True
        )
    )
    likelihoods: dict[int, list[float]] = {}
    for n, rows in begins.items():
        overlaps: list[list[float]] = [[] for _ in greedy.sequences]
        for row, length in rows:
            overlaps[row].append(_overlap(rolled[row, length], greedy.sequences[row][length:].tolist(), n))
        likelihoods[n] = [sum(values) / len(values) if values else math.nan for values in overlaps]
    return likelihoods


def memorization(
    model: nn.Module,
    sequences: Sequences,
    n: int = 10,
    *,
    starts: Sequence[int] | None = None,
    prefixes: int | None = None,
    batch_size: int = 16,
) -> tuple[Float[Tensor, " count"], Float[Tensor, " count"]]:
    """Return :func:`memorization_accuracy` and :func:`extraction_likelihood` from one teacher-forced pass."""
    accuracy, likelihoods = memorization_by_n(
        model, sequences, (n,), starts=starts, prefixes=prefixes, batch_size=batch_size
    )
    return accuracy, likelihoods[n]


def memorization_by_n(
    model: nn.Module,
    sequences: Sequences,
    ns: Sequence[int],
    *,
    starts: Sequence[int] | None = None,
    prefixes: int | None = None,
    batch_size: int = 16,
) -> tuple[Float[Tensor, " count"], dict[int, Float[Tensor, " count"]]]:
    """Return memorisation accuracy, and extraction likelihood for several n at the cost of the smallest.

    Args:
        model: See :func:`extraction_likelihood`.
        sequences: Long enough for the smallest n; NaN where one is too short for another.
        ns: Lengths of the n-grams.
        starts: See :func:`extraction_likelihood`.
        prefixes: See :func:`extraction_likelihood`.
        batch_size: Sequences per forward pass.

    Raises:
        ValueError: No n or sequence was given, or one is too short for the smallest n.
        TypeError: A sequence is not a 1-D integer tensor.
    """
    if not ns or min(ns) < 1 or batch_size < 1 or (prefixes is not None and prefixes < 1):
        raise ValueError(f"n, prefixes and batch_size must be at least 1, got {list(ns)}, {prefixes} and {batch_size}")
    starts = _check_sequences(sequences, starts, min(ns), f"extraction likelihood with n={min(ns)}")
    accuracy = torch.zeros(len(sequences))
    likelihoods = {n: torch.zeros(len(sequences)) for n in ns}
    with evaluation_mode(model), progress("measuring memorisation", len(sequences)) as ticker:
        for indices, greedy in greedy_passes(model, sequences, starts, batch_size, ticker):
            chunk_starts = [starts[index] for index in indices]
            accuracy[indices] = torch.tensor(accuracies(greedy, chunk_starts))
            for n, values in likelihoods_of(greedy, chunk_starts, ns, prefixes).items():
                likelihoods[n][indices] = torch.tensor(values)
    return accuracy, likelihoods


def memorization_accuracy(
    model: nn.Module, sequences: Sequences, *, starts: Sequence[int] | None = None, batch_size: int = 16
) -> Float[Tensor, " count"]:
    r"""Share of tokens that the model predicts greedily from the true tokens before them.

    $$\mathrm{MA}(x) = \frac{1}{T-1}\sum_{t=1}^{T-1} 1\{\arg\max p(\cdot \mid x_{\le t}) = x_{t+1}\}$$

    Args:
        model: A causal language model: called with ``input_ids`` (and what else its forward takes of
            ``attention_mask``, ``position_ids``, ``past_key_values``, ``use_cache``), returns logits.
        sequences: 1-D tensors of token ids, at least 2 each.
        starts: First position that counts in each sequence, the length of its prompt; 1, as in the paper, if not given.
        batch_size: Sequences per forward pass; does not change the values.

    Returns:
        One value in [0, 1] per sequence, on the CPU.

    Raises:
        ValueError: No sequence was given or one is too short.
        TypeError: A sequence is not a 1-D integer tensor.
    """
    starts = _check_sequences(sequences, starts, 1, "memorisation accuracy")
    values = torch.zeros(len(sequences))
    with evaluation_mode(model):
        for indices, greedy in greedy_passes(model, sequences, starts, batch_size):
            values[indices] = torch.tensor(accuracies(greedy, [starts[index] for index in indices]))
    return values


def extraction_likelihood(
    model: nn.Module,
    sequences: Sequences,
    n: int = 10,
    *,
    starts: Sequence[int] | None = None,
    prefixes: int | None = None,
    batch_size: int = 16,
) -> Float[Tensor, " count"]:
    r"""Share of a text's n-grams that the model's own continuations of its prefixes give back.

    $$\mathrm{EL}_n(x) = \frac{1}{T-n}\sum_{t=1}^{T-n} \mathrm{OVERLAP}_n(f(x_{\le t}), x_{>t})$$

    f is the greedy continuation of exactly T - t tokens; OVERLAP is the share of its n-grams, with multiplicity, that
    stand in the true suffix. Exact: where the greedy choice is the true token, two prefixes share their continuation,
    so only mismatches cost a rollout, batched and from one key-value cache. A memorised text costs one forward pass.
    The continuation does not stop at an end-of-sequence token, as shorter ones would change the measure.

    Args:
        model: See :func:`memorization_accuracy`.
        sequences: 1-D tensors of token ids, at least n + 1 each.
        n: Length of the n-grams; 10 in the paper.
        starts: The shortest prefix of each sequence, e.g. its prompt; 1, as in the paper, if not given. A question
            that was never trained on says nothing about memory, so records with a prompt are measured from there.
        prefixes: Largest number of prefixes of each sequence, at equal distances from a start that the sequence draws;
            all of them, which is exact, unless given. A sample estimates the value of each sequence without bias, and
            the mean over sequences with an error that its interval over sequences holds already.
        batch_size: Sequences per forward pass; does not change the values.

    Returns:
        One value in [0, 1] per sequence, on the CPU.

    Raises:
        ValueError: No sequence was given or one is too short for n.
        TypeError: A sequence is not a 1-D integer tensor.
    """
    return memorization(model, sequences, n, starts=starts, prefixes=prefixes, batch_size=batch_size)[1]


@dataclass(frozen=True)
class Thresholds:
    """Measures of unseen texts: the level at which a text counts as forgotten.

    Attributes:
        extraction_likelihood: Mean over the unseen sequences.
        memorization_accuracy: Mean over the unseen sequences.
        n: n of the extraction likelihood.
        length: Mean length of the unseen sequences, beyond the prompt where there is one, in tokens.
        lengths: Shortest and longest of these lengths.
        count: Number of unseen sequences.
        extraction_likelihood_error: Standard error of the mean; None for a single sequence.
        memorization_accuracy_error: Standard error of the mean.
        length_tolerance: Relative tolerance of the lengths of other sequences, below the shortest and above the
            longest of them.
        prefixes: Largest number of prefixes of each sequence that the extraction likelihood was measured from; None
            for all.
    """

    extraction_likelihood: float
    memorization_accuracy: float
    n: int
    length: float
    lengths: tuple[int, int]
    count: int
    extraction_likelihood_error: float | None
    memorization_accuracy_error: float | None
    length_tolerance: float = 0.0
    prefixes: int | None = None

    @property
    def range(self) -> tuple[float, float]:
        """Shortest and longest length that can be compared, within rounding."""
        return _range(self.lengths, self.length_tolerance)

    def check_comparable(self, sequences: Sequences, n: int, starts: Sequence[int] | None = None) -> None:
        """Refuse sequences that cannot be compared: both measures depend on n and on the length.

        Args:
            sequences: Sequences to compare.
            n: n of their extraction likelihood.
            starts: See :func:`extraction_likelihood`.

        Raises:
            ValueError: n differs, or a length is out of the calibrated range.
        """
        if n != self.n:
            raise SettingsError(f"these thresholds were calibrated with n={self.n}; n={n} cannot be compared with them")
        check_lengths(measured_lengths(sequences, starts), self.lengths, self.length_tolerance)

    def forgotten(self, accuracy: Float[Tensor, " count"], likelihood: Float[Tensor, " count"]) -> bool:
        """Whether both means lie at or below the thresholds, within rounding; the authors' rule without its ties."""
        return (
            accuracy.double().mean().item() <= self.memorization_accuracy + TOLERANCE
            and likelihood.double().mean().item() <= self.extraction_likelihood + TOLERANCE
        )

    def forgotten_each(
        self,
        model: nn.Module,
        sequences: Sequences,
        *,
        starts: Sequence[int] | None = None,
        batch_size: int = 16,
    ) -> list[bool]:
        """Whether each sequence is forgotten: both of its values at or below the thresholds.

        Raises:
            ValueError: The sequences are not comparable, see :meth:`check_comparable`.
        """
        self.check_comparable(sequences, self.n, starts)
        accuracy, likelihood = memorization(
            model, sequences, self.n, starts=starts, prefixes=self.prefixes, batch_size=batch_size
        )
        below = (accuracy.double() <= self.memorization_accuracy + TOLERANCE) & (
            likelihood.double() <= self.extraction_likelihood + TOLERANCE
        )
        return [bool(value) for value in below]


def measured_lengths(sequences: Sequences, starts: Sequence[int] | None) -> list[int]:
    """Return how many tokens are measured: all of a sequence, or those from the last token of its prompt on."""
    begins = [1] * len(sequences) if starts is None else starts
    return [len(sequence) - start + 1 for sequence, start in zip(sequences, begins, strict=True)]


def check_lengths(lengths: Sequence[int], calibrated: tuple[int, int], tolerance: float) -> None:
    """Refuse to compare sequences whose lengths are out of a range.

    Args:
        lengths: In tokens, see :func:`measured_lengths`.
        calibrated: Shortest and longest length of the sequences that thresholds come from.
        tolerance: Relative tolerance beyond that range.

    Raises:
        SettingsError: A length is out of the range.
    """
    shortest, longest = calibrated
    low, high = _range(calibrated, tolerance)
    for length in lengths:
        if not low <= length <= high:
            spread = f"{shortest}" if shortest == longest else f"{shortest} to {longest}"
            raise SettingsError(
                f"these thresholds were calibrated on sequences of {spread} tokens; one of {length} cannot be compared "
                f"with them (relative tolerance {tolerance:g})"
            )


def _range(lengths: tuple[int, int], tolerance: float) -> tuple[float, float]:
    return lengths[0] * (1 - tolerance) - 1e-9, lengths[1] * (1 + tolerance) + 1e-9


def _mean_and_error(values: Tensor) -> tuple[float, float | None]:
    error = values.double().std().item() / math.sqrt(len(values)) if len(values) > 1 else None
    return values.double().mean().item(), error


def calibrate_thresholds(
    model: nn.Module,
    unseen: Sequences,
    n: int = 10,
    *,
    starts: Sequence[int] | None = None,
    length_tolerance: float = 0.0,
    prefixes: int | None = None,
    batch_size: int = 16,
) -> Thresholds:
    """Measure a model, before unlearning, on text that it was never trained on.

    Args:
        model: The model before unlearning.
        unseen: Sequences of the same kind and length as those to be forgotten, never seen in training.
        n: n of the extraction likelihood.
        starts: See :func:`extraction_likelihood`.
        length_tolerance: Relative tolerance of lengths, for sequences of mixed length.
        prefixes: See :func:`extraction_likelihood`.
        batch_size: Sequences per forward pass.

    Returns:
        The thresholds, which refuse comparison with another n or length.

    Raises:
        ValueError: No sequence was given or one is too short for n.
    """
    accuracy, likelihood = memorization(model, unseen, n, starts=starts, prefixes=prefixes, batch_size=batch_size)
    return thresholds_of(
        accuracy, likelihood, measured_lengths(unseen, starts), n, length_tolerance=length_tolerance, prefixes=prefixes
    )


def thresholds_of(
    accuracy: Float[Tensor, " count"],
    likelihood: Float[Tensor, " count"],
    lengths: Sequence[int],
    n: int,
    *,
    length_tolerance: float = 0.0,
    prefixes: int | None = None,
) -> Thresholds:
    """Return the thresholds that measurements of unseen sequences give.

    Args:
        accuracy: Memorisation accuracy of each sequence under the model before unlearning.
        likelihood: Extraction likelihood of each.
        lengths: See :func:`measured_lengths`.
        n: n of the extraction likelihood.
        length_tolerance: See :func:`calibrate_thresholds`.
        prefixes: See :func:`extraction_likelihood`.
    """
    (mean_accuracy, accuracy_error), (mean_likelihood, likelihood_error) = map(_mean_and_error, (accuracy, likelihood))
    return Thresholds(
        extraction_likelihood=mean_likelihood,
        memorization_accuracy=mean_accuracy,
        n=n,
        length=sum(lengths) / len(lengths),
        lengths=(min(lengths), max(lengths)),
        count=len(lengths),
        extraction_likelihood_error=likelihood_error,
        memorization_accuracy_error=accuracy_error,
        length_tolerance=length_tolerance,
        prefixes=prefixes,
    )
