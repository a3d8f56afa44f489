"""From the configuration of a job to its images, its stream and its learner."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from myosotis.continual.scenario import Scenario, class_incremental, data_incremental, domain_incremental
from myosotis.continual.selfsupervised.config import Change, RepresentationConfig, RepresentDataConfig
from myosotis.continual.selfsupervised.measuring import Transfer
from myosotis.continual.selfsupervised.saved import SslSpec
from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.data.sets import DataConfig, limited, read_sets
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.seeding import derive_seed
from myosotis.models.image_classifier import ClassifierSpec

Sets = tuple[ImageSet, ImageSet]


def read_domains(data: RepresentDataConfig) -> list[Sets]:
    """Read the training and the test images of each domain; limits are applied later, with a seed.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    if data.domains is None:
        return [read_sets(data.single())]
    domains, known = [], dict[DataConfig, Sets]()
    for domain in data.domains:
        # Domains that differ only in the change read their files once.
        plain = DataConfig(**domain.model_dump(exclude={"change", "limit", "test_limit"}))
        key = next((other for other in known if other == plain), plain)
        if key not in known:
            known[key] = read_sets(plain)
        train, test = known[key]
        domains.append((changed(train, domain.change), changed(test, domain.change)))
    return domains


def changed(images: ImageSet, change: Change) -> ImageSet:
    """Return the images after the change of a domain.

    Args:
        images: Images in bytes.
        change: ``"invert"``, ``"rotate_90"`` or ``"rotate_180"``, counterclockwise, or ``"none"``.
    """
    turns = {"rotate_90": 1, "rotate_180": 2}
    if change == "invert":
        return replace(images, images=255 - images.images)
    if change in turns:
        return replace(images, images=torch.rot90(images.images, turns[change], dims=(2, 3)).contiguous())
    return images


def make_stream(config: RepresentationConfig, domains: Sequence[Sets]) -> Scenario:
    """Split the images of a job into its tasks.

    Raises:
        InputError: They cannot be split like that.
    """
    seed, stream, data = config.seed, config.scenario, config.data
    limits = [data.single()] if data.domains is None else list(data.domains)
    parts = []
    for number, ((train, test), limit) in enumerate(zip(domains, limits, strict=True)):
        key = "data" if data.domains is None else f"data.domains.{number}"
        drawn = derive_seed(seed, "domain", number) if number else seed
        # Runs of several seeds are measured on the same test images.
        parts.append(
            (
                limited(train, limit.limit, drawn, f"{key}.limit"),
                limited(test, limit.test_limit, 0, f"{key}.test_limit"),
            )
        )
    train, test = parts[0]
    with settings_as_input("scenario"):
        if stream.kind == "domain":
            return domain_incremental([train for train, _ in parts], tests=[test for _, test in parts], seed=seed)
        if stream.kind == "data":
            return data_incremental(train, stream.tasks or 1, test=test, seed=seed)
        per_task: Any = stream.per_task
        return class_incremental(
            train,
            stream.first or 1,
            per_task,
            test=test,
            seed=seed,
            **stream.order_options(seed),
        )


def describe_ssl_learner(config: RepresentationConfig, scenario: Scenario) -> SslSpec:
    """Return the description of the learner of a job."""
    images, model = scenario.train, config.model
    # Of the first task only: later tasks are not available yet.
    mean, std = model.pixels() or pixel_statistics(images, scenario[0].train.indices)
    channels = model.channels(int(images.images.shape[1]))
    body = ClassifierSpec(model.architecture, 0, channels, mean, std, dict(model.options), image_size=model.size())
    size = (int(images.images.shape[2]), int(images.images.shape[3]))
    return SslSpec(
        config.method.name, config.method.settings, config.base.name, config.base.settings, body, size, config.seed
    )


def read_transfer(config: RepresentationConfig, scenario: Scenario) -> tuple[Transfer, ...]:
    """Read the other data sets that the encoder is measured on.

    Raises:
        InputError: One of them is missing or does not fit.
    """
    channels = int(scenario.train.images.shape[1])
    sets = []
    for name, data in config.probes.transfer.items():
        key = f"probes.transfer.{name}"
        train, test = read_sets(data)
        if train.images.shape[1] != channels:
            raise InputError(f"{key}: has {train.images.shape[1]} channels, the encoder takes {channels}")
        if train.classes != test.classes:
            raise InputError(f"{key}: training and test images have different classes")
        train = limited(train, data.limit, 0, f"{key}.limit")
        sets.append(Transfer(name, train, limited(test, data.test_limit, 0, f"{key}.test_limit")))
    return tuple(sets)
