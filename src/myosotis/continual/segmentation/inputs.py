"""From the configuration of a job to its images, its stream and its learner."""

import json
from pathlib import Path

import torch
from torch import Tensor

from myosotis.continual.segmentation.config import SegmentLearningConfig
from myosotis.continual.segmentation.partitions import Partition
from myosotis.continual.segmentation.saved import SegmentLearnerSpec
from myosotis.continual.segmentation.scenario import SegmentationStream, class_incremental_segmentation
from myosotis.data.mask_sources import read_masks
from myosotis.data.masks import MaskedImages
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.seeding import derive_seed
from myosotis.models.segmenter import SegmenterSpec, expected_pixels

_STATISTICS = 500  # largest number of images for pixel statistics


def read_mask_sets(config: SegmentLearningConfig) -> tuple[MaskedImages, MaskedImages]:
    """Read the training and the test images.

    Raises:
        InputError: Something is missing, does not fit together, or an image is in both.
    """
    train, test = read_masks(config.data.train), read_masks(config.data.test)
    if train.classes != test.classes:
        raise InputError("training and test images have different classes")
    if train.channels != test.channels:
        raise InputError(f"training images have {train.channels} channels, test images {test.channels}")
    train = _part(train, config.data.limit, config.seed, "data.limit")
    # Runs of several seeds are measured on the same test images.
    test = _part(test, config.data.test_limit, 0, "data.test_limit")
    check_apart(train, test)
    return train, test


def make_stream(config: SegmentLearningConfig, train: MaskedImages, test: MaskedImages) -> SegmentationStream:
    """Split the images of a job into its tasks.

    Raises:
        InputError: They cannot be split like that.
    """
    stream = config.scenario
    order = None
    if stream.class_order is not None:
        unknown = next((name for name in stream.class_order if name not in train.classes), None)
        if unknown is not None:
            raise InputError(f"scenario.class_order: unknown class {unknown!r}; known: {', '.join(train.classes)}")
        order = [train.classes.index(name) + 1 for name in stream.class_order]
    partition = None
    if stream.partition is not None:
        partition = Partition.load(Path(stream.partition), train.names, train.label_sets(stream.min_pixels))
    with settings_as_input("scenario"):
        return class_incremental_segmentation(
            train,
            test,
            stream.first,
            stream.per_task,
            kind=stream.kind,
            class_order=order,
            order_seed=stream.order_seed,
            seed=config.seed if stream.partition_seed is None else stream.partition_seed,
            assign=stream.assign,
            min_pixels=stream.min_pixels,
            match_sizes=stream.match_sizes,
            unseen=stream.unseen,
            given=partition,
        )


def describe_segment_learner(config: SegmentLearningConfig, stream: SegmentationStream) -> SegmentLearnerSpec:
    """Return the description of the learner of a job."""
    model = config.model
    expected = None if model.source is False else expected_pixels(model.library, model.architecture)
    if model.mean is not None and model.std is not None:
        mean, std = model.mean, model.std
    else:
        mean, std = expected or mask_statistics(stream.train, stream.tasks[0].train)
    if {len(mean), len(std)} != {stream.train.channels}:
        raise InputError(f"model: mean and std need {stream.train.channels} numbers each, one for each channel")
    body = SegmenterSpec(
        model.library, model.architecture, stream.train.channels, mean, std, dict(model.options), model.norm_momentum
    )
    return SegmentLearnerSpec(
        config.method.name, config.method.settings, body, stream.classes, stream.sizes, config.seed
    )


def mask_statistics(images: MaskedImages, indices: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of the pixels of each channel, in [0, 1], over the first 500 of these images."""
    sums = torch.zeros(3, images.channels, dtype=torch.float64)
    for index in indices[:_STATISTICS].tolist():
        pixels = images.images[index].double().flatten(1) / 255
        sums += torch.stack([torch.full((images.channels,), pixels.shape[1]), pixels.sum(1), pixels.square().sum(1)])
    mean = sums[1] / sums[0]
    # The deviation of a constant channel is zero.
    deviation = (sums[2] / sums[0] - mean.square()).clamp(min=0).sqrt().clamp(min=1 / 255)
    return tuple(mean.tolist()), tuple(deviation.tolist())


def mask_fingerprints(stream: SegmentationStream, salt: str) -> dict[str, str]:
    """Return salted fingerprints of the training and of the test images, with masks and names, in their order."""
    return {
        name: salted_fingerprint(json.dumps(list(zip(images.names, images.digests, strict=True))), salt)
        for name, images in (("train", stream.train), ("test", stream.test))
    }


def check_apart(train: MaskedImages, test: MaskedImages) -> None:
    """Raise ``InputError`` if a test image is a training image, even with another name or mask."""
    known = {image: name for name, (image, _) in zip(train.names, train.hashes, strict=True)}
    for name, (image, _) in zip(test.names, test.hashes, strict=True):
        if image in known:
            raise InputError(f"the test image {name!r} is the training image {known[image]!r}")


def _part(images: MaskedImages, limit: int | None, seed: int, key: str) -> MaskedImages:
    if limit is None:
        return images
    if limit > len(images):
        raise InputError(f"{key} is {limit}, more than the {len(images)} images")
    drawn = sorted(range(len(images)), key=lambda index: (derive_seed(seed, "limit", images.names[index]), index))
    return images.subset(sorted(drawn[:limit]))
