"""The splits of a batch of current and remembered samples in which every task weighs equally."""

import math
from dataclasses import dataclass
from typing import Literal

DivisorOf = Literal["both", "current"]
Mode = Literal["exact", "weighted"]


@dataclass(frozen=True)
class Partition:
    """The parts of a batch: first samples of the current task, then those from the exemplar memory.

    Attributes:
        n_current: B_c, the number of current samples.
        n_past_tasks: T, the number of tasks in the memory; 0 in the first task.
    """

    n_current: int
    n_past_tasks: int

    def __post_init__(self) -> None:
        if self.n_current < 0 or self.n_past_tasks < 0:
            raise ValueError(f"counts must not be negative, got {self.n_current} and {self.n_past_tasks}")


def reshape_factor(n_current: int, n_memory: int, n_past_tasks: int, *, divisor_of: DivisorOf = "both") -> int:
    """Return the number of splits of the current samples in which each past task weighs as much as the current one.

    Balance means ``B_c / r = B_p / T``. The result is the largest r not above ``B_c T / B_p`` that divides the batch
    (Cha et al., CVPR 2023; the rule is that of their code, in which ``B_c / B_p`` is always whole).

    Args:
        n_current: B_c, the number of current samples.
        n_memory: B_p, the number of remembered samples.
        n_past_tasks: T, the number of tasks in the memory.
        divisor_of: ``"both"`` takes a divisor of B_c and of B_p, as in the authors' code; ``"current"`` one of B_c,
            which suffices for the arithmetic and is closer to balance.

    Returns:
        r; 1 if there is nothing to balance.

    Example:
        >>> [reshape_factor(48, 16, tasks) for tasks in range(1, 10)]
        [2, 4, 8, 8, 8, 16, 16, 16, 16]
        >>> [reshape_factor(48, 16, tasks, divisor_of="current") for tasks in range(1, 10)]
        [3, 6, 8, 12, 12, 16, 16, 24, 24]
    """
    if min(n_current, n_memory, n_past_tasks) < 1:
        return 1
    balanced = n_current * n_past_tasks // n_memory
    divisible = math.gcd(n_current, n_memory) if divisor_of == "both" else n_current
    return next((factor for factor in range(min(balanced, divisible), 1, -1) if divisible % factor == 0), 1)
