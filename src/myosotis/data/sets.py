"""A training set and a test set, as a configuration says them."""

from typing import Annotated

import torch
from pydantic import Field, model_validator

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

    @model_validator(mode="after")
    def _apart(self) -> "DataConfig":
        if self.train == self.test:
            raise ValueError("'train' and 'test' are the same images; the latter may want 'split: test'")
        return self


def read_sets(data: DataConfig) -> tuple[ImageSet, ImageSet]:
    """Read the training and the test images of the classes that take part; limits come later, as they need a seed.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
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
    """Return one salted fingerprint of the training set as a whole, and one of the test set."""
    found = {}
    for name, images in (("train", train), ("test", test)):
        every = "".join(sorted(images.digest(place) for place in range(len(images))))
        found[name] = salted_fingerprint(every, salt)
    return found


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
