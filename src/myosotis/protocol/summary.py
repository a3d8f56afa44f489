"""The figures of a protocol, from the results of all units."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

import numpy as np
import torch

from myosotis.engine.failures import counted
from myosotis.engine.seeding import generator
from myosotis.evaluation.intervals import t_interval
from myosotis.protocol.result import (
    Agreement,
    Conventional,
    Effect,
    FirstTask,
    MethodFigures,
    RunCost,
    Scores,
    Selection,
    TotalCost,
)
from myosotis.protocol.selection import finished_trials, mean_scores

_RESAMPLES = 1000

Results = Mapping[tuple[int, int], Mapping[str, Any]]
"""Results by trial and seed."""


def scores_of(results: Sequence[Mapping[str, Any]], metric: str, confidence: float) -> Scores:
    """Return the values of a metric over seeds, their mean and its interval, and the number of failed runs."""
    values = [float(result["metrics"][metric]) for result in results]
    failures = sum(result["failure"] is not None for result in results)
    return Scores(values=values, **asdict(t_interval(values, confidence)), failures=failures)


def rank(scores: Mapping[str, float]) -> dict[str, int]:
    """Return the rank of each method, 1 for the best; of ties the first is better.

    Example:
        >>> rank({"a": 0.2, "b": 0.9, "c": 0.5})
        {'a': 3, 'b': 1, 'c': 2}
    """
    ordered = sorted(scores, key=lambda name: -scores[name])
    return {name: ordered.index(name) + 1 for name in scores}


def kendall(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Return Kendall's tau-b of two lists of scores; None where it is not defined.

    The concordant pairs less the discordant ones, over the geometric mean of the pairs that each list tells apart
    (Kendall, Biometrika 1945); SciPy's function takes 0.3 ms a call, a thousand of which an agreement needs.
    """
    signs = [np.sign(np.subtract.outer(scores, scores)) for scores in (first, second)]
    pairs = float(np.sqrt(np.square(signs[0]).sum() * np.square(signs[1]).sum()))
    return float((signs[0] * signs[1]).sum()) / pairs if pairs > 0 else None


def phase_agreement(
    tuned: Mapping[str, Sequence[float]], evaluated: Mapping[str, Sequence[float]], confidence: float, seed: int
) -> Agreement:
    """Return Kendall's tau between the methods' scores in both phases, with a bootstrap interval over seeds.

    Args:
        tuned: Scores of each method's chosen trial on the tuning stream, by seed.
        evaluated: Scores on the evaluation stream.
        confidence: Confidence of the interval.
        seed: Seed of the resampling.
    """
    names = list(tuned)
    tau = kendall([fmean(tuned[name]) for name in names], [fmean(evaluated[name]) for name in names])
    stream = generator(seed, "agreement")
    taus = []
    for _ in range(_RESAMPLES):
        sides = []
        for scores in (tuned, evaluated):
            count = len(next(iter(scores.values())))
            indices = torch.randint(count, (count,), generator=stream).tolist()
            sides.append([fmean(scores[name][index] for index in indices) for name in names])
        value = kendall(*sides)
        if value is not None:
            taus.append(value)
    if tau is None or not taus:
        return Agreement(tau=tau, low=None, high=None)
    tail = (1 - confidence) / 2
    ends = torch.quantile(torch.tensor(taus).double(), torch.tensor([tail, 1 - tail]).double()).tolist()
    return Agreement(tau=tau, low=ends[0], high=ends[1])


def sensitivity(draws: Sequence[Mapping[str, Any]], scores: Mapping[int, float]) -> dict[str, Effect]:
    """Return, for every setting, the mean score of the trials with each value, and how far these means lie apart.

    The spread includes values of a single trial; ``fewest`` is the smallest number of trials of a value.
    """
    effects: dict[str, Effect] = {}
    for key in sorted({key for drawn in draws for key in drawn}):
        groups: dict[str, list[float]] = {}
        for trial, drawn in enumerate(draws):
            if key in drawn and trial in scores:
                groups.setdefault(str(drawn[key]), []).append(scores[trial])
        means = {value: fmean(group) for value, group in groups.items()}
        if len(means) > 1:
            effects[key] = Effect(
                means=means,
                spread=max(means.values()) - min(means.values()),
                fewest=min(len(group) for group in groups.values()),
            )
    return effects


def total_cost(results: Sequence[Mapping[str, Any]]) -> TotalCost:
    """Return the total cost of runs."""
    totals = {key: sum(result["cost"][key] for result in results) for key in ("seconds", "steps", "images")}
    return TotalCost(**totals, runs=len(results))


def method_summary(
    draws: Sequence[Mapping[str, Any]],
    tuning: Results,
    selections: Mapping[str, Selection],
    evaluations: Mapping[str, Sequence[Mapping[str, Any]]],
    conventional: Results | None,
    metric: str,
    confidence: float,
) -> MethodFigures:
    """Return the figures of one method.

    Args:
        draws: The settings of every trial.
        tuning: Results by trial and seed.
        selections: Choices by selector.
        evaluations: Results of each seed by selector.
        conventional: Results of all trials on the evaluation stream, by trial and seed; None where there are none.
        metric: The maximised metric.
        confidence: Confidence of the intervals.
    """
    chosen = selections["stream"]
    tuned_means, finished = mean_scores(tuning, metric), finished_trials(tuning)
    tuned = [tuning[key] for key in sorted(tuning) if key[0] == chosen.trial]
    return MethodFigures(
        draws=[dict(drawn) for drawn in draws],
        tuning_scores=list(tuned_means.values()),
        finished_trials=finished,
        failures=sum(result["failure"] is not None for result in tuning.values()),
        failed_runs=[
            *counted(tuning.values(), "tuning"),
            *counted(evaluations["stream"], "evaluation"),
            *counted((conventional or {}).values(), "conventional"),
        ],
        runs=len(tuning) + len(evaluations["stream"]) + len(conventional or {}),
        selected=chosen,
        tuned=scores_of(tuned, metric, confidence),
        evaluated=scores_of(evaluations["stream"], metric, confidence),
        evaluated_final=scores_of(evaluations["stream"], "final_accuracy", confidence),
        evaluation_cost=RunCost.model_validate(evaluations["stream"][0]["cost"]),
        first_task=FirstTask(
            selected=selections["first_task"], evaluated=scores_of(evaluations["first_task"], metric, confidence)
        ),
        tuning_cost=total_cost(list(tuning.values())),
        sensitivity=sensitivity(draws, tuned_means),
        conventional=None
        if conventional is None
        else _conventional(conventional, chosen, tuned_means, finished, metric, confidence),
    )


def _conventional(
    results: Results,
    chosen: Selection,
    tuned: Mapping[int, float],
    finished: Sequence[int],
    metric: str,
    confidence: float,
) -> Conventional:
    """The best trial on the evaluation stream itself, against the chosen one on the same seeds."""
    means = mean_scores(results, metric)
    best = max(means, key=lambda trial: (means[trial], -trial))
    scores = scores_of([results[key] for key in sorted(results) if key[0] == best], metric, confidence)
    return Conventional(
        **dict(scores),
        trial=best,
        optimism=scores.mean - means[chosen.trial],
        tau_of_trials=kendall([tuned[trial] for trial in finished], [means[trial] for trial in finished]),
    )
