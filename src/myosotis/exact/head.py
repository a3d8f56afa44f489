"""The interface of a head that is a function of sums over records."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.exact.grid import CHUNK
from myosotis.exact.sums import Sums

SettingsT = TypeVar("SettingsT", bound="HeadSettings")


@dataclass(frozen=True)
class HeadSettings:
    """Settings of every head.

    Attributes:
        bits: Binary digits after the point of a feature on the grid; magnitudes end at 2^(20 - bits).
    """

    bits: Annotated[int, Field(ge=0, le=20)] = 12


class SumsHead(ABC, Generic[SettingsT]):
    """Classifies features by a function of sums over the learnt records.

    Args:
        settings: Settings of the head.
        width: Number of features, d.
        seed: Seed of what is random in it.
    """

    card: ClassVar[MethodCard]
    Settings: ClassVar[type[Any]]

    def __init__(self, settings: SettingsT, width: int, seed: int) -> None:
        self.settings = settings
        self.width = width
        self.seed = seed

    def constants(self) -> dict[str, Tensor]:
        """Return tensors that no record has a part in, e.g. a random projection. By default there are none."""
        return {}

    def tables(self) -> dict[str, Tensor]:
        """Return the tensors that features pass through before they are summed; by default the constants.

        Another version of a library may compute others, with which a record could not be taken out again.
        """
        return self.constants()

    @abstractmethod
    def sums(self, rows: Int[Tensor, "n d"], classes: Sequence[str]) -> Sums:
        """Return the sums of at most :data:`~myosotis.exact.grid.CHUNK` records.

        Args:
            rows: Features on the grid, see :func:`~myosotis.exact.grid.to_grid`.
            classes: Name of the class of each.
        """

    @abstractmethod
    def solve(self, sums: Sums) -> dict[str, Tensor]:
        """Return the head: tensors by name, whose rows are the classes of the sums."""

    @abstractmethod
    def scores(self, head: Mapping[str, Tensor], features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return a score for each class.

        Args:
            head: What :meth:`solve` returned, and :meth:`constants`, in the type and on the device of the features.
            features: Features as the body computes them.
        """

    def total(self, rows: Int[Tensor, "n d"], classes: Sequence[str]) -> Sums:
        """Return the sums of any number of records."""
        total = self.sums(rows[:CHUNK], classes[:CHUNK]) if len(rows) else Sums()
        for begin in range(CHUNK, len(rows), CHUNK):
            total.add(self.sums(rows[begin : begin + CHUNK], classes[begin : begin + CHUNK]))
        return total


def numbered(classes: Sequence[str]) -> tuple[tuple[str, ...], Int[Tensor, " n"]]:
    """Return the sorted names of the classes, and the number of each record's class among them.

    Example:
        >>> numbered(["owl", "cat", "owl"])
        (('cat', 'owl'), tensor([1, 0, 1]))
    """
    names = tuple(sorted(set(classes)))
    numbers = {name: number for number, name in enumerate(names)}
    return names, torch.tensor([numbers[name] for name in classes], dtype=torch.long)


def summed(values: Int[Tensor, "n ..."], labels: Int[Tensor, " n"], count: int) -> Int[Tensor, "count ..."]:
    """Return the sum of the values of each label."""
    return torch.zeros(count, *values.shape[1:], dtype=torch.int64).index_add_(0, labels, values.long())


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread: the last bits of a factorised matrix depend on the number."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
