"""The report of a sweep over masking ratios."""

from collections.abc import Sequence
from dataclasses import replace

from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval
from myosotis.pretraining.sweep.result import MaskerDifferences, MaskerFigures, OverRatios, SweepResult
from myosotis.report.criteria import difference_text
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, gaps, line_chart
from myosotis.report.groups import mean_text, run_names
from myosotis.report.sections import (
    count_text,
    differing_settings,
    environment_section,
    left_out_verdicts,
    repeated_verdicts,
    run_facts,
    setting_rows,
)

_NAMES = {"linear": "linear probe", "knn": "nearest neighbours", "finetuned": "fine-tuned"}
_LIMITS = (
    "Other data, networks and lengths of training may give other results.",
    "Losses of different maskers and ratios cannot be compared and are not shown.",
)


def describe(run: Run) -> Document:
    """Return the report of a finished sweep.

    Args:
        run: A run of the kind ``pretrain-sweep``.
    """
    result, settings = run.result_as(SweepResult), run.settings()
    confidence = float(settings["confidence"])
    maskers = list(result.maskers)
    return Document(
        title=f"How much the masking ratio matters: {result.name}",
        subtitle=(
            f"{len(maskers)} maskers at ratios of {', '.join(f'{ratio:g}' for ratio in result.ratios)}, "
            f"{count_text(result.seeds, 'seed')}, {result.objective}, "
            f"{count_text(settings['training']['epochs'], 'epoch')}."
        ),
        facts=run_facts(run, f"{result.objective} with {', '.join(maskers)}", model=settings["model"]["architecture"]),
        verdicts=_verdicts(result, confidence),
        limits=_LIMITS,
        table=_table(result, confidence),
        figures=[_curve(result, kind) for kind in result.measures],
        sections=[
            _difference_section(result, confidence),
            _cost_section(result),
            Section("Settings", [], [Table("Every setting", ["Value"], setting_rows(settings), "Setting")]),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts sweeps side by side: mean and range over ratios of every masker.

    Args:
        runs: At least two runs.
    """
    rows = []
    results = [run.result_as(SweepResult) for run in runs]
    names = run_names(runs)
    for run_name, result in zip(names, results, strict=True):
        for name, masker in result.maskers.items():
            cells = [
                f"{mean_text(_of(masker, kind).mean)}; {mean_text(_of(masker, kind).range)}" for kind in result.measures
            ]
            rows.append(Row(f"{run_name}: {name}", cells))
    kinds = results[0].measures
    return Document(
        title="Sweeps side by side",
        subtitle=f"{len(runs)} sweeps; sweeps over other ratios, data or lengths cannot be compared.",
        verdicts=[
            replace(verdict, subject=name)
            for name, run in zip(names, runs, strict=True)
            for verdict in _verdicts(run.result_as(SweepResult), float(run.settings()["confidence"]))
        ],
        limits=_LIMITS,
        table=Table("Mean over ratios; range over ratios", [_NAMES[kind] for kind in kinds], rows, "Masker"),
        sections=[differing_settings(runs, names)],
    )


def _best(result: SweepResult) -> str:
    kind = result.measures[0]
    name = max(result.maskers, key=lambda masker: _of(result.maskers[masker], kind).mean.mean)
    return f"{name}, {_NAMES[kind]} {mean_text(_of(result.maskers[name], kind).mean)}"


def _verdicts(result: SweepResult, confidence: float) -> list[Verdict]:
    kind = result.measures[0]
    levels = {"an untrained encoder": result.untrained[kind]}
    if (pixels := _pixels(result, kind)) is not None:
        levels["raw pixels"] = pixels
    comparisons, all_above = [], True
    for level, interval in levels.items():
        below = [
            name
            for name, masker in result.maskers.items()
            if min(at.mean for at in _of(masker, kind).at) <= interval.mean
        ]
        all_above = all_above and not below
        which = "every masker at every ratio" if not below else f"all but {', '.join(below)} at every ratio"
        which = "no masker at every ratio" if len(below) == len(result.maskers) else which
        comparisons.append(f"better than {level} ({mean_text(interval)}): {which}")
    verdicts = [Verdict("Which masker is best?", f"{_best(result)}, mean over ratios.")]
    if _several(result):
        ranges = {name: _of(masker, kind).range for name, masker in result.maskers.items()}
        flat = min(ranges, key=lambda name: ranges[name].mean)
        verdicts.append(
            Verdict(
                "Which one depends least on the ratio?",
                f"{flat}: between its best and its worst ratio the {_NAMES[kind]} differs by "
                f"{mean_text(ranges[flat])}.",
            )
        )
    verdicts.append(Verdict("Does pre-training help at all?", f"{'; '.join(comparisons)}.".capitalize(), all_above))
    verdicts += left_out_verdicts(result.not_run)
    failed = [
        f"{entry.count} of {name} {entry.kind} ({entry.reason})"
        for name, entries in {
            **{name: masker.failed_runs for name, masker in result.maskers.items()},
            "the untrained encoders": result.untrained_failures,
        }.items()
        for entry in entries
    ]
    if failed:
        text = f"No: {'; '.join(failed)}. They count with accuracies of 0."
        verdicts.append(Verdict("Did all runs succeed?", text, False))
    verdicts += repeated_verdicts(result.repeated, result.test_images)
    if result.seeds < 2:
        verdicts.append(Verdict("How sure are we?", "A single seed says nothing about the uncertainty; take three."))
    elif result.differences:
        verdicts.append(
            Verdict(
                "How sure are we?",
                f"Intervals of {confidence:.0%} over {result.seeds} seeds by Student's t. Beyond them, on the same "
                f"seeds: {'; '.join(_clear(result)) or 'no difference'}.",
            )
        )
    return verdicts


def _of(masker: MaskerFigures | MaskerDifferences, kind: str) -> OverRatios:
    """A measure that the sweep took."""
    measured: OverRatios = getattr(masker, kind)
    return measured


def _several(result: SweepResult) -> bool:
    """Whether there is a range over ratios to speak of."""
    return len(result.ratios) > 1


def _clear(result: SweepResult) -> list[str]:
    """Differences to the first masker whose intervals leave 0."""
    first, differences = next(iter(result.maskers)), []
    for name, masker in result.differences.items():
        for kind in result.measures:
            mean, spread = _of(masker, kind).mean, _of(masker, kind).range
            if mean.sign:
                differences.append(f"{name} is {'ahead of' if mean.sign > 0 else 'behind'} {first} by {_NAMES[kind]}")
            if _several(result) and spread.sign:
                flatter = "less" if spread.sign < 0 else "more"
                differences.append(f"{name} depends {flatter} on the ratio than {first} by {_NAMES[kind]}")
    return differences


def _pixels(result: SweepResult, kind: str) -> Interval | None:
    return None if result.pixels is None else result.pixels.get(kind)


def _overall(result: SweepResult) -> list[str]:
    """Figures over all ratios."""
    return ["mean", "range"] if _several(result) else ["mean"]


def _columns(result: SweepResult) -> list[str]:
    return ["Measure", *(f"{ratio:g}" for ratio in result.ratios), *(key.capitalize() for key in _overall(result))]


def _table(result: SweepResult, confidence: float) -> Table:
    columns, rows = _columns(result), []
    for kind in result.measures:
        for name, masker in result.maskers.items():
            figures = _of(masker, kind)
            cells = [_NAMES[kind], *(f"{at.mean:.3f}" for at in figures.at)]
            rows.append(Row(name, [*cells, *(mean_text(getattr(figures, key)) for key in _overall(result))]))
        nowhere, no_range = ["-"] * len(result.ratios), ["-"] * (len(_overall(result)) - 1)
        rows.append(Row("untrained", [_NAMES[kind], *nowhere, mean_text(result.untrained[kind]), *no_range]))
        if (pixels := _pixels(result, kind)) is not None:
            rows.append(Row("raw pixels", [_NAMES[kind], *nowhere, mean_text(pixels), *no_range]))
    return Table(
        f"Accuracy by masking ratio, means over seeds with {confidence:.0%} intervals", columns, rows, "Masker"
    )


def _curve(result: SweepResult, kind: str) -> Figure:
    at = [100 * ratio for ratio in result.ratios]
    lines = []
    for index, (name, masker) in enumerate(result.maskers.items()):
        figures = _of(masker, kind).at
        low, high = gaps([point.low for point in figures]), gaps([point.high for point in figures])
        lines.append(Line(name, at, [point.mean for point in figures], SERIES[index % len(SERIES)], low, high))
    levels = {"untrained": (result.untrained[kind].mean, "neutral")}
    if (pixels := _pixels(result, kind)) is not None:
        levels["raw pixels"] = (pixels.mean, "ink")
    return Figure(
        line_chart(
            lines,
            x_label="masking ratio, %",
            y_label=f"accuracy, {_NAMES[kind]}",
            levels=levels,
            share=True,
            name=f"sweep-{kind}",
        ),
        "Accuracy by masking ratio with intervals over seeds: a flat line does not depend on the ratio.",
    )


def _difference_section(result: SweepResult, confidence: float) -> Section:
    if not result.differences:
        return Section("Against the first masker", ["There is only one."])
    first = next(iter(result.maskers))
    columns = _columns(result)
    rows = [
        Row(
            name,
            [_NAMES[kind], *(difference_text(point) for point in _of(masker, kind).at)]
            + [difference_text(getattr(_of(masker, kind), key)) for key in _overall(result)],
        )
        for kind in result.measures
        for name, masker in result.differences.items()
    ]
    return Section(
        f"Against {first}",
        [f"Differences on the same seeds, with {confidence:.0%} intervals; below 0 in a range: flatter."],
        [Table("Differences", columns, rows, "Masker")],
    )


def _cost_section(result: SweepResult) -> Section:
    rows = [
        Row(
            name,
            [
                f"{masker.seconds:.0f}",
                *(", ".join(map(_figure, values)) for values in masker.masks.values()),
                str(masker.failures),
            ],
        )
        for name, masker in result.maskers.items()
    ]
    total = sum(result.cost.seconds.values())
    return Section(
        "Cost and masks",
        [
            f"The whole sweep took {total:.0f} seconds. A run that diverged or failed counts with accuracies of 0, and "
            "'--resume' does not repeat it. Masks are those of the last epoch, for each ratio in turn."
        ],
        [
            Table(
                "Mean of the runs",
                ["Seconds of training", "Realised ratios", "Salient tokens", "Median salience", "Failed"],
                rows,
                "Masker",
            )
        ],
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
