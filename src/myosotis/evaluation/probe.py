"""Probes of a frozen representation: a linear classifier, and the nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import as_double
from myosotis.engine.seeding import generator

PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
"""Penalties that a linear probe chooses from by default, strongest first."""

_CHUNK, _VOTERS = 2048, 1024
_STEPS = 2**24  # of cosines: neighbours whose cosines differ by less are equally near


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised features.

    Attributes:
        accuracy: Accuracy on the test features.
        penalty: Penalty that was chosen.
        classes: Label of each row, ascending.
        weight: Weight for raw features: standardisation is folded in.
        bias: Bias for raw features.
        count: Number of samples that it was fitted on.
    """

    accuracy: float
    penalty: float
    classes: Int[Tensor, " classes"]
    weight: Float[Tensor, "classes features"]
    bias: Float[Tensor, " classes"]
    count: int

    def scores(self, features: Float[Tensor, "n features"]) -> Float[Tensor, "n classes"]:
        """Return the logits."""
        return functional.linear(features.to(self.weight), self.weight, self.bias)


def balanced_indices(labels: Int[Tensor, " n"], per_class: int, seed: int) -> Int[Tensor, " k"]:
    """Return the indices of ``per_class`` samples of each class, drawn without replacement, in ascending order.

    Raises:
        SettingsError: A class has fewer samples.

    Example:
        >>> labels = torch.tensor([0, 1, 0, 1, 0])
        >>> labels[balanced_indices(labels, 2, seed=0)].bincount().tolist()
        [2, 2]
    """
    drawn = []
    for label in labels.unique().tolist():
        indices = (labels == label).nonzero().flatten().cpu()
        if len(indices) < per_class:
            raise SettingsError(f"class {label} has {len(indices)} samples, expected {per_class}")
        drawn.append(indices[torch.randperm(len(indices), generator=generator(seed, "balanced", label))[:per_class]])
    return torch.cat(drawn).sort().values


def share_indices(labels: Int[Tensor, " n"], share: float, seed: int) -> Int[Tensor, " k"]:
    """Return the indices of a share of each class, at least one, drawn without replacement, in ascending order.

    Raises:
        SettingsError: The share is not in (0, 1].

    Example:
        >>> labels = torch.tensor([0] * 10 + [1] * 20)
        >>> labels[share_indices(labels, 0.2, seed=0)].bincount().tolist()
        [2, 4]
    """
    if not 0 < share <= 1:
        raise SettingsError(f"a share must be in (0, 1], got {share}")
    drawn = []
    for label in labels.unique().tolist():
        indices = (labels == label).nonzero().flatten().cpu()
        count = max(1, round(share * len(indices)))
        drawn.append(indices[torch.randperm(len(indices), generator=generator(seed, "share", label))[:count]])
    return torch.cat(drawn).sort().values


def linear_probe(
    train: Float[Tensor, "n features"],
    train_labels: Int[Tensor, " n"],
    test: Float[Tensor, "m features"],
    test_labels: Int[Tensor, " m"],
    *,
    mode: Literal["full", "balanced"] = "full",
    per_class: int = 20,
    penalties: Sequence[float] = PENALTIES,
    share: float = 0.1,
    seed: int = 0,
    iterations: int = 200,
) -> Probe:
    """Fit softmax regression to frozen features and return it with its accuracy.

    Minimises the mean cross-entropy plus ``λ/2 |W|²`` by L-BFGS in float64, on features that are standardised with the
    statistics of the training features. λ is chosen by the accuracy on a part of the training features, the stronger
    of two equal ones; then the probe is fitted to all of them.

    Args:
        train: Features to learn from, on any device.
        train_labels: Classes of the training features; any integers.
        test: Test features.
        test_labels: Classes of the test features.
        mode: ``"full"`` takes all training features; ``"balanced"`` ``per_class`` of each class.
        per_class: Samples per class, for ``"balanced"``.
        penalties: Values of λ to choose from; a single one is not selected.
        share: Share of each class on which λ is selected; at least one sample.
        seed: Seed of the draw and of the split.
        iterations: Largest number of L-BFGS iterations.

    Raises:
        SettingsError: A class has too few samples, there is one class, or there are no test features.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.2], [0.9], [1.0], [1.1]])
        >>> labels = torch.tensor([3, 3, 3, 8, 8, 8])
        >>> linear_probe(features, labels, features, labels, penalties=(0.01,)).accuracy
        1.0
    """
    if not len(test_labels):
        raise SettingsError("no test features given")
    if mode == "balanced":
        indices = balanced_indices(train_labels, per_class, seed).to(train.device)
        train, train_labels = train[indices], train_labels[indices]
    classes, numbers = train_labels.unique(return_inverse=True)
    if len(classes) < 2:
        raise SettingsError("a probe needs at least two classes")
    features = as_double(train.detach())
    classes, numbers = classes.to(features.device), numbers.to(features.device)
    ordered = sorted(penalties, reverse=True)
    penalty = ordered[0]
    if len(ordered) > 1:
        held = _held_out(numbers, share, seed)
        penalty = _best_penalty(features, numbers, held, ordered, iterations)
    weight, bias = _fit(features, numbers, len(classes), [penalty], iterations)[0]
    predictions = classes[functional.linear(as_double(test.detach()), weight, bias).argmax(1)]
    accuracy = (predictions == test_labels.to(predictions.device)).double().mean().item()
    return Probe(accuracy, penalty, classes, weight, bias, len(features))


