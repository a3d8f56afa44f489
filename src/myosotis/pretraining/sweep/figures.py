"""The figures of a sweep, from the results of its runs."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from myosotis.engine.failures import counted
from myosotis.evaluation.intervals import t_interval
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.sweep.units import SweepUnit

Finished = Sequence[tuple[SweepUnit, Any]]
"""Units with their results."""
Trained = dict[tuple[str, float | None, int], Any]
"""Results by masker, ratio and seed."""


def sweep_summary(finished: Finished, config: SweepConfig, *, probed: bool) -> dict[str, Any]:
    """Return the figures of a sweep, ready for JSON.

    Args:
        finished: Units with their results; a masker without any is left out.
        config: The sweep.
        probed: Whether encoders were measured by probes.
    """
    untrained = [result for unit, result in finished if unit.masker is None]
    trained: Trained = {
        (unit.masker, unit.ratio, unit.seed): result for unit, result in finished if unit.masker is not None
    }
    measures = [*(("linear", "knn") if probed else ()), *(("finetuned",) if config.finetune is not None else ())]
    pixels = [result["pixels"] for result in untrained if "pixels" in result]
    ratios, confidence = config.ratios, config.confidence
    maskers = [name for name in config.maskers if any(name == masker for masker, *_ in trained)]
    return {
        "measures": measures,
        "maskers": {name: sweep_figures(name, trained, ratios, measures, confidence) for name in maskers},
        "differences": sweep_differences(trained, maskers, ratios, measures, confidence)
        if maskers[0] == next(iter(config.maskers))
        else {},
        "untrained": _intervals(untrained, measures, confidence),
        "untrained_failures": counted(untrained, "untrained"),
        "pixels": _intervals(pixels, ("linear", "knn"), confidence) if pixels else None,
    }


def _intervals(results: Sequence[Any], measures: Sequence[str], confidence: float) -> dict[str, Any]:
    return {kind: asdict(t_interval([result[kind] for result in results], confidence)) for kind in measures}


def sweep_figures(
    masker: str, trained: Trained, ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> dict[str, Any]:
    """Return a masker's figures: at every ratio, and over ratios their mean and their range, all over seeds.

    The mean and the range (largest less smallest) are taken for each seed first; a small range says that the choice of
    the ratio does not matter. ``masks`` holds, for each ratio, statistics of the masks of the last epoch (see
    :class:`~myosotis.pretraining.mask_statistics.MaskStatistics`), or None where there are none.

    Args:
        masker: Name of the masker.
        trained: Results by masker, ratio and seed.
        ratios: Ratios of the sweep.
        measures: Measures of encoders.
        confidence: Confidence of intervals.
    """
    seeds = sorted({seed for name, _, seed in trained if name == masker})
    runs = [trained[masker, ratio, seed] for ratio in ratios for seed in seeds]
    figures: dict[str, Any] = {
        "seconds": sum(run["seconds"] for run in runs) / len(runs),
        "failures": sum(run["failure"] is not None for run in runs),
        "failed_runs": counted(runs, "trained"),
        "masks": {
            key: [_mean([trained[masker, ratio, seed]["masks"].get(key) for seed in seeds]) for ratio in ratios]
            for key in ("ratio", "salient_share", "salience_median")
        },
    }
    for kind in measures:
        table = [[trained[masker, ratio, seed][kind] for ratio in ratios] for seed in seeds]
        figures[kind] = {
            "values": table,
            "at": [asdict(t_interval([row[index] for row in table], confidence)) for index in range(len(ratios))],
            "mean": asdict(t_interval([sum(row) / len(row) for row in table], confidence)),
            "range": asdict(t_interval([max(row) - min(row) for row in table], confidence)),
        }
    return figures


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that exist: a diverged run has no masks, and random masks have no salience."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def sweep_differences(
    trained: Trained, maskers: Sequence[str], ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> dict[str, Any]:
    """Return the differences of each masker to the first one on the same seeds: at all ratios, in mean and range."""
    first, *others = maskers
    seeds = sorted({seed for _, _, seed in trained})
    figures: dict[str, Any] = {}
    for name in others:
        figures[name] = {}
        for kind in measures:
            rows = [
                [[trained[masker, ratio, seed][kind] for ratio in ratios] for masker in (name, first)] for seed in seeds
            ]
            less = [[a - b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in rows]
            ranges = [(max(mine) - min(mine)) - (max(theirs) - min(theirs)) for mine, theirs in rows]
            figures[name][kind] = {
                "at": [asdict(t_interval([row[index] for row in less], confidence)) for index in range(len(ratios))],
                "mean": asdict(t_interval([sum(row) / len(row) for row in less], confidence)),
                "range": asdict(t_interval(ranges, confidence)),
            }
    return figures
