"""The figures of a sweep, from the results of its runs."""

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

from myosotis.engine.failures import counted
from myosotis.evaluation.intervals import Interval, t_interval
from myosotis.pretraining.sweep.config import SweepConfig
from myosotis.pretraining.sweep.result import MaskerDifferences, MaskerFigures, Measured, OverRatios
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


def _intervals(results: Sequence[Any], measures: Sequence[str], confidence: float) -> dict[str, Interval]:
    return {kind: t_interval([result[kind] for result in results], confidence) for kind in measures}


def sweep_figures(
    masker: str, trained: Trained, ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> MaskerFigures:
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
    tables = {kind: [[trained[masker, ratio, seed][kind] for ratio in ratios] for seed in seeds] for kind in measures}
    return MaskerFigures(
        seconds=fmean(run["seconds"] for run in runs),
        failures=sum(run["failure"] is not None for run in runs),
        failed_runs=counted(runs, "trained"),
        masks={
            key: [_mean([trained[masker, ratio, seed]["masks"].get(key) for seed in seeds]) for ratio in ratios]
            for key in ("ratio", "salient_share", "salience_median")
        },
        **{
            kind: Measured(**dict(_over_ratios(table, map(_spread, table), confidence)), values=table)
            for kind, table in tables.items()
        },
    )


def _spread(row: Sequence[float]) -> float:
    return max(row) - min(row)


def _over_ratios(table: Sequence[Sequence[float]], ranges: Iterable[float], confidence: float) -> OverRatios:
    """The figures of a table of seeds (rows) and ratios, with the range of each seed."""
    return OverRatios(
        at=[t_interval(column, confidence) for column in zip(*table, strict=True)],
        mean=t_interval([fmean(row) for row in table], confidence),
        range=t_interval(list(ranges), confidence),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that exist: a diverged run has no masks, and random masks have no salience."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def sweep_differences(
    trained: Trained, maskers: Sequence[str], ratios: Sequence[float], measures: Sequence[str], confidence: float
) -> dict[str, MaskerDifferences]:
    """Return the differences of each masker to the first one on the same seeds: at all ratios, in mean and range."""
    first, *others = maskers
    seeds = sorted({seed for _, _, seed in trained})

    def less(name: str, kind: str) -> OverRatios:
        rows = [
            [[trained[masker, ratio, seed][kind] for ratio in ratios] for masker in (name, first)] for seed in seeds
        ]
        table = [[a - b for a, b in zip(mine, theirs, strict=True)] for mine, theirs in rows]
        return _over_ratios(table, [_spread(mine) - _spread(theirs) for mine, theirs in rows], confidence)

    return {name: MaskerDifferences(**{kind: less(name, kind) for kind in measures}) for name in others}