def knn_probe(
    train: Float[Tensor, "n features"],
    train_labels: Int[Tensor, " n"],
    test: Float[Tensor, "m features"],
    test_labels: Int[Tensor, " m"],
    *,
    k: int = 20,
    temperature: float = 0.07,
    memory: int = 2**26,
) -> float:
    """Return the accuracy of a vote of the nearest neighbours by cosine, weighted by ``exp(cos / temperature)``.

    Wu, Xiong, Yu, Lin (CVPR 2018). Cosines are taken in float64 and rounded to steps of 2^-24; of equal ones the voter
    with the smaller index is nearer, and of classes with equal votes the smaller one wins.

    Args:
        train: Features that vote.
        train_labels: Classes of the voting features.
        test: Test features.
        test_labels: Classes of the test features.
        k: Number of votes; at most the size of the smallest class.
        temperature: Temperature, above 0.
        memory: Bytes that are used beside the features, roughly; the answers do not depend on them.

    Raises:
        SettingsError: There are no features on one side, one is not finite, or a number is out of range.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> knn_probe(features, torch.tensor([4, 4, 7, 7]), features, torch.tensor([4, 4, 7, 7]), k=1)
        1.0
    """
    if not len(train_labels) or not len(test_labels):
        raise SettingsError("expected training and test features")
    if min(k, memory) < 1 or temperature <= 0:
        raise SettingsError(f"k, memory and temperature must be positive, got {k}, {memory} and {temperature}")
    classes, numbers = train_labels.unique(return_inverse=True)
    count = min(k, int(torch.bincount(numbers).min()))
    (voters, features), doubles = train.shape, memory // 8
    # At most half of it for voters of unit length, half for test features, their cosines with these and the keys. Many
    # test features at once, since voters are scaled again for each part of them.
    at_once = min(voters, max(count, min(_VOTERS, doubles // (2 * features))))
    chunk = max(1, min(_CHUNK, doubles // (2 * (2 * at_once + 2 * count + features))))
    correct = 0
    for part, labels in zip(test.detach().split(chunk), test_labels.split(chunk), strict=True):
        asked = _unit(part, "test")
        # The rounded cosine and, after it, the index: no two are equal.
        keys = torch.empty(len(part), 0, dtype=torch.long, device=asked.device)
        for begin in range(0, voters, at_once):
            those = _unit(train[begin : begin + at_once].detach(), "training")
            cosines = (asked @ those.T).mul_(_STEPS).round_().long()
            backwards = torch.arange(voters - 1 - begin, voters - 1 - begin - len(those), -1, device=asked.device)
            best = cosines.mul_(voters).add_(backwards).topk(min(count, len(those)), dim=1).values
            keys = torch.cat([keys, best], dim=1)
            keys = keys.topk(min(count, keys.shape[1]), dim=1).values
        rounded = keys.div(voters, rounding_mode="floor")
        nearest = voters - 1 - (keys - rounded * voters)
        # Only differences matter; the largest vote is 1.
        votes = ((rounded - rounded[:, :1]) / (_STEPS * temperature)).double().exp()
        totals = votes.new_zeros(len(part), len(classes))
        totals.scatter_add_(1, numbers.to(nearest.device)[nearest], votes)
        # Sums of equal votes may differ in their last digits, by their order.
        winners = (totals * 2**32).round().argmax(1).to(classes.device)
        correct += int((classes[winners] == labels.to(classes.device)).sum())
    return correct / len(test_labels)


def _unit(features: Tensor, side: str) -> Tensor:
    """The vectors of length 1, in float64."""
    if not bool(features.isfinite().all()):
        raise SettingsError(f"{side} features hold infinity or NaN")
    return functional.normalize(as_double(features), dim=1)


def _held_out(numbers: Tensor, share: float, seed: int) -> Tensor:
    held = torch.zeros(len(numbers), dtype=torch.bool)
    for label in range(int(numbers.max()) + 1):
        indices = (numbers == label).nonzero().flatten().cpu()
        count = max(1, round(share * len(indices)))
        if count >= len(indices):
            raise SettingsError(
                f"a class of {len(indices)} samples is too small to select the penalty with; give one penalty"
            )
        held[indices[torch.randperm(len(indices), generator=generator(seed, "probe", label))[:count]]] = True
    return held.to(numbers.device)


def _best_penalty(
    features: Tensor, numbers: Tensor, held: Tensor, penalties: Sequence[float], iterations: int
) -> float:
    fits = _fit(features[~held], numbers[~held], int(numbers.max()) + 1, penalties, iterations)
    scores = [
        (functional.linear(features[held], weight, bias).argmax(1) == numbers[held]).double().mean().item()
        for weight, bias in fits
    ]
    return penalties[max(range(len(scores)), key=lambda index: (scores[index], -index))]


def _fit(
    features: Tensor, numbers: Tensor, classes: int, penalties: Sequence[float], iterations: int
) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias for each penalty, each fit starting from the previous one."""
    mean = features.mean(0)
    deviation = features.std(0, unbiased=False)
    # A constant feature has no information, whatever it is divided by.
    deviation = torch.where(deviation > 1e-8 * (1 + mean.abs()), deviation, 1.0)
    standard = (features - mean) / deviation
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, device=features.device, requires_grad=True)
    fits = []
    for penalty in penalties:
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=iterations, tolerance_grad=1e-6, history_size=20, line_search_fn="strong_wolfe"
        )

        def closure(penalty: float = penalty, optimizer: torch.optim.LBFGS = optimizer) -> Tensor:
            optimizer.zero_grad()
            value = functional.cross_entropy(functional.linear(standard, weight, bias), numbers)
            value = value + penalty / 2 * weight.square().sum()
            value.backward()
            return value

        optimizer.step(closure)
        folded = weight.detach() / deviation
        fits.append((folded.clone(), (bias.detach() - folded @ mean).clone()))
    return fits
