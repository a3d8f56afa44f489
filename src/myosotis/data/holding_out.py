"""Test images drawn from a set that comes without a test set."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed


@dataclass(frozen=True)
class HeldOut:
    """One of the two parts that a set is split into, class by class.

    The draw depends on the names of the images alone: the same image is a test image in every job, whatever its seed.

    Attributes:
        share: Share of each class that is held out, in (0, 1); at least one image, and not all.
        split: Part to take: ``"test"`` are the images held out.
    """

    share: float
    split: Literal["train", "test"]

    def indices(self, names: Sequence[str], labels: Sequence[int], what: str) -> list[int]:
        """Return the indices of the part, in ascending order.

        Args:
            names: Unique name of each image.
            labels: Class of each image.
            what: Name of the set in errors.

        Raises:
            InputError: A class has a single image.

        Example:
            >>> names, labels = ["a", "b", "c", "d"], [0, 0, 1, 1]
            >>> train, test = (HeldOut(0.25, split).indices(names, labels, "set") for split in ("train", "test"))
            >>> len(train), len(test), sorted(train + test)
            (2, 2, [0, 1, 2, 3])
        """
        by_class: dict[int, list[int]] = {}
        for index, label in enumerate(labels):
            by_class.setdefault(label, []).append(index)
        chosen: list[int] = []
        for members in by_class.values():
            if len(members) < 2:
                raise InputError(
                    f"{what}: {names[members[0]]} is the only image of its class, so 'held_out' cannot split the class"
                )
            drawn = sorted(members, key=lambda index: (derive_seed(0, "held_out", names[index]), names[index]))
            count = min(max(1, round(self.share * len(members))), len(members) - 1)
            chosen += drawn[:count] if self.split == "test" else drawn[count:]
        return sorted(chosen)
