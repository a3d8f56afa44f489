"""The exemplar memory: few samples of past tasks that may be seen again, and the rules by which they are chosen."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import generator

Selection = Literal["herding", "random", "reservoir", "class_balanced"]

Features = Callable[[Int[Tensor, " n"]], Float[Tensor, "n features"]]


def herding(features: Float[Tensor, "n features"], count: int, *, normalize: bool = True) -> list[int]:
    """Return the samples whose running mean stays nearest to the mean of all, best first (Welling, ICML 2009).

    The first m of the list are what would be chosen for m, so that a memory can shrink without a new choice (Rebuffi et
    al., iCaRL, CVPR 2017).

    Args:
        features: Of the samples of one class.
        count: How many; all of them where there are fewer.
        normalize: Scale every feature vector to length 1 first, as iCaRL does.

    Example:
        >>> points = torch.tensor([[1.0, 0], [0, 1], [0.8, 0.6], [3, 4], [-0.6, 0.8], [5, 12]])
        >>> herding(points, 6)
        [5, 3, 1, 0, 4, 2]
    """
    points = features.double()
    if normalize:
        points = functional.normalize(points, dim=1)
    mean = points.mean(0)
    total = torch.zeros_like(mean)
    taken = torch.zeros(len(points), dtype=torch.bool, device=points.device)
    chosen: list[int] = []
    for size in range(1, min(count, len(points)) + 1):
        distance = (mean - (total + points) / size).square().sum(1)
        best = int(distance.masked_fill(taken, float("inf")).argmin())
        taken[best] = True
        total += points[best]
        chosen.append(best)
    return chosen


class ExemplarMemory:
    """Places of remembered samples in a data set.

    Args:
        total: How many in all, shared evenly by the classes seen; rounded down, so it is never exceeded.
        per_class: How many of each class. Give one of the two; ``total=0`` is no memory.
        selection: ``"herding"`` (see :func:`herding`) and ``"random"`` choose from a whole task; ``"reservoir"``
            (Vitter, 1985) keeps every sample of the stream with the same probability, whatever its class;
            ``"class_balanced"`` (Chrysakis and Moens, ICML 2020) does so within classes that share the memory evenly.
            The last two need ``total``.
        seed: Of every choice.

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
            raise SettingsError("a memory cannot be negative")
        if selection in ("reservoir", "class_balanced") and total is None:
            raise SettingsError(f"selection '{selection}' needs 'total'")
        self.total, self.per_class = total, per_class
        self.selection: Selection = selection
        self._seed = seed
        self._ranked: dict[int, list[int]] = {}
        self._seen: dict[int, int] = {}
        self._full: set[int] = set()

    def __len__(self) -> int:
        return sum(len(ranked) for ranked in self._ranked.values())

    @property
    def is_stream(self) -> bool:
        """Whether samples are taken one by one."""
        return self.selection in ("reservoir", "class_balanced")

    @property
    def is_none(self) -> bool:
        """Whether nothing will ever be remembered."""
        return not (self.total or self.per_class)

    def quota(self, classes: int) -> int:
        """Return how many exemplars a class may have when there are ``classes``.

        Raises:
            SettingsError: It would be less than one.
        """
        if self.per_class is not None:
            return self.per_class
        assert self.total is not None  # noqa: S101 - one of the two is there
        if 0 < self.total < classes:
            raise SettingsError(f"a memory of {self.total} is less than one exemplar for each of {classes} classes")
        return self.total // classes

    def places(self) -> Int[Tensor, " n"]:
        """Return where all exemplars are, in ascending order."""
        return torch.tensor(sorted(place for ranked in self._ranked.values() for place in ranked), dtype=torch.long)

    def of_class(self, label: int) -> list[int]:
        """Return where the exemplars of a class are, best first."""
        return list(self._ranked.get(label, ()))

    def add(self, samples: Mapping[int, Int[Tensor, " n"]], features: Features | None = None) -> None:
        """Take up a task, making room for it.

        Args:
            samples: Places of the samples of each class.
            features: From places to features, for herding.

        Raises:
            SettingsError: The memory is too small for so many classes.
            ValueError: Herding got no features.
        """
        if self.is_none:
            return
        if self.is_stream:
            self._stream(samples)
            return
        quota = self.quota(len({*self._ranked, *samples}))
        self._ranked = {label: ranked[:quota] for label, ranked in self._ranked.items()}
        for label, places in samples.items():
            self._ranked[label] = self.choose(label, places, quota, features)

    def choose(self, label: int, places: Int[Tensor, " n"], count: int, features: Features | None = None) -> list[int]:
        """Return which samples of a class would be kept, best first; the memory stays as it is."""
        if self.selection == "herding":
            if features is None:
                raise ValueError("herding needs features")
            return [int(places[index]) for index in herding(features(places), count)]
        order = torch.randperm(len(places), generator=generator(self._seed, "exemplars", label))
        return [int(places[index]) for index in order[:count]]

    def _stream(self, samples: Mapping[int, Tensor]) -> None:
        """One pass over the samples, in random order."""
        labels = torch.cat([torch.full((len(places),), label) for label, places in samples.items()])
        places = torch.cat(list(samples.values()))
        stream = generator(self._seed, "stream", sum(self._seen.values()))
        for index in torch.randperm(len(places), generator=stream).tolist():
            self._take(int(labels[index]), int(places[index]), stream)

    def _take(self, label: int, place: int, stream: torch.Generator) -> None:
        assert self.total is not None  # noqa: S101 - the constructor has checked it
        self._seen[label] = self._seen.get(label, 0) + 1
        own = self._ranked.setdefault(label, [])
        if len(self) < self.total:
            own.append(place)
            return
        if self.selection == "reservoir":
            slot = _draw(sum(self._seen.values()), stream)
            if slot < self.total:
                # Slots number the exemplars class by class.
                for ranked in self._ranked.values():
                    if slot < len(ranked):
                        del ranked[slot]
                        break
                    slot -= len(ranked)
                own.append(place)
            return
        largest = max(map(len, self._ranked.values()))
        # Once a class has been the largest it is full for good: its samples compete among themselves from then on.
        self._full |= {other for other, ranked in self._ranked.items() if len(ranked) == largest}
        if label not in self._full:
            fullest = [ranked for ranked in self._ranked.values() if len(ranked) == largest]
            victim = fullest[_draw(len(fullest), stream)]
            del victim[_draw(len(victim), stream)]
            own.append(place)
        elif _draw(self._seen[label], stream) < len(own):
            own[_draw(len(own), stream)] = place

    def state_dict(self) -> dict[str, Any]:
        """Return what it holds, ready for JSON."""
        return {
            "ranked": [[label, list(ranked)] for label, ranked in self._ranked.items()],
            "seen": [[label, count] for label, count in self._seen.items()],
            "full": sorted(self._full),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what :meth:`state_dict` returned."""
        self._ranked = {int(label): list(ranked) for label, ranked in state["ranked"]}
        self._seen = {int(label): int(count) for label, count in state["seen"]}
        self._full = set(state["full"])


def _draw(count: int, stream: torch.Generator) -> int:
    return int(torch.randint(count, (1,), generator=stream))
