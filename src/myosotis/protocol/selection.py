"""The choice of tuning; only this can be evaluated."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.protocol.result import Selection


def mean_scores(results: Mapping[tuple[int, int], Mapping[str, Any]], metric: str) -> dict[int, float]:
    """Return the mean over seeds of every trial.

    Args:
        results: Results by trial and seed.
        metric: A key of their ``metrics``.
    """
    by_trial: dict[int, list[float]] = {}
    for (trial, _), result in results.items():
        by_trial.setdefault(trial, []).append(float(result["metrics"][metric]))
    return {trial: sum(scores) / len(scores) for trial, scores in sorted(by_trial.items())}


def survivors(scores: Mapping[int, float], keep: float) -> list[int]:
    """Return the trials that continue: the best share of them, at least one; of ties the first.

    Args:
        scores: Scores by trial.
        keep: The share, in (0, 1).

    Example:
        >>> survivors({0: 0.1, 1: 0.7, 2: 0.7, 3: 0.5}, 0.5)
        [1, 2]
    """
    count = max(1, math.ceil(keep * len(scores)))
    return sorted(sorted(scores, key=lambda trial: (-scores[trial], trial))[:count])


def finished_trials(results: Mapping[tuple[int, int], Any]) -> list[int]:
    """Return the trials that ran on as many seeds as any: all of them where nothing was pruned."""
    counts = Counter(trial for trial, _ in results)
    return sorted(trial for trial, count in counts.items() if count == max(counts.values()))


def select(
    method: str,
    draws: Sequence[Mapping[str, Any]],
    results: Mapping[tuple[int, int], Mapping[str, Any]],
    metric: str,
    selector: str = "stream",
) -> Selection:
    """Return the trial with the best mean score over seeds, of those that were not pruned; of ties the first.

    Args:
        method: Name of the method.
        draws: The settings of every trial.
        results: Results on the tuning stream by trial and seed.
        metric: The metric to maximise.
        selector: ``"stream"``, or ``"first_task"``, which looks at the accuracy on the first task alone.

    Example:
        >>> results = {(k, 0): {"metrics": {"final_accuracy": score}} for k, score in enumerate((0.1, 0.7, 0.7))}
        >>> select("er", [{}, {}, {}], results, "final_accuracy").trial
        1
    """
    scores = mean_scores(results, "first_task_accuracy" if selector == "first_task" else metric)
    trial = max(finished_trials(results), key=lambda number: (scores[number], -number))
    return Selection(method=method, selector=selector, trial=trial, drawn=dict(draws[trial]), score=scores[trial])
