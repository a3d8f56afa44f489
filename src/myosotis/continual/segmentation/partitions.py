"""Partitions: the class that each image of a partitioned scenario is assigned to."""

import hashlib
import json
from collections.abc import Sequence, Set as AbstractSet
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from jaxtyping import Int
from torch import Tensor

from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_json
from myosotis.engine.seeding import derive_seed

Assign = Literal["uniform", "rarest", "largest_area"]

_VERSION = 1


def partition(
    image_ids: Sequence[str],
    label_sets: Sequence[AbstractSet[int]],
    seed: int = 0,
    assign: Assign = "uniform",
    areas: Int[Tensor, "n values"] | None = None,
) -> dict[str, int]:
    """Assign each image to one of its classes (Kwak, Cha, Moon, ECCV 2024, partitioned scenario).

    ``"uniform"`` hashes seed and name, so that the result depends neither on the order of files nor on other images.
    The authors' code draws from a single stream in the order of the files instead. ``"rarest"`` takes the class that
    fewest images show, which depends on other images; ``"largest_area"`` the class with most pixels.

    Args:
        image_ids: Unique names of the images.
        label_sets: Classes of each image.
        seed: Seed of the draw.
        assign: Rule of the assignment, see above.
        areas: Number of pixels of each value in each image, for ``"largest_area"``.

    Returns:
        Class of each image; images without classes are left out.

    Raises:
        SettingsError: Lengths do not match, names are not unique, or areas are missing.

    Example:
        >>> partition(["a", "b"], [{3}, set()])
        {'a': 3}
    """
    check_names(image_ids, label_sets)
    if (assign == "largest_area") != (areas is not None):
        raise SettingsError("'areas' belongs to 'largest_area', which needs it")
    counts: dict[int, int] = {}
    for labels in label_sets:
        for label in labels:
            counts[label] = counts.get(label, 0) + 1
    class_of = {}
    for row, (name, labels) in enumerate(zip(image_ids, label_sets, strict=True)):
        ordered = sorted(labels)
        if not ordered:
            continue
        if assign == "uniform":
            class_of[name] = ordered[derive_seed(seed, "partition", name) % len(ordered)]
        elif assign == "rarest":
            class_of[name] = min(ordered, key=lambda label: (counts[label], label))
        else:
            assert areas is not None  # noqa: S101 - checked above
            pixels = areas[row].tolist()
            class_of[name] = max(ordered, key=lambda label, pixels=pixels: (pixels[label], -label))  # type: ignore[misc]
    return class_of


@dataclass(frozen=True)
class Partition:
    """A partition that is stored in a file for other runs.

    Attributes:
        seed: Seed of the draw, see :func:`partition`.
        assign: Rule of the assignment.
        of_image: Class of each image.
        fingerprint: Fingerprint of names and label sets; a file with another one is refused.
    """

    seed: int
    assign: Assign
    of_image: dict[str, int]
    fingerprint: str

    def save(self, path: Path) -> None:
        """Write the partition as JSON."""
        write_json(path, {"version": _VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path, image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> "Partition":
        """Read a partition.

        Args:
            path: Path of the file.
            image_ids: Names of the images.
            label_sets: Classes of each image.

        Raises:
            InputError: The file is missing, is no partition, or belongs to other images.
        """
        if not path.is_file():
            raise InputError(f"{path}: no such partition")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            version = content.pop("version")
            content["of_image"] = {str(name): int(label) for name, label in content["of_image"].items()}
            loaded = cls(**content)
        except (json.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError):
            raise InputError(f"{path}: is not a partition") from None
        if version != _VERSION:
            raise InputError(f"{path}: partition version {version}, expected {_VERSION}")
        if loaded.fingerprint != fingerprint(image_ids, label_sets):
            raise InputError(f"{path}: belongs to other images or labels")
        shown = {name: labels for name, labels in zip(image_ids, label_sets, strict=True) if labels}
        of_image = loaded.of_image
        if of_image.keys() != shown.keys() or any(of_image[name] not in labels for name, labels in shown.items()):
            raise InputError(f"{path}: assigns an image to a class that it does not show, or leaves an image out")
        return loaded


def make_partition(
    image_ids: Sequence[str],
    label_sets: Sequence[AbstractSet[int]],
    seed: int = 0,
    assign: Assign = "uniform",
    areas: Int[Tensor, "n values"] | None = None,
) -> Partition:
    """Return a partition with its fingerprint; see :func:`partition`."""
    return Partition(
        seed, assign, partition(image_ids, label_sets, seed, assign, areas), fingerprint(image_ids, label_sets)
    )


def fingerprint(image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> str:
    """Return the SHA-256 of names and their classes, independent of their order."""
    content = sorted((name, sorted(labels)) for name, labels in zip(image_ids, label_sets, strict=True))
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def check_names(image_ids: Sequence[str], label_sets: Sequence[AbstractSet[int]]) -> None:
    """Raise ``SettingsError`` if lengths differ or names are not unique."""
    if len(image_ids) != len(label_sets):
        raise SettingsError(f"{len(image_ids)} images and {len(label_sets)} label sets do not match")
    if len(set(image_ids)) < len(image_ids):
        raise SettingsError("names of images must be unique")
