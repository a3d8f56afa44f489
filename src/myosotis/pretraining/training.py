"""Pre-train a network by masking."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import UInt8
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from timm.optim import param_groups_weight_decay
from torch import Tensor, nn

from myosotis.engine.config import Config
from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.loop import Precision, numbers_of, train
from myosotis.engine.processes import share
from myosotis.engine.schedule import Schedule, make_schedule
from myosotis.engine.seeding import derive_seed
from myosotis.pretraining.batches import ImageBatch, ImageBatches
from myosotis.pretraining.mask_statistics import MaskStatistics
from myosotis.pretraining.masked_model import MaskedModel, Reconstruction
from myosotis.pretraining.maskers.masker import Masker, Momentum, Part
from myosotis.pretraining.teacher import Teacher

_REFERENCE_BATCH = 256
_WARMUP_SHARE = 20


class PretrainTraining(Config):
    """Optimisation of pre-training; the defaults are MAE's, but for the batch.

    Attributes:
        epochs: Number of epochs.
        base_learning_rate: Learning rate for 256 images in a step; the largest rate is proportional to their number.
        weight_decay: Weight decay, except of biases and norms.
        betas: Betas of AdamW.
        batch_size: Images per step, over all processes.
        schedule: Learning-rate schedule, see :func:`~myosotis.engine.schedule.make_schedule`.
        warmup: Epochs in which the rate rises; None: a twentieth of them, as 40 of 800.
        area: Range of the share of an image that is cropped.
        flip: Probability of mirroring.
        max_grad_norm: Norm that gradients are clipped to; None leaves them as they are.
        precision: Precision of the forward pass; salience and losses are in single precision.
        accumulate: Batches whose mean gradient makes one step.
    """

    renamed: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    epochs: PositiveInt = 800
    base_learning_rate: PositiveFloat = 1.5e-4
    weight_decay: NonNegativeFloat = 0.05
    betas: tuple[Momentum, Momentum] = (0.9, 0.95)
    batch_size: Annotated[int, Field(ge=2)] = 256
    schedule: Schedule = "cosine"
    warmup: NonNegativeInt | None = None
    area: tuple[Part, Part] = (0.2, 1.0)
    flip: Part = 0.5
    max_grad_norm: PositiveFloat | None = None
    precision: Precision = "no"
    accumulate: PositiveInt = 1

    @model_validator(mode="after")
    def _belongs(self) -> "PretrainTraining":
        if not 0 < self.area[0] <= self.area[1]:
            raise ValueError("'area' must be two ascending shares above 0")
        if self.schedule == "onecycle" and self.warmup != 0:
            raise ValueError("'onecycle' has its own warm-up; set 'warmup' to 0")
        if self.warmup is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs must be shorter than the training of {self.epochs}")
        return self

    @property
    def learning_rate(self) -> float:
        """The largest rate."""
        return self.base_learning_rate * self.batch_size * self.accumulate / _REFERENCE_BATCH

    @property
    def warmup_epochs(self) -> int:
        """Epochs in which the rate rises."""
        return self.epochs // _WARMUP_SHARE if self.warmup is None else self.warmup


class PretrainSettings(PretrainTraining):
    """Pre-training of a network by masking.

    Attributes:
        ratio: Share of hidden tokens.
        ratio_end: Share at the end of the training, reached in equal steps; None keeps ``ratio``.
    """

    ratio: float = 0.75
    ratio_end: float | None = None

    def ratio_at(self, progress: float) -> float:
        """Return the share of hidden tokens after a share of the training.

        Example:
            >>> PretrainSettings(ratio=0.5, ratio_end=0.75).ratio_at(0.5)
            0.625
        """
        return self.ratio if self.ratio_end is None else self.ratio + (self.ratio_end - self.ratio) * progress


@dataclass(frozen=True)
class PretrainOutcome:
    """The outcome of pre-training.

    Attributes:
        history: One entry for each epoch of this session: mean terms of the loss, and statistics of the masks.
        steps: Optimiser steps, those of earlier sessions included.
    """

    history: list[dict[str, float]]
    steps: int


def check_ratio(masker: Masker[Any], tokens: int, ratio: float) -> None:
    """Raise ``SettingsError`` unless all ratios of a masker leave a visible and a hidden token.

    Example:
        >>> from myosotis.pretraining.maskers import build_masker
        >>> check_ratio(build_masker("random"), 49, 0.75)
    """
    low, high = masker.ratio_range(ratio)
    if not 0 <= low <= high <= 1:
        raise SettingsError(f"a ratio of {ratio} with a spread of {high - ratio:g} exceeds [0, 1]")
    if int(tokens * (1 - high) + 1e-6) < 1:
        raise SettingsError(f"a ratio of {high:g} leaves no visible token of {tokens}")
    if int(tokens * (1 - low) + 1e-6) >= tokens:
        raise SettingsError(f"a ratio of {low:g} leaves no hidden token of {tokens}")


def pretrain(
    model: MaskedModel,
    images: UInt8[Tensor, "n channels height width"],
    settings: PretrainSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    checkpoints: Path | None = None,
    checkpoint_every: int = 1,
    log: Callable[[Mapping[str, Any]], None] | None = None,
    after_epoch: Callable[[int], None] | None = None,
    description: str = "pre-training",
) -> PretrainOutcome:
    """Pre-train a network in place.

    With ``checkpoints`` an interrupted call continues from the last saved state, and ends with the same weights as an
    uninterrupted one.

    Args:
        model: The network; salience depends on its normalisation.
        images: Training images.
        settings: Settings of the training.
        seed: Seed of order, crops and masks.
        device: Device of the network.
        checkpoints: Directory of the training state.
        checkpoint_every: Epochs between checkpoints.
        log: Called with the terms of the loss and the statistics of the masks after every epoch.
        after_epoch: Called with the number of finished epochs.
        description: Text of the progress bar.

    Raises:
        SettingsError: A setting does not suit the images or the masker.
        DivergedError: A loss is not finite at the end of an epoch.
    """
    for progress in (0, 1):
        check_ratio(model.masker, model.grid[0] * model.grid[1], settings.ratio_at(progress))
    target = torch.device(device)
    model.to(target)
    batches = ImageBatches(
        images,
        size=settings.batch_size,
        area=settings.area,
        flip=settings.flip,
        seed=derive_seed(seed, "data"),
        device=target,
    )
    teacher = None if model.masker.guide is None else Teacher(model)
    optimizer = make_optimizer(model, settings)
    per_epoch = math.ceil(batches.steps / settings.accumulate)
    total = per_epoch * settings.epochs
    scheduler = make_schedule(optimizer, settings.schedule, total, warmup=settings.warmup_epochs * per_epoch)
    history = _History(model.masker, log, after_epoch)

    def loss(net: nn.Module, batch: ImageBatch, step: int) -> Mapping[str, Tensor]:
        reconstruction = net(
            batch.images,
            ratio=settings.ratio_at(step / total),
            progress=step / total,
            generator=torch.Generator().manual_seed(batch.seed),
            guide=None if teacher is None else teacher(batch.images),
        )
        return history.add(reconstruction)

    def batches_of(epoch: int) -> Iterator[ImageBatch]:
        torch.manual_seed(derive_seed(seed, "dropout", epoch, share()[0]))
        return batches(epoch)

    model.train()
    # Dropout draws from torch's global generator, which is the caller's.
    with torch.random.fork_rng([target] if target.type == "cuda" else []):
        end = train(
            model,
            optimizer,
            batches_of,
            loss,
            epochs=settings.epochs,
            scheduler=scheduler,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
            accumulate=settings.accumulate,
            after_update=None if teacher is None else lambda _: teacher.follow(model),
            after_epoch=history.finish_epoch,
            checkpoints=checkpoints,
            save_every=checkpoint_every,
            steps_per_epoch=per_epoch,
            state=teacher,
            description=description,
        )
    model.eval()
    return PretrainOutcome(history.epochs, end.steps)


class _History:
    """Mean terms of the loss and statistics of the masks, epoch by epoch."""

    def __init__(
        self,
        masker: Masker[Any],
        log: Callable[[Mapping[str, Any]], None] | None,
        after_epoch: Callable[[int], None] | None,
    ) -> None:
        self.epochs: list[dict[str, float]] = []
        self._masks, self._terms = MaskStatistics(masker), dict[str, list[Tensor]]()
        self._log, self._after_epoch = log, after_epoch

    def add(self, reconstruction: Reconstruction) -> Mapping[str, Tensor]:
        """Add a batch, and return the terms of its loss."""
        self._masks.add(reconstruction.mask)
        for name, value in reconstruction.terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        return reconstruction.terms

    def finish_epoch(self, epoch: int, step: int) -> None:
        means = numbers_of({name: torch.stack(values).mean() for name, values in self._terms.items()})
        self._terms.clear()
        if not all(math.isfinite(value) for value in means.values()):
            raise DivergedError(f"training diverged in epoch {epoch}; lower 'base_learning_rate'")
        self.epochs.append({**means, **self._masks.summary()})
        if self._log is not None:
            self._log({"phase": "pretrain", "epoch": epoch, "step": step, **self.epochs[-1]})
        if self._after_epoch is not None:
            self._after_epoch(epoch)


def make_optimizer(model: nn.Module, settings: PretrainSettings) -> torch.optim.AdamW:
    """Return AdamW that decays weights with two dimensions or more."""
    groups = param_groups_weight_decay(model, settings.weight_decay)
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas)
