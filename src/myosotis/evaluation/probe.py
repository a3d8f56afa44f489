"""How much a frozen representation knows: a linear probe, and the nearest neighbours."""

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
"""What a linear probe chooses from unless told otherwise, strongest first."""

_CHUNK = 2048
_COSINES = 2**27  # that are in memory at once, in single precision


@dataclass(frozen=True)
class Probe:
    """A linear classifier on standardised features.

    Attributes:
        accuracy: On the test features.
        penalty: The one that was chosen.
        classes: The labels that its rows stand for, ascending.
        weight: For features as they come: standardisation is folded in.
        bias: Likewise.
        count: Samples that it was fitted on.
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


def balanced_places(labels: Int[Tensor, " n"], per_class: int, seed: int) -> Int[Tensor, " k"]:
    """Return so many places of each class, drawn without replacement, in ascending order.

    Raises:
        SettingsError: A class has fewer.

    Example:
        >>> labels = torch.tensor([0, 1, 0, 1, 0])
        >>> labels[balanced_places(labels, 2, seed=0)].bincount().tolist()
        [2, 2]
    """
    chosen = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten().cpu()
        if len(places) < per_class:
            raise SettingsError(f"class {label} has {len(places)} samples, {per_class} were asked for")
        chosen.append(places[torch.randperm(len(places), generator=generator(seed, "balanced", label))[:per_class]])
    return torch.cat(chosen).sort().values


def share_places(labels: Int[Tensor, " n"], share: float, seed: int) -> Int[Tensor, " k"]:
    """Return a share of the places of each class, at least one, drawn without replacement, in ascending order.

    Raises:
        SettingsError: The share is not in (0, 1].

    Example:
        >>> labels = torch.tensor([0] * 10 + [1] * 20)
        >>> labels[share_places(labels, 0.2, seed=0)].bincount().tolist()
        [2, 4]
    """
    if not 0 < share <= 1:
        raise SettingsError(f"a share must be in (0, 1], got {share}")
    chosen = []
    for label in labels.unique().tolist():
        places = (labels == label).nonzero().flatten().cpu()
        count = max(1, round(share * len(places)))
        chosen.append(places[torch.randperm(len(places), generator=generator(seed, "share", label))[:count]])
    return torch.cat(chosen).sort().values


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
    statistics of what it is fitted on. λ is chosen by the accuracy on a part of the training features, the stronger one
    where two are equal; then all of them are fitted.

    Args:
        train: Features to learn from, on any device.
        train_labels: Their classes; any whole numbers.
        test: Features to be measured with.
        test_labels: Their classes.
        mode: ``"full"`` takes all training features; ``"balanced"`` ``per_class`` of each class.
        per_class: For ``"balanced"``.
        penalties: λ to choose from; a single one is taken as it is.
        share: Of each class, on which λ is chosen; at least one sample.
        seed: Of the draw and of the split.
        iterations: Of L-BFGS, at most.

    Raises:
        SettingsError: A class has too few samples, there is one class, or there is nothing to be measured with.

    Example:
        >>> features = torch.tensor([[0.0], [0.1], [0.2], [0.9], [1.0], [1.1]])
        >>> labels = torch.tensor([3, 3, 3, 8, 8, 8])
        >>> linear_probe(features, labels, features, labels, penalties=(0.01,)).accuracy
        1.0
    """
    if not len(test_labels):
        raise SettingsError("there is nothing to be measured with")
    if mode == "balanced":
        places = balanced_places(train_labels, per_class, seed).to(train.device)
        train, train_labels = train[places], train_labels[places]
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
    answers = classes[functional.linear(test.detach().double(), weight, bias).argmax(1)]
    accuracy = (answers == test_labels.to(answers.device)).double().mean().item()
    return Probe(accuracy, penalty, classes, weight, bias, len(features))


def knn_probe(
    train: Float[Tensor, "n features"],
    train_labels: Int[Tensor, " n"],
    test: Float[Tensor, "m features"],
    test_labels: Int[Tensor, " m"],
    *,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Return the accuracy of a vote of the nearest neighbours by cosine, weighed by ``exp(cos / temperature)``.

    Wu, Xiong, Yu, Lin (CVPR 2018).

    Args:
        train: Features that vote.
        train_labels: Their classes.
        test: Features to be measured with.
        test_labels: Their classes.
        k: How many vote; never more than the smallest class has.
        temperature: Positive.

    Raises:
        SettingsError: There is nothing to vote or to be measured with, or a number is out of range.

    Example:
        >>> features = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> knn_probe(features, torch.tensor([4, 4, 7, 7]), features, torch.tensor([4, 4, 7, 7]), k=1)
        1.0
    """
    if not len(train_labels) or not len(test_labels):
        raise SettingsError("needs features to vote and features to be measured with")
    if k < 1 or temperature <= 0:
        raise SettingsError(f"k must be at least 1 and the temperature positive, got {k} and {temperature}")
    classes, numbers = train_labels.unique(return_inverse=True)
    count = min(k, int(torch.bincount(numbers).min()))
    voters = functional.normalize(train.detach().float(), dim=1)
    right, chunk = 0, _tests_at_once(len(voters))
    for part, wanted in zip(test.detach().split(chunk), test_labels.split(chunk), strict=True):
        cosines, nearest = (functional.normalize(part.float(), dim=1) @ voters.T).topk(count, dim=1)
        # Only differences matter; this keeps the largest at one.
        votes = ((cosines - cosines[:, :1]) / temperature).exp()
        totals = votes.new_zeros(len(part), len(classes)).scatter_add_(1, numbers[nearest], votes)
        right += int((classes[totals.argmax(1)] == wanted.to(classes.device)).sum())
    return right / len(test_labels)


def _tests_at_once(voters: int) -> int:
    return max(1, min(_CHUNK, _COSINES // voters))


def _held_out(numbers: Tensor, share: float, seed: int) -> Tensor:
    held = torch.zeros(len(numbers), dtype=torch.bool)
    for label in range(int(numbers.max()) + 1):
        places = (numbers == label).nonzero().flatten().cpu()
        count = max(1, round(share * len(places)))
        if count >= len(places):
            raise SettingsError(
                f"a class of {len(places)} samples leaves none to choose the penalty with; give one penalty"
            )
        held[places[torch.randperm(len(places), generator=generator(seed, "probe", label))[:count]]] = True
    return held.to(numbers.device)


def _best_penalty(
    features: Tensor, numbers: Tensor, held: Tensor, penalties: Sequence[float], iterations: int
) -> float:
    fits = _fit(features[~held], numbers[~held], int(numbers.max()) + 1, penalties, iterations)
    scores = [
        (functional.linear(features[held], weight, bias).argmax(1) == numbers[held]).double().mean().item()
        for weight, bias in fits
    ]
    return penalties[max(range(len(scores)), key=lambda place: (scores[place], -place))]


def _fit(
    features: Tensor, numbers: Tensor, classes: int, penalties: Sequence[float], iterations: int
) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias for each penalty, each fit beginning where the one before ended."""
    mean = features.mean(0)
    deviation = features.std(0, unbiased=False)
    # A feature that is always the same says nothing, whatever it is divided by.
    deviation = torch.where(deviation > 1e-8 * (1 + mean.abs()), deviation, 1.0)
    standard = (features - mean) / deviation
    weight = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device, requires_grad=True)
    bias = torch.zeros(classes, dtype=torch.float64, device=features.device, requires_grad=True)
    found = []
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
        found.append((folded.clone(), (bias.detach() - folded @ mean).clone()))
    return found
