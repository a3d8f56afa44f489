"""Training of an unlearning method, and presets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from myosotis.engine.config import Config
from myosotis.unlearning.classifier.batch_norm import BatchNormPolicy
from myosotis.unlearning.classifier.goals import Goal


class UnlearnSettings(Config):
    """Training of a method.

    Attributes:
        learning_rate: Learning rate of SGD.
        momentum: Momentum of SGD.
        weight_decay: Weight decay of SGD; the released code of Cha et al. has 1e-4, which counteracts the importance
            penalty.
        forget_batch_size: Forget instances per step.
        batch_size: Adversarial or retained samples per step.
        epochs: Largest number of epochs; an epoch sees every adversarial, or retained, sample once, or without either
            the forget set.
        max_steps: Largest number of steps; None leaves the cap to ``epochs``.
        max_grad_norm: Norm that gradients are clipped to; None leaves them as they are.
        batch_norm: See :func:`~myosotis.unlearning.classifier.batch_norm.set_modes`.
    """

    renamed: ClassVar[Mapping[str, str]] = {"batch": "batch_size", "forget_batch": "forget_batch_size"}

    learning_rate: PositiveFloat = 1e-3
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    weight_decay: NonNegativeFloat = 0.0
    forget_batch_size: PositiveInt = 32
    batch_size: PositiveInt = 256
    epochs: PositiveInt = 100
    max_steps: PositiveInt | None = None
    max_grad_norm: PositiveFloat | None = None
    batch_norm: BatchNormPolicy = "train"


@dataclass(frozen=True)
class Preset:
    """A method with matching settings: ``unlearn_instances(model, forget, **vars(preset))``."""

    goal: Goal
    method: str
    method_settings: dict[str, Any] = field(default_factory=dict)
    settings: UnlearnSettings = field(default_factory=UnlearnSettings)


PRESETS: Mapping[str, Preset] = {
    "l2ul_official": Preset(
        "misclassify",
        "adv_imp",
        {"copies": 20, "eps": 4.0, "step_size": 0.1, "steps": 100, "strength": 1.0, "reduction": "batch"},
        UnlearnSettings(weight_decay=1e-4, epochs=1000),
    ),
    "as_unseen": Preset(
        "as_unseen",
        "ignorant_teacher",
        {},
        UnlearnSettings(
            learning_rate=1e-2,
            forget_batch_size=128,
            batch_size=128,
            epochs=60,
            max_steps=60,
            max_grad_norm=1.0,
            batch_norm="freeze",
        ),
    ),
    "recommended": Preset(
        "relabel",
        "adv_imp",
        {
            "hold": "outputs",
            "release": 100,
            "copies": 10,
            "eps": 1.0,
            "step_size": 0.4,
            "steps": 6,
            "strength": 0.1,
        },
        UnlearnSettings(learning_rate=2e-3, forget_batch_size=128, batch_size=128, epochs=300, max_steps=300),
    ),
}
"""``l2ul_official``: the CIFAR-10 command of the released code of Cha et al.

``recommended``: ours, for images of 28 to 32 pixels: to the runner-up label, with the old model's outputs held around
each instance, and the whole forget set (up to 128) in each step. On a development draw of Fashion-MNIST twice the
examples at smaller steps kept two points more and took four times as long.
"""
