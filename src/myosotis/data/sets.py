"""A training set and a test set in a configuration."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Annotated

import torch
from pydantic import Field, PositiveInt

from myosotis.data.images import ImageSet
from myosotis.data.sources import SourceConfig, read_images
from myosotis.engine.config import Config
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint


class DataConfig(Config):
    """Training and test images.

    Attributes:
        train: Training images.
        test: Test images of the same classes.
        only: Names of the classes to use; all unless given.
        limit: Number of training images to draw, balanced over the classes; all unless given.
        test_limit: Number of test images to draw, balanced over the classes; all unless given.
    """

    train: SourceConfig
    test: SourceConfig
    only: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    limit: PositiveInt | None = None
    test_limit: PositiveInt | None = None


def read_sets(data: DataConfig) -> tuple[ImageSet, ImageSet]:
    """Read the training and the test images of the selected classes, without limits, which need a seed.

    Raises:
        InputError: Something is missing, or the sets do not fit together.
    """
    # Paths are absolute here, so that different spellings are equal.
    if data.train == data.test:
        raise InputError("'train' and 'test' are the same images; 'test' may need 'split: test'")
    train, test = read_images(data.train), read_images(data.test)
    if data.only is not None:
        train, test = (only_classes(images, data.only) for images in (train, test))
    if train.images.shape[1:] != test.images.shape[1:]:
        raise InputError(f"training images are {_shape(train)}, test images {_shape(test)}; give a size")
    return train, test


def limited(images: ImageSet, limit: int | None, seed: int, key: str) -> ImageSet:
    """Return a limited number of images, the same number of each class up to the remainder.

    Args:
        images: All images.
        limit: Number of images; None for all.
        seed: Seed of the draw, which depends on names alone.
        key: Key of the configuration, for the error.

    Raises:
        InputError: There are fewer images, or more classes, than the limit.
    """
    if limit is None:
        return images
    if limit > len(images) or limit < len(images.classes):
        raise InputError(
            f"{key} is {limit}; it must be between {len(images.classes)}, one per class, and {len(images)}"
        )
    labels = images.labels.tolist()
    rank: dict[int, int] = {}
    ranked = []
    for index in images.shuffled(seed, "limit"):
        label = labels[index]
        rank[label] = rank.get(label, 0) + 1
        ranked.append((rank[label], index))
    # The first images of all classes come before the second ones; ties keep the order of the draw.
    selected = [index for _, index in sorted(ranked, key=lambda pair: pair[0])[:limit]]
    return replace(images.subset(sorted(selected)), skipped=images.skipped)


def set_fingerprints(train: ImageSet, test: ImageSet, salt: str) -> dict[str, str]:
    """Return a salted fingerprint of the training set and one of the test set, independent of their order."""
    fingerprints = {}
    for name, images in (("train", train), ("test", test)):
        digests = "".join(sorted(labelled.hex() for _, labelled in images.hashes))
        fingerprints[name] = salted_fingerprint(digests, salt)
    return fingerprints


def pixels_fingerprint(pixels: Iterable[bytes], salt: str) -> str:
    """Return a salted fingerprint of images without their classes, independent of their order.

    Args:
        pixels: SHA-256 of each image's bytes, the first of :attr:`~myosotis.data.images.ImageSet.hashes`.
        salt: Salt.
    """
    return salted_fingerprint(b"".join(sorted(pixels)).hex(), salt)


def content_hash(*sets: ImageSet) -> str:
    """Return the SHA-256 of everything that a result may depend on: classes, names, images and labels in order."""
    content = hashlib.sha256()
    for images in sets:
        content.update(json.dumps([images.classes, len(images)]).encode())
        for name, (_, labelled) in zip(images.names, images.hashes, strict=True):
            content.update(json.dumps(name).encode() + labelled)
    return content.hexdigest()


def input_fingerprints(sets: Mapping[str, ImageSet], salt: str) -> dict[str, str]:
    """Return a salted fingerprint of each set by its name; a resumed run checks them for changes."""
    return {f"{name} images": salted_fingerprint(content_hash(images), salt) for name, images in sets.items()}


def repeated_images(train: ImageSet, test: ImageSet, what: str = "data") -> int:
    """Return the number of test images that are training images too, whatever their names and labels.

    Args:
        train: Training images.
        test: Test images.
        what: Key of the configuration, for the error.

    Raises:
        InputError: All test images are.
    """
    known = {pixels for pixels, _ in train.hashes}
    count = sum(pixels in known for pixels, _ in test.hashes)
    if count == len(test) > 0:
        raise InputError(f"{what}: every test image is a training image; give other test images")
    return count


def repeated_warning(count: int, total: int, what: str = "test images") -> str:
    """Return the line about test images that are training images."""
    return f"warning: {count:,} of {total:,} {what} are training images too"


def only_classes(images: ImageSet, classes: tuple[str, ...]) -> ImageSet:
    """Return the images of the given classes, numbered in this order.

    Raises:
        InputError: A class is unknown or listed twice.
    """
    missing = next((name for name in classes if name not in images.classes), None)
    if missing is not None:
        raise InputError(f"data.only: unknown class {missing!r}; known: {', '.join(images.classes)}")
    if len(set(classes)) < len(classes):
        raise InputError("data.only: a class is listed twice")
    numbers = {images.classes.index(name): number for number, name in enumerate(classes)}
    indices = [index for index, label in enumerate(images.labels.tolist()) if label in numbers]
    labels = torch.tensor([numbers[int(images.labels[index])] for index in indices])
    return replace(images.subset(indices), labels=labels, classes=classes, skipped=images.skipped)


def _shape(images: ImageSet) -> str:
    channels, height, width = images.images.shape[1:]
    return f"{width}x{height} with {channels} channels"
