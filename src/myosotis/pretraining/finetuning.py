"""Fine-tune an encoder as a classifier, as MAE does."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms.v2 import CutMix, MixUp, RandomChoice

from myosotis.data.augmentation import crop_and_flip
from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.config import Config
from myosotis.engine.errors import DivergedError, InputError, SettingsError
from myosotis.engine.loop import Precision, train
from myosotis.engine.processes import share
from myosotis.engine.schedule import make_schedule
from myosotis.engine.seeding import derive_seed, generator
from myosotis.models.image_classifier import ClassifierSpec, build_classifier
from myosotis.models.modes import evaluating
from myosotis.models.normalization import NormalizedClassifier

_REFERENCE_BATCH = 256
_CHUNK = 500


class FinetuneSettings(Config):
    """How an encoder and a new linear head are trained with labels; defaults are MAE's for ViT-B, but no erasing.

    Attributes:
        epochs: Number of epochs.
        base_learning_rate: Learning rate for 256 images in a step.
        layer_decay: Ratio of the learning rate of each layer to that of the next.
        weight_decay: Weight decay, but of biases and norms.
        drop_path: Stochastic depth; 0 for networks without it.
        batch_size: Images per step, over all processes.
        warmup: Epochs in which the rate rises; None: a twentieth of them, as 5 of 100.
        mixup: Alpha of mixup; 0 for none.
        cutmix: Alpha of CutMix; where both are given each batch takes one of them.
        smoothing: Label smoothing.
        shift: Pixels by which images are moved; they are mirrored where ``flip`` says so.
        flip: Whether images may be mirrored.
        precision: Precision of the forward pass.
    """

    renamed: ClassVar[Mapping[str, str]] = {"batch": "batch_size"}

    epochs: PositiveInt = 100
    base_learning_rate: PositiveFloat = 5e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.65
    weight_decay: NonNegativeFloat = 0.05
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.1
    batch_size: Annotated[int, Field(ge=2)] = 256
    warmup: NonNegativeInt | None = None
    mixup: NonNegativeFloat = 0.8
    cutmix: NonNegativeFloat = 1.0
    smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.1
    shift: NonNegativeInt = 4
    flip: bool = True
    precision: Precision = "no"

    @model_validator(mode="after")
    def _belongs(self) -> "FinetuneSettings":
        if self.warmup is not None and self.warmup >= self.epochs:
            raise ValueError(f"a warm-up of {self.warmup} epochs must be shorter than the training of {self.epochs}")
        return self

    @property
    def warmup_epochs(self) -> int:
        """Epochs in which the rate rises."""
        return self.epochs // 20 if self.warmup is None else self.warmup


def with_new_head(
    encoder: nn.Module, spec: ClassifierSpec, classes: int, *, drop_path: float, seed: int
) -> NormalizedClassifier:
    """Return a classifier with a copy of an encoder and a new linear head.

    Args:
        encoder: An encoder without classes.
        spec: Its specification.
        classes: Number of classes of the head.
        drop_path: Stochastic depth; 0 for none.
        seed: Seed of the head.

    Raises:
        InputError: The architecture has no stochastic depth, or its head is not one linear layer.
    """
    options = {**spec.options, **({"drop_path_rate": drop_path} if drop_path else {})}
    body = ClassifierSpec(spec.architecture, classes, spec.in_channels, spec.mean, spec.std, options)
    model = build_classifier(body, seed=seed)
    network: Any = model.classifier
    head = network.get_classifier()
    if not isinstance(head, nn.Linear):
        raise InputError(f"architecture '{spec.architecture}': its head is not one linear layer")
    own = {name for name, weight in network.named_parameters() if any(weight is new for new in head.parameters())}
    missing, unknown = network.load_state_dict(encoder.state_dict(), strict=False)
    left = [name for name in (*missing, *unknown) if name not in own]
    if left:
        raise InputError(f"architecture '{spec.architecture}': a head changes its other weights: {left[0]}")
    return model


def finetune(
    model: NormalizedClassifier,
    train_set: ImageSet,
    test_set: ImageSet,
    settings: FinetuneSettings,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    checkpoints: Path | None = None,
    description: str = "fine-tuning",
) -> float:
    """Train a classifier in place and return its accuracy on the test set.

    Args:
        model: A classifier with a new head.
        train_set: Training images.
        test_set: Test images, which are read once, at the end.
        settings: Settings of the training.
        seed: Seed of order and augmentation.
        device: Device of the network.
        checkpoints: Directory of the training state, see :func:`~myosotis.engine.loop.train`.
        description: Text of the progress bar.

    Raises:
        SettingsError: There are fewer images than a batch.
        DivergedError: The loss is not finite at the end of an epoch.
    """
    rank, world = share()
    if len(train_set) < settings.batch_size or settings.batch_size % world:
        raise SettingsError(
            f"fine-tuning: a batch of {settings.batch_size} does not fit {len(train_set)} images in {world} processes"
        )
    target = torch.device(device)
    model.to(target)
    classes, steps = len(train_set.classes), len(train_set) // settings.batch_size
    optimizer = _optimizer(model, settings)
    scheduler = make_schedule(optimizer, "cosine", steps * settings.epochs, warmup=settings.warmup_epochs * steps)
    mixes = [kind(alpha=alpha, num_classes=classes) for kind, alpha in _mixes(settings) if alpha]
    mix = RandomChoice(mixes) if mixes else None

    def batches(epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        torch.manual_seed(derive_seed(seed, "finetune", epoch, rank))
        order = torch.randperm(len(train_set), generator=generator(seed, "finetune order", epoch))
        for step in range(steps):
            indices = order[step * settings.batch_size : (step + 1) * settings.batch_size][rank::world]
            stream = generator(seed, "finetune crops", epoch, step, rank)
            images = to_unit(train_set.images[indices].to(target))
            images = crop_and_flip(images, stream, padding=settings.shift, flip=settings.flip)
            labels = train_set.labels[indices].to(target)
            yield (images, functional.one_hot(labels, classes).float()) if mix is None else mix(images, labels)

    last: list[Tensor] = []

    def loss(net: nn.Module, batch: tuple[Tensor, Tensor], _: int) -> Mapping[str, Tensor]:
        value = functional.cross_entropy(net(batch[0]), batch[1], label_smoothing=settings.smoothing)
        last[:] = [value.detach()]
        return {"cross_entropy": value}

    def check(epoch: int, _: int) -> None:
        if not bool(last[0].isfinite()):
            raise DivergedError(f"fine-tuning diverged in epoch {epoch}; lower 'finetune.base_learning_rate'")

    model.train()
    with torch.random.fork_rng([target] if target.type == "cuda" else []):
        train(
            model,
            optimizer,
            batches,
            loss,
            epochs=settings.epochs,
            scheduler=scheduler,
            precision=settings.precision,
            after_epoch=check,
            checkpoints=checkpoints,
            steps_per_epoch=steps,
            description=description,
        )
    model.eval()
    return _accuracy(model, test_set, target)


def _accuracy(model: NormalizedClassifier, test_set: ImageSet, device: torch.device) -> float:
    right = 0
    with evaluating(model), torch.no_grad():
        for images, labels in zip(test_set.images.split(_CHUNK), test_set.labels.split(_CHUNK), strict=True):
            right += int((model(to_unit(images.to(device))).argmax(dim=1).cpu() == labels).sum())
    return right / len(test_set)


def _mixes(settings: FinetuneSettings) -> tuple[tuple[Any, float], ...]:
    return (MixUp, settings.mixup), (CutMix, settings.cutmix)


def _optimizer(model: NormalizedClassifier, settings: FinetuneSettings) -> torch.optim.AdamW:
    rate = settings.base_learning_rate * settings.batch_size / _REFERENCE_BATCH
    network: Any = model.classifier
    groups = param_groups_layer_decay(
        network,
        weight_decay=settings.weight_decay,
        no_weight_decay_list=network.no_weight_decay() if hasattr(network, "no_weight_decay") else (),
        layer_decay=settings.layer_decay,
    )
    for group in groups:
        group["lr"] = rate * group.pop("lr_scale")
    return torch.optim.AdamW(groups, lr=rate)
