"""The exemplar memory: a few samples of past tasks for replay, and the rules that select them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.processes import as_double
from myosotis.engine.seeding import generator

Selection = Literal["herding", "random", "reservoir", "class_balanced"]

Features = Callable[[Int[Tensor, " n"]], Float[Tensor, "n features"]]


def herding(features: Float[Tensor, "n features"], count: int, *, normalize: bool = True) -> list[int]:
    """Return the samples whose running mean stays closest to the mean of all, best first (Welling, ICML 2009).

    The first m of the list are the selection for a count of m, so a memory shrinks by truncation (Rebuffi et al.,
    iCaRL, CVPR 2017).

    Args:
        features: Features of the samples of a class.
        count: Number of samples to select; all if there are fewer.
        normalize: Scale every feature vector to length 1 first, as iCaRL does.

    Raises:
        SettingsError: A feature is infinite or NaN.

    Example:
        >>> points = torch.tensor([[1.0, 0], [0, 1], [0.8, 0.6], [3, 4], [-0.6, 0.8], [5, 12]])
        >>> herding(points, 6)
        [5, 3, 1, 0, 4, 2]
    """
    if not bool(features.isfinite().all()):
        raise SettingsError("features of the samples of a class hold infinity or NaN")
    points = as_double(features)
    if normalize:
        points = functional.normalize(points, dim=1)
    mean = points.mean(0)
    missing = torch.zeros_like(mean)
    # Of the squared distance of missing - x only this depends on x; one product with all points is left.
    norms = points.square().sum(1)
    chosen: list[Tensor] = []
    for _ in range(min(count, len(points))):
        missing += mean
        # A tensor: a number would have to come from the device for each sample.
        best = torch.addmv(norms, points, missing, alpha=-2).argmin(0, keepdim=True)
        norms.index_fill_(0, best, torch.inf)
        missing -= points.index_select(0, best)[0]
        chosen.append(best)
    return torch.cat(chosen).tolist() if chosen else []


class ExemplarMemory:
    """Indices of remembered samples in a data set.

    Args:
        total: Number of exemplars, shared evenly by the known classes; rounded down, so it is never exceeded.
        per_class: Number of exemplars of each class. Give one of the two; ``total=0`` is no memory.
        selection: ``"herding"`` (see :func:`herding`) and ``"random"`` select from a whole task; ``"reservoir"``
            (Vitter, 1985) retains every sample of the stream with the same probability, whatever its class;
            ``"class_balanced"`` (Chrysakis and Moens, ICML 2020) does so within classes that share the memory evenly.
            The last two need ``total``.
        seed: Seed of every selection.

    Raises:
        SettingsError: The budget is missing, given twice, negative, or does not suit the selection.

    Example:
        >>> memory = ExemplarMemory(total=4, selection="random")
        >>> memory.add({0: torch.arange(0, 9), 1: torch.arange(9, 18)})
        >>> len(memory), memory.quota(4)
        (4, 1)
    """

    def __init__(
        self,
        *,
        total: int | None = None,
        per_class: int | None = None,
        selection: Selection = "herding",
        seed: int = 0,
    ) -> None:
        if (total is None) == (per_class is None):
            raise SettingsError("give either 'total' or 'per_class'")
        if min(total or 0, per_class or 0) < 0:
            raise SettingsError(f"the size of a memory must not be negative, got {min(total or 0, per_class or 0)}")
        if selection in ("reservoir", "class_balanced") and total is None:
            raise SettingsError(f"selection '{selection}' needs 'total'")
        self.total, self.per_class = total, per_class
        self.selection: Selection = selection
        self._seed = seed
        self._ranked: dict[int, list[int]] = {}
        self._counts: dict[int, int] = {}
        self._full: set[int] = set()

    def __len__(self) -> int:
        return sum(len(ranked) for ranked in self._ranked.values())

    @property
    def is_stream(self) -> bool:
        """Whether samples are offered one at a time."""
        return self.selection in ("reservoir", "class_balanced")

    @property
    def is_none(self) -> bool:
        """Whether the memory stays empty."""
        return not (self.total or self.per_class)

    def quota(self, classes: int) -> int:
        """Return the number of exemplars of a class when there are ``classes``.

        Raises:
            SettingsError: It is below one.
        """
        if self.per_class is not None:
            return self.per_class
        assert self.total is not None  # noqa: S101 - either of the two is given
        if 0 < self.total < classes:
            raise SettingsError(f"a memory of {self.total} is smaller than one exemplar for each of {classes} classes")
        return self.total // classes

    def indices(self) -> Int[Tensor, " n"]:
        """Return the indices of all exemplars, in ascending order."""
        return torch.tensor(sorted(index for ranked in self._ranked.values() for index in ranked), dtype=torch.long)

    def of_class(self, label: int) -> list[int]:
        """Return the indices of the exemplars of a class, best first."""
        return list(self._ranked.get(label, ()))

    def add(self, samples: Mapping[int, Int[Tensor, " n"]], features: Features | None = None) -> None:
        """Add exemplars of a task, removing others to make room.

        Args:
            samples: Indices of the samples of each class.
            features: Function from indices to features, for herding.

        Raises:
            SettingsError: The memory is too small for so many classes.
            ValueError: Herding was given no features.
        """
        if self.is_none:
            return
        if self.is_stream:
            self._stream(samples)
            return
        quota = self.quota(len({*self._ranked, *samples}))
        self._ranked = {label: ranked[:quota] for label, ranked in self._ranked.items()}
        for label, indices in samples.items():
            self._ranked[label] = self.choose(label, indices, quota, features)

    def remove(self, indices: Collection[int]) -> dict[int, int]:
        """Remove exemplars, which were forgotten, and return how many of each class; their slots stay empty."""
        gone = set(indices)
        removed = {label: sum(index in gone for index in ranked) for label, ranked in self._ranked.items()}
        self._ranked = {
            label: [index for index in ranked if index not in gone] for label, ranked in self._ranked.items()
        }
        return {label: count for label, count in removed.items() if count}

    def append(self, label: int, indices: list[int]) -> None:
        """Append samples to the exemplars of a class."""
        self._ranked[label] = [*self._ranked.get(label, ()), *indices]

    def choose(self, label: int, indices: Int[Tensor, " n"], count: int, features: Features | None = None) -> list[int]:
        """Return the samples of a class that would be selected, best first; the memory is unchanged."""
        if self.selection == "herding":
            if features is None:
                raise ValueError("herding needs features")
            return [int(indices[row]) for row in herding(features(indices), count)]
        order = torch.randperm(len(indices), generator=generator(self._seed, "exemplars", label))
        return [int(indices[row]) for row in order[:count]]

    def _stream(self, samples: Mapping[int, Tensor]) -> None:
        """Offer every sample, in random order."""
        labels = torch.cat([torch.full((len(indices),), label) for label, indices in samples.items()])
        indices = torch.cat(list(samples.values()))
        stream = generator(self._seed, "stream", sum(self._counts.values()))
        for row in torch.randperm(len(indices), generator=stream).tolist():
            self._offer(int(labels[row]), int(indices[row]), stream)

    def _offer(self, label: int, index: int, stream: torch.Generator) -> None:
        assert self.total is not None  # noqa: S101 - the constructor has checked it
        self._counts[label] = self._counts.get(label, 0) + 1
        own = self._ranked.setdefault(label, [])
        if len(self) < self.total:
            own.append(index)
            return
        if self.selection == "reservoir":
            slot = _draw(sum(self._counts.values()), stream)
            if slot < self.total:
                # Slots number the exemplars class by class.
                for ranked in self._ranked.values():
                    if slot < len(ranked):
                        del ranked[slot]
                        break
                    slot -= len(ranked)
                own.append(index)
            return
        largest = max(map(len, self._ranked.values()))
        # A class that has been the largest stays full: from then on its samples only replace each other.
        self._full |= {other for other, ranked in self._ranked.items() if len(ranked) == largest}
        if label not in self._full:
            fullest = [ranked for ranked in self._ranked.values() if len(ranked) == largest]
            removed_from = fullest[_draw(len(fullest), stream)]
            del removed_from[_draw(len(removed_from), stream)]
            own.append(index)
        elif _draw(self._counts[label], stream) < len(own):
            own[_draw(len(own), stream)] = index

    def state_dict(self) -> dict[str, Any]:
        """Return the exemplars and the counts of the selection, ready for JSON."""
        return {
            "ranked": [[label, list(ranked)] for label, ranked in self._ranked.items()],
            "counts": [[label, count] for label, count in self._counts.items()],
            "full": sorted(self._full),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
        self._ranked = {int(label): list(ranked) for label, ranked in state["ranked"]}
        self._counts = {int(label): int(count) for label, count in state["counts"]}
        self._full = set(state["full"])


def _draw(count: int, stream: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=stream))
