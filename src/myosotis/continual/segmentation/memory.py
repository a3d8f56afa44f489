"""Exemplars of a segmentation stream: what is kept is the mask as it was shown, never a way back to its source."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from safetensors.torch import load_file
from torch import Tensor

from myosotis.data.masks import IGNORE
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import read_json, write_json, write_tensors
from myosotis.engine.seeding import generator


@dataclass(frozen=True)
class Exemplar:
    """One remembered image.

    Attributes:
        place: Of the image among the training images.
        mask: Channels as the task showed them: its own classes, 0 and 255.
        labelled: Channels that the mask shows where they are.
        task: That showed it.
    """

    place: int
    mask: UInt8[Tensor, "height width"]
    labelled: tuple[int, ...]
    task: int

    @property
    def shown(self) -> frozenset[int]:
        """The channels in the mask."""
        return frozenset(self.mask.unique().tolist()) - {0, IGNORE}


@dataclass(frozen=True)
class Candidate:
    """An image that may be remembered.

    Attributes:
        place: Among the training images.
        shown: The channels in its mask, as the task shows it.
        labelled: Channels that the mask shows where they are.
        task: That shows it.
    """

    place: int
    shown: frozenset[int]
    labelled: tuple[int, ...]
    task: int


class SegmentationMemory:
    """Remembered images, as many under each class as under any other.

    Args:
        total: How many images; 0 is no memory.
        seed: Of every draw.

    Raises:
        SettingsError: ``total`` is negative.
    """

    def __init__(self, total: int = 0, seed: int = 0) -> None:
        if total < 0:
            raise SettingsError("a memory cannot be negative")
        self.total, self._seed = total, seed
        self.exemplars: list[Exemplar] = []

    def __len__(self) -> int:
        return len(self.exemplars)

    def update(self, candidates: Sequence[Candidate], classes: Sequence[int], mask_of: Callable[[int], Tensor]) -> None:
        """Choose anew among what is remembered and the images of a task.

        In turn the class with the fewest exemplars so far takes the next of the shuffled candidates that show it, until
        the memory is full or nothing is left; so classes differ by one at most while all of them have candidates. The
        authors' sampler streams over the candidates and evicts at random instead. An image is remembered once, with the
        mask of one task.

        Args:
            candidates: Of the task.
            classes: Channels seen so far.
            mask_of: From a place to the mask as the task shows it; asked for those alone that are taken up.

        Warns:
            UserWarning: There are fewer candidates than the memory holds.
        """
        if not self.total:
            return
        pool: list[Exemplar | Candidate] = [*self.exemplars, *candidates]
        order = torch.randperm(len(pool), generator=generator(self._seed, "exemplars", len(classes))).tolist()
        under: dict[int, list[int]] = {label: [] for label in classes}
        for place in order:
            for label in pool[place].shown:
                if label in under:
                    under[label].append(place)
        chosen: list[int] = []
        taken: set[int] = set()
        counts = dict.fromkeys(classes, 0)
        while len(chosen) < self.total and counts:
            label = min(counts, key=lambda one: (counts[one], one))
            place = next((one for one in under[label] if pool[one].place not in taken), None)
            if place is None:
                del counts[label]
                continue
            taken.add(pool[place].place)
            chosen.append(place)
            counts[label] += 1
        if len(chosen) < self.total:
            warnings.warn(f"the memory holds {self.total} images, there are {len(chosen)} candidates", stacklevel=2)
        kept = sorted((pool[place] for place in chosen), key=lambda one: (one.task, one.place))
        self.exemplars = [
            one if isinstance(one, Exemplar) else Exemplar(one.place, mask_of(one.place), one.labelled, one.task)
            for one in kept
        ]

    def audit(self, channels: Mapping[int, Sequence[int]]) -> dict[str, Any]:
        """Return what is in it: images and pixels of each class, and how many masks show what their task did not label.

        Args:
            channels: Of each task.
        """
        images: dict[int, int] = {}
        leaks = 0
        for one in self.exemplars:
            for label in one.shown:
                images[label] = images.get(label, 0) + 1
            leaks += not one.shown <= set(channels[one.task])
        return {"images": len(self), "of_class": dict(sorted(images.items())), "leaks": leaks}

    def save(self, path: Path) -> None:
        """Write it into a directory."""
        listed = [
            {"image": exemplar.place, "labelled": list(exemplar.labelled), "task": exemplar.task}
            for exemplar in self.exemplars
        ]
        write_json(path / "memory.json", listed)
        if self.exemplars:
            masks = {str(index): exemplar.mask for index, exemplar in enumerate(self.exemplars)}
            write_tensors(path / "memory.safetensors", masks)

    def load(self, path: Path) -> None:
        """Restore what :meth:`save` wrote."""
        listed = read_json(path / "memory.json")
        masks = load_file(path / "memory.safetensors") if listed else {}
        self.exemplars = [
            Exemplar(int(entry["image"]), masks[str(index)], tuple(entry["labelled"]), int(entry["task"]))
            for index, entry in enumerate(listed)
        ]
