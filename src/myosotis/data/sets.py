"""A training set and a test set, as a configuration says them."""

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated

import torch
from pydantic import Field

from myosotis.data.images import ImageSet
from myosotis.data.sources import SourceConfig, read_images
from myosotis.engine.config import Config
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.method import Count


class DataConfig(Config):
    """The images: what is learnt, and what is measured with.

    ``only`` names the classes that take part; the limits draw a part of them, class by class alike.
    """

    train: SourceConfig
    test: SourceConfig
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: Count | None = None
    test_limit: Count | None = None


def read_sets(data: DataConfig) -> tuple[ImageSet, ImageSet]:
    """Read the training and the test images of the classes that take part; limits come later, as they need a seed.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    # Only here paths are absolute, however they were written.
    if data.train == data.test:
        raise InputError("'train' and 'test' are the same images; the latter may want 'split: test'")
    train, test = read_images(data.train), read_images(data.test)
    if data.only is not None:
        train, test = (_only(images, data.only) for images in (train, test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(f"training images are {_shape(train)}, test images {_shape(test)}; give a size")
    return train, test


def limited(images: ImageSet, limit: int | None, seed: int, key: str) -> ImageSet:
    """Return so many images, the same number of each class but for the remainder.

    Args:
        images: All of them.
        limit: How many; None: all.
        seed: Of the draw, which depends on names alone.
        key: Of the configuration, for the error.

    Raises:
        InputError: There are fewer images, or more classes than that.
    """
    if limit is None:
        return images
    if limit > len(images) or limit < len(images.classes):
        raise InputError(f"{key} is {limit}; it must be between {len(images.classes)} classes and {len(images)} images")
    order = images.shuffled(seed, "limit")
    rank: dict[int, int] = {}
    ranked = []
    for place in order:
        label = int(images.labels[place])
        rank[label] = rank.get(label, 0) + 1
        ranked.append((rank[label], place))
    # All firsts come before all seconds; ties as they were drawn.
    chosen = [place for _, place in sorted(ranked, key=lambda pair: pair[0])[:limit]]
    part = images.subset(sorted(chosen))
    return ImageSet(part.images, part.labels, part.names, part.classes, images.skipped)


def set_fingerprints(train: ImageSet, test: ImageSet, salt: str) -> dict[str, str]:
    """Return one salted fingerprint of the training set as a whole, and one of the test set, whatever their order."""
    found = {}
    for name, images in (("train", train), ("test", test)):
        every = "".join(sorted(labelled.hex() for _, labelled in images.hashes))
        found[name] = salted_fingerprint(every, salt)
    return found


def content_hash(*sets: ImageSet) -> str:
    """Return the SHA-256 of all that a result may depend on: classes, and every name, image and label in order."""
    content = hashlib.sha256()
    for images in sets:
        content.update(json.dumps([images.classes, len(images)]).encode())
        for name, (_, labelled) in zip(images.names, images.hashes, strict=True):
            content.update(json.dumps(name).encode() + labelled)
    return content.hexdigest()


def input_fingerprints(sets: Mapping[str, ImageSet], salt: str) -> dict[str, str]:
    """Return a salted fingerprint of each set, by its name, that tells any change of it: what a resumed run checks."""
    return {f"{name} images": salted_fingerprint(content_hash(images), salt) for name, images in sets.items()}


def repeated_images(train: ImageSet, test: ImageSet, what: str = "data") -> int:
    """Return how many test images are training images too, whatever their names and labels.

    Args:
        train: What is learnt from.
        test: What is measured with.
        what: The key of the configuration, for the error.

    Raises:
        InputError: All of them are.
    """
    known = {pixels for pixels, _ in train.hashes}
    count = sum(pixels in known for pixels, _ in test.hashes)
    if count == len(test) > 0:
        raise InputError(f"{what}: every test image is a training image; give images that were not learnt from")
    return count


def repeated_warning(count: int, total: int, what: str = "test images") -> str:
    """Return the line about test images that are training images."""
    return f"warning: {count:,} of {total:,} {what} are training images too"


def _only(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """The images of some classes, which are numbered in this order."""
    missing = next((name for name in classes if name not in images.classes), None)
    if missing is not None:
        raise InputError(f"data.only: there is no class {missing!r}; there are {', '.join(images.classes)}")
    if len(set(classes)) < len(classes):
        raise InputError("data.only: a class stands there twice")
    numbers = {images.classes.index(name): number for number, name in enumerate(classes)}
    places = [place for place, label in enumerate(images.labels.tolist()) if label in numbers]
    labels = torch.tensor([numbers[int(images.labels[place])] for place in places])
    part = images.subset(places)
    return ImageSet(part.images, labels, part.names, classes, images.skipped)


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channels"
