"""How long a job would take: phases of equal steps, of which a few are timed."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_SECONDS = 1.5
"""Time spent on each phase, beside one step to warm up."""
_CALLS = (4, 24)
"""Fewest and most steps that are timed."""


@dataclass(frozen=True)
class Phase:
    """A part of a job that repeats one step.

    Attributes:
        name: Name of the part.
        count: Number of steps.
        step: Carries out one step on data of the job; it changes nothing that the job uses.
        unit: Name of a step, in the plural.
        may_stop: Whether it may end after any step, as an unlearning at its goal or an answer at its last word.
    """

    name: str
    count: int
    step: Callable[[], object]
    unit: str = "training steps"
    may_stop: bool = False


def phase_seconds(phase: Phase) -> float:
    """Return how long a phase would take on this machine, by a few of its steps.

    Other work of the machine makes single steps slow, never fast, so that the first quartile counts.

    Example:
        >>> phase_seconds(Phase("nap", 100, lambda: time.sleep(0.001))) > 0.1
        True
    """
    phase.step()  # the first step allocates and compiles
    seconds: list[float] = []
    began = time.monotonic()
    fewest, most = _CALLS
    while len(seconds) < fewest or (time.monotonic() - began < _SECONDS and len(seconds) < most):
        started = time.monotonic()
        phase.step()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds.append(time.monotonic() - started)
    return phase.count * statistics.quantiles(seconds, n=4)[0]


def job_seconds(timed: Sequence[tuple[Phase, float]], prepared: float) -> tuple[float, float]:
    """Return the least and the most seconds that a job is expected to take.

    Beside the steps of its phases a method may ask an old network, and audits and probes take their time;
    ``benchmarks/forecast.py`` compares the range with what jobs took.

    Args:
        timed: Its phases, and the seconds of each.
        prepared: Seconds that it took to load the program and to read and check the inputs.

    Example:
        >>> job_seconds([(Phase("training", 5, lambda: None), 10)], 2)
        (12, 34)
    """
    least = prepared + sum(seconds for phase, seconds in timed if not phase.may_stop)
    return least, 2 * prepared + 3 * sum(seconds for _, seconds in timed)


def training_step(net: nn.Module, loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
    """Return a step that computes a loss and its gradients, and changes no weight.

    Args:
        net: Network in training mode; its running statistics do change.
        loss: Loss of a batch.
    """

    def step() -> None:
        net.zero_grad(set_to_none=True)
        loss().backward()
        net.zero_grad(set_to_none=True)

    return step


def inference_step(net: Any, *inputs: Any) -> Callable[[], None]:
    """Return a step that computes the outputs of a network without gradients."""

    def step() -> None:
        with torch.no_grad():
            net(*inputs)

    return step


def duration(seconds: float) -> str:
    """Return a time as people say it.

    Example:
        >>> duration(0.2), duration(42), duration(200), duration(5000), duration(200_000)
        ('under a second', '42 seconds', '3 minutes', '1 hour 23 minutes', '56 hours')
    """
    if seconds < 1:
        return "under a second"
    if seconds < 100:
        return _counted(round(seconds), "second")
    minutes = round(seconds / 60)
    if minutes < 60:
        return _counted(minutes, "minute")
    hours, rest = divmod(minutes, 60)
    if hours >= 10:
        return _counted(round(minutes / 60), "hour")
    return _counted(hours, "hour") + (f" {_counted(rest, 'minute')}" if rest else "")


def between(least: float, most: float) -> str:
    """Return a range of times as people say it.

    Example:
        >>> between(16, 48), between(50, 170), between(0.2, 0.4)
        ('16 to 48 seconds', '50 seconds to 3 minutes', 'under a second')
    """
    first, last = duration(least), duration(most)
    if first == last:
        return last
    number, _, unit = first.partition(" ")
    return f"{number if unit == last.partition(' ')[2] else first} to {last}"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}{'' if count == 1 else 's'}"


def steps_of(samples: Sequence[int], batch: int, epochs: int) -> int:
    """Return the steps of trainings one after another, each over so many samples in every epoch.

    Example:
        >>> steps_of([100, 50], 32, 2)
        12
    """
    return sum(epochs * -(-count // batch) for count in samples)
