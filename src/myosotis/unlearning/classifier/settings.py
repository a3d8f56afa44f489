"""How unlearning is trained, and settings that go together."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from myosotis.unlearning.classifier.batch_norm import BatchNormPolicy
from myosotis.unlearning.classifier.goals import Goal


@dataclass(frozen=True)
class UnlearnSettings:
    """How a method is trained.

    Attributes:
        learning_rate: Of SGD.
        momentum: Of SGD.
        weight_decay: Of SGD; the released code of Cha et al. has 1e-4, which pulls against the importance penalty.
        forget_batch: Forget instances in a step.
        batch: Adversarial or retained samples in a step.
        epochs: At most; an epoch sees every adversarial, or retained, sample once, or without either the forget set.
        max_steps: At most; None leaves the cap to ``epochs``.
        max_grad_norm: Gradients are clipped to this norm; None leaves them alone.
        batch_norm: See :func:`~myosotis.unlearning.classifier.batch_norm.set_modes`.
    """

    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    forget_batch: int = 32
    batch: int = 256
    epochs: int = 100
    max_steps: int | None = None
    max_grad_norm: float | None = None
    batch_norm: BatchNormPolicy = "train"


@dataclass(frozen=True)
class Preset:
    """A method with settings that go together; ``unlearn_instances(model, forget, **vars(preset))``."""

    goal: Goal
    method: str
    method_settings: dict[str, Any] = field(default_factory=dict)
    settings: UnlearnSettings = UnlearnSettings()


PRESETS: Mapping[str, Preset] = {
    "l2ul_official": Preset(
        "misclassify",
        "adv_imp",
        {"copies": 20, "eps": 4.0, "step_size": 0.1, "steps": 100, "strength": 1.0, "reduction": "batch"},
        UnlearnSettings(weight_decay=1e-4, epochs=1000),
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
        UnlearnSettings(learning_rate=2e-3, forget_batch=128, batch=128, epochs=300, max_steps=300),
    ),
}
"""``l2ul_official``: the CIFAR-10 command of the released code of Cha et al.

``recommended``: ours, for images of 28 to 32 pixels: to the runner-up label, with the old model's outputs held around
each instance, and the whole forget set (up to 128) in each step. On a development draw of Fashion-MNIST twice the
examples at smaller steps kept two points more and took four times as long.
"""
