"""Search spaces of the protocol: which settings a trial draws from, and the draw itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from myosotis.engine.seeding import generator

Space = Mapping[str, Sequence[Any]]

COMMON: Space = {
    "training.epochs": (30, 70, 120, 160, 200),
    "training.learning_rate": (0.05, 0.1, 0.15, 0.2, 0.3),
    "training.batch_size": (32, 64, 128, 256, 512),
    "training.weight_decay": (1e-4, 5e-4, 1e-3, 5e-3),
    "training.schedule": ("step", "cosine"),
}
"""Space of all methods trained from scratch (Cha and Cho, TMLR 2025, by their released configurations)."""

_STEP: Space = {"training.drops": (2, 3, 4), "training.drop_factor": (0.1, 0.3, 0.5)}
"""Drawn, too, where the schedule is ``"step"``."""

PUBLISHED: Mapping[str, Space] = {
    "er": {},
    "icarl": {
        "training.weight_decay": (*COMMON["training.weight_decay"], 1e-2),
        "method.loss": ("ce",),
        "method.temperature": (0.5, 1.0, 1.5, 2.0, 2.5),
        "method.weight": (0.5, 1.0, 1.5, 2.0, 3.0),
    },
    "bic": {"method.temperature": (0.5, 1.0, 1.5, 2.0, 2.5), "method.validation": (0.05, 0.1, 0.15, 0.2, 0.3)},
    "wa": {
        "training.weight_decay": (*COMMON["training.weight_decay"], 1e-2),
        "method.temperature": (0.5, 1.0, 1.5, 2.0, 2.5),
    },
    "podnet": {
        "method.spatial": (1.0, 3.0, 5.0, 7.0, 9.0),
        "method.flat": (0.5, 1.0, 1.5, 2.0, 3.0),
        "method.proxies": (10, 20, 30, 50, 100),
        "method.balanced_epochs": (5, 10, 20, 30, 50),
        "method.balanced_rate": (0.001, 0.003, 0.005, 0.007, 0.01),
        "method.adaptive": (True, False),
    },
    "der_expand": {"method.auxiliary": (0.5, 1.0, 1.5, 2.0, 3.0)},
    "foster": {
        "method.temperature": (0.5, 1.0, 1.5, 2.0, 2.5),
        "method.weight": (0.5, 1.0, 1.5, 2.0, 3.0),
        "method.enhancement": (0.5, 1.0, 1.5, 2.0, 3.0),
        "method.beta": (0.93, 0.95, 0.97, 0.99),
        "method.beta_compression": (0.93, 0.95, 0.97, 0.99),
        "method.compression_epochs": (30, 70, 120, 160, 200),
    },
}
"""Published space of each method's own settings; iCaRL and WA draw from one more weight decay than the others. The
weight of the distillation in BiC and WA, which the released code searches, too, is not a setting of the published
methods. Other methods draw from :data:`COMMON` alone."""


def published_space(method: str) -> dict[str, tuple[Any, ...]]:
    """Return the published space of a method.

    Example:
        >>> sorted(published_space("der_expand"))[0]
        'method.auxiliary'
    """
    return {key: tuple(values) for key, values in {**COMMON, **PUBLISHED.get(method, {})}.items()}


def draw(space: Space, method: str, seed: int, trial: int) -> dict[str, Any]:
    """Return the settings of a trial: uniform from each list, all at once, by the arguments alone.

    Trial k is the same whatever the number of trials, workers or restarts. Where the schedule is ``"step"``, its
    settings are drawn, too.

    Args:
        space: Values of the settings, by dotted keys.
        method: Name of the method; methods draw independently.
        seed: Seed of the protocol.
        trial: Number k of the trial, from 0.

    Raises:
        ValueError: A list is empty.

    Example:
        >>> draw({"training.epochs": [1, 2]}, "er", 0, 3) == draw({"training.epochs": [1, 2]}, "er", 0, 3)
        True
    """
    drawn: dict[str, Any] = {}
    for key in sorted(space):
        drawn[key] = _draw_value(space[key], key, method, seed, trial)
    if drawn.get("training.schedule") == "step":
        for key, values in _STEP.items():
            if key not in drawn:
                drawn[key] = _draw_value(values, key, method, seed, trial)
    elif "training.schedule" in drawn:
        for key in _STEP:
            drawn.pop(key, None)
    return drawn


_DRAWN_AS = {"training.batch_size": "training.batch"}
"""Names under which settings are drawn: those that they had when the published tables were made."""


def _draw_value(values: Sequence[Any], key: str, method: str, seed: int, trial: int) -> Any:
    if not len(values):
        raise ValueError(f"the space of '{method}' has no value for '{key}'")
    return values[
        int(
            torch.randint(len(values), (1,), generator=generator(seed, "trial", method, _DRAWN_AS.get(key, key), trial))
        )
    ]
