"""Probes of a frozen representation: a linear classifier, and the nearest neighbours."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import generator

PENALTIES = (10.0, 1.0, 0.1, 1e-2, 1e-3, 1e-4)
"""Penalties that a linear probe chooses from by default, strongest first."""

_CHUNK = 2048


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
    features = train.detach().double()
    ordered = sorted(penalties, reverse=True)
    penalty = ordered[0]
    if len(ordered) > 1:
        held = _held_out(numbers, share, seed)
        penalty = _best_penalty(features, numbers, held, ordered, iterations)
    weight, bias = _fit(features, numbers, len(classes), [penalty], iterations)[0]
    predictions = classes[functional.linear(test.detach().double(), weight, bias).argmax(1)]
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

    Wu, Xiong, Yu, Lin (CVPR 2018).

    Args:
        train: Features that vote.
        train_labels: Classes of the voting features.
        test: Test features.
        test_labels: Classes of the test features.
        k: Number of votes; at most the size of the smallest class.
        temperature: Temperature, above 0.
        memory: Bytes that are used beside the features, roughly; the answers do not depend on them.

    Raises:
        SettingsError: There are no features on one side, or a number is out of range.

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
    features, floats = train.shape[1], memory // 4
    # Half of it for voters of unit length, half for test features and their cosines with these.
    at_once = min(len(train), max(count, floats // (2 * features)))
    chunk = max(1, min(_CHUNK, floats // (2 * (at_once + count + features))))
    correct = 0
    for part, labels in zip(test.detach().split(chunk), test_labels.split(chunk), strict=True):
        asked = functional.normalize(part.float(), dim=1)
        cosines = asked.new_empty(len(part), 0)
        nearest = torch.empty(len(part), 0, dtype=torch.long, device=asked.device)
        for begin in range(0, len(train), at_once):
            voters = functional.normalize(train[begin : begin + at_once].detach().float(), dim=1)
            best, rows = (asked @ voters.T).topk(min(count, len(voters)), dim=1)
            cosines, nearest = torch.cat([cosines, best], dim=1), torch.cat([nearest, rows + begin], dim=1)
            cosines, chosen = cosines.topk(min(count, cosines.shape[1]), dim=1)
            nearest = nearest.gather(1, chosen)
        # Only differences matter; the largest vote is 1.
        votes = ((cosines - cosines[:, :1]) / temperature).exp()
        totals = votes.new_zeros(len(part), len(classes)).scatter_add_(1, numbers[nearest], votes)
        correct += int((classes[totals.argmax(1)] == labels.to(classes.device)).sum())
    return correct / len(test_labels)


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
