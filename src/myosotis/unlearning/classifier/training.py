"""Training of image classifiers: the model that is to forget, its reference, and shadow models."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar

import torch
from jaxtyping import Int, UInt8
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.data.augmentation import crop_and_flip
from myosotis.data.images import to_unit
from myosotis.engine.config import Config
from myosotis.engine.errors import SettingsError
from myosotis.engine.loop import LoopEnd, Precision, train
from myosotis.engine.processes import share
from myosotis.engine.schedule import Schedule, make_schedule
from myosotis.engine.seeding import derive_seed, generator


class TrainSettings(Config):
    """Training of a classifier by SGD with momentum: for demonstrations, references and shadow models.

    Attributes:
        epochs: Number of epochs.
        learning_rate: Largest learning rate.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD.
        batch_size: Samples per step, over all processes.
        schedule: Learning-rate schedule, see :func:`~myosotis.engine.schedule.make_schedule`.
        padding: Largest shift of an image in pixels; 0 for none.
        flip: Whether images are mirrored at random.
        precision: Precision of the forward pass.
    """

    renamed: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    batch_size: PositiveInt = 128
    schedule: Schedule = "onecycle"
    padding: NonNegativeInt = 0
    flip: bool = False
    precision: Precision = "no"


def train_classifier(
    model: nn.Module,
    images: UInt8[Tensor, "n channels height width"],
    labels: Int[Tensor, " n"],
    settings: TrainSettings,
    *,
    seed: int,
    checkpoints: Path | None = None,
    description: str = "training",
    shared: bool = True,
) -> LoopEnd:
    """Train a classifier in place by cross-entropy; afterwards it is in evaluation mode.

    Images stay bytes on the model's device and are augmented batch by batch. Batches depend on the seed and the epoch
    alone: a resumed run ends with the same weights as an uninterrupted one.

    Args:
        model: Classifier of images in [0, 1]; returns logits.
        images: Training images.
        labels: Classes of the images.
        settings: Settings of the training.
        seed: Seed of order and augmentation.
        checkpoints: Directory of checkpoints, see :func:`myosotis.engine.loop.train`.
        description: Title of the progress bar.
        shared: Whether processes share each batch; else each trains a whole model of its own.

    Raises:
        ValueError: There is no image, or a process would get none of a batch.
    """
    if not len(labels):
        raise SettingsError("no training images given")
    device = next(model.parameters()).device
    images, labels = images.to(device), labels.to(device)
    size = min(settings.batch_size, len(labels))
    # The last incomplete batch is dropped: batch normalisation cannot estimate a variance from one sample.
    steps = len(labels) // size
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.momentum > 0,
    )
    scheduler = make_schedule(optimizer, settings.schedule, steps * settings.epochs)
    rank, world = share() if shared else (0, 1)
    if size % world:
        raise SettingsError(f"a batch of {size} is not a multiple of {world} processes")

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        order = torch.randperm(len(labels), generator=generator(seed, "order", epoch))
        for step in range(steps):
            indices = order[step * size : (step + 1) * size].to(device)
            batch = images[indices]
            if settings.padding or settings.flip:
                stream = torch.Generator().manual_seed(derive_seed(seed, "augmentation", epoch, step))
                batch = crop_and_flip(batch, stream, padding=settings.padding, flip=settings.flip)
            yield to_unit(batch[rank::world]), labels[indices][rank::world]

    model.train()
    end = train(
        model,
        optimizer,
        batches,
        lambda wrapped, batch, _: {"loss": functional.cross_entropy(wrapped(batch[0]), batch[1])},
        epochs=settings.epochs,
        scheduler=scheduler,
        precision=settings.precision,
        checkpoints=checkpoints,
        steps_per_epoch=steps,
        shared=shared,
        description=description,
    )
    model.eval()
    return end
