"""Exemplars of a segmentation stream, stored with the mask that their task labelled, never with the full one."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from safetensors.torch import load_file
from torch import Tensor

from myosotis.continual.segmentation.result import MemoryAudit
from myosotis.data.masks import IGNORE
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import read_json, write_json, write_tensors
from myosotis.engine.seeding import generator


@dataclass(frozen=True)
class Exemplar:
    """A remembered image.

    Attributes:
        index: Index of the training image.
        mask: Mask of its task in channels: classes of the task, 0 and 255.
        labelled: Channels that the mask labels.
        task: Index of its task.
    """

    index: int
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
        index: Index of the training image.
        shown: Channels in the mask of its task.
        labelled: Channels that the mask labels.
        task: Index of its task.
    """

    index: int
    shown: frozenset[int]
    labelled: tuple[int, ...]
    task: int


class SegmentationMemory:
    """Remembered images, balanced over classes.

    Args:
        total: Number of images; 0 is no memory.
        seed: Seed of every selection.

    Raises:
        SettingsError: ``total`` is negative.
    """

    def __init__(self, total: int = 0, seed: int = 0) -> None:
        if total < 0:
            raise SettingsError(f"the size of a memory must not be negative, got {total}")
        self.total, self._seed = total, seed
        self.exemplars: list[Exemplar] = []

    def __len__(self) -> int:
        return len(self.exemplars)

    def update(self, candidates: Sequence[Candidate], classes: Sequence[int], mask_of: Callable[[int], Tensor]) -> None:
        """Select exemplars from those in the memory and the images of a task.

        In turn the class with the fewest exemplars so far takes the next of the shuffled candidates that show it, until
        the memory is full or no candidate is left; classes differ by one at most while all of them have candidates. The
        authors' sampler streams over the candidates and evicts at random instead. An image is stored once, with the
        mask of a single task.

        Args:
            candidates: Images of the task.
            classes: Channels of all classes so far.
            mask_of: Function from an index to the mask of the task, called for selected images only.

        Warns:
            UserWarning: There are fewer candidates than the memory holds.
        """
        if not self.total:
            return
        pool: list[Exemplar | Candidate] = [*self.exemplars, *candidates]
        order = torch.randperm(len(pool), generator=generator(self._seed, "exemplars", len(classes))).tolist()
        rows_of: dict[int, list[int]] = {label: [] for label in classes}
        for row in order:
            for label in pool[row].shown:
                if label in rows_of:
                    rows_of[label].append(row)
        selected: list[int] = []
        indices: set[int] = set()
        counts = dict.fromkeys(classes, 0)
        while len(selected) < self.total and counts:
            fewest = min(counts, key=lambda label: (counts[label], label))
            next_row = next((row for row in rows_of[fewest] if pool[row].index not in indices), None)
            if next_row is None:
                del counts[fewest]
                continue
            indices.add(pool[next_row].index)
            selected.append(next_row)
            counts[fewest] += 1
        if len(selected) < self.total:
            warnings.warn(
                f"the memory has room for {self.total} images, but only {len(selected)} candidates exist", stacklevel=2
            )
        images = sorted((pool[row] for row in selected), key=lambda image: (image.task, image.index))
        self.exemplars = [
            image
            if isinstance(image, Exemplar)
            else Exemplar(image.index, mask_of(image.index), image.labelled, image.task)
            for image in images
        ]

    def audit(self, channels: Mapping[int, Sequence[int]]) -> MemoryAudit:
        """Return the number of images, of images of each class, and of masks that show an unlabelled class.

        Args:
            channels: Channels that each task labels.
        """
        images: dict[int, int] = {}
        leaks = 0
        for exemplar in self.exemplars:
            for label in exemplar.shown:
                images[label] = images.get(label, 0) + 1
            leaks += not exemplar.shown <= set(channels[exemplar.task])
        return MemoryAudit(images=len(self), of_class=dict(sorted(images.items())), leaks=leaks)

    def save(self, path: Path) -> None:
        """Write the exemplars into a directory."""
        listed = [
            {"image": exemplar.index, "labelled": list(exemplar.labelled), "task": exemplar.task}
            for exemplar in self.exemplars
        ]
        write_json(path / "memory.json", listed)
        if self.exemplars:
            masks = {str(row): exemplar.mask for row, exemplar in enumerate(self.exemplars)}
            write_tensors(path / "memory.safetensors", masks)

    def load(self, path: Path) -> None:
        """Restore what :meth:`save` wrote."""
        listed = read_json(path / "memory.json")
        masks = load_file(path / "memory.safetensors") if listed else {}
        self.exemplars = [
            Exemplar(int(entry["image"]), masks[str(row)], tuple(entry["labelled"]), int(entry["task"]))
            for row, entry in enumerate(listed)
        ]
