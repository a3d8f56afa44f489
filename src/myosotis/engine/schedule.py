"""Learning-rate schedules, advanced after every step."""

from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    SequentialLR,
)

from myosotis.engine.errors import SettingsError

Schedule = Literal["onecycle", "cosine", "poly", "step", "constant"]


def make_schedule(
    optimizer: Optimizer,
    schedule: Schedule,
    steps: int,
    *,
    drops: int = 3,
    factor: float = 0.1,
    power: float = 0.9,
    warmup: int = 0,
) -> LRScheduler | None:
    """Return a schedule over a whole training.

    Args:
        optimizer: At its largest learning rate.
        schedule: ``"onecycle"`` rises for the first three tenths and falls to nothing; ``"cosine"`` falls to nothing;
            ``"poly"`` falls as ``(1 - t) ** power``; ``"step"`` drops; ``"constant"`` stays.
        steps: Of the whole training.
        drops: n; the i-th comes after 2i / (2n + 1) of the training.
        factor: By which each multiplies the rate.
        power: Of ``"poly"``.
        warmup: Steps over which the rate rises evenly before the schedule begins; it then has the rest.

    Returns:
        The schedule; None for a constant rate.

    Raises:
        SettingsError: There is no such schedule, or the warm-up leaves nothing of it or does not suit it.

    Example:
        >>> import torch
        >>> one = torch.optim.SGD([torch.zeros(1)], lr=1.0)
        >>> sorted(make_schedule(one, "step", 200).milestones)
        [57, 114, 171]
    """
    if warmup:
        if not 0 < warmup < steps:
            raise SettingsError(f"a warm-up of {warmup} steps must be shorter than the training of {steps}")
        if schedule == "onecycle":
            raise SettingsError("'onecycle' has its own warm-up; leave the warm-up out")
        rising = LinearLR(optimizer, 1 / (warmup + 1), total_iters=warmup)
        rest = make_schedule(optimizer, schedule, steps - warmup, drops=drops, factor=factor, power=power)
        if rest is None:
            return rising
        return SequentialLR(optimizer, [rising, rest], [warmup])
    if schedule == "onecycle":
        # One step more than there are: torch counts the last as beyond the end.
        peak = [group["lr"] for group in optimizer.param_groups]
        return OneCycleLR(optimizer, peak, total_steps=steps + 1, cycle_momentum=False)
    if schedule == "cosine":
        return CosineAnnealingLR(optimizer, steps)
    if schedule == "poly":
        return PolynomialLR(optimizer, steps, power)
    if schedule == "step":
        milestones = [2 * number * steps // (2 * drops + 1) for number in range(1, drops + 1)]
        return MultiStepLR(optimizer, milestones, factor)
    if schedule == "constant":
        return None
    raise SettingsError(f"unknown schedule {schedule!r}")
