"""The report of a sweep over masking ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, line_chart
from myosotis.report.groups import run_names
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
    result, settings = run.result(), run.settings()
    confidence = float(settings["confidence"])
    maskers = list(result["maskers"])
    return Document(
        title=f"How much the masking ratio matters: {result['name']}",
        subtitle=(
            f"{len(maskers)} maskers at ratios of {', '.join(f'{ratio:g}' for ratio in result['ratios'])}, "
            f"{count_text(result['seeds'], 'seed')}, {result['objective']}, "
            f"{count_text(settings['training']['epochs'], 'epoch')}."
        ),
        facts=run_facts(
            run, f"{result['objective']} with {', '.join(maskers)}", model=settings["model"]["architecture"]
        ),
        verdicts=_verdicts(result, confidence),
        limits=_LIMITS,
        table=_table(result, confidence),
        figures=[_curve(result, kind) for kind in result["measures"]],
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
    results = [run.result() for run in runs]
    names = run_names(runs, results)
    for run_name, result in zip(names, results, strict=True):
        for name, masker in result["maskers"].items():
            cells = [f"{_text(masker[kind]['mean'])}; {_text(masker[kind]['range'])}" for kind in result["measures"]]
            rows.append(Row(f"{run_name}: {name}", cells))
    kinds = runs[0].result()["measures"]
    return Document(
        title="Sweeps side by side",
        subtitle=f"{len(runs)} sweeps; sweeps over other ratios, data or lengths cannot be compared.",
        verdicts=[
            replace(verdict, subject=name)
            for name, run in zip(names, runs, strict=True)
            for verdict in _verdicts(run.result(), float(run.settings()["confidence"]))
        ],
        limits=_LIMITS,
        table=Table("Mean over ratios; range over ratios", [_NAMES[kind] for kind in kinds], rows, "Masker"),
        sections=[differing_settings(runs, names)],
    )


def _best(result: Mapping[str, Any]) -> str:
    kind = result["measures"][0]
    name = max(result["maskers"], key=lambda masker: result["maskers"][masker][kind]["mean"]["mean"])
    return f"{name}, {_NAMES[kind]} {_text(result['maskers'][name][kind]['mean'])}"


def _verdicts(result: Mapping[str, Any], confidence: float) -> list[Verdict]:
    kind = result["measures"][0]
    levels = {"an untrained encoder": result["untrained"][kind]}
    if _has_pixels(result, kind):
        levels["raw pixels"] = result["pixels"][kind]
    comparisons, all_above = [], True
    for level, interval in levels.items():
        below = [
            name
            for name, masker in result["maskers"].items()
            if min(at["mean"] for at in masker[kind]["at"]) <= interval["mean"]
        ]
        all_above = all_above and not below
        which = "every masker at every ratio" if not below else f"all but {', '.join(below)} at every ratio"
        which = "no masker at every ratio" if len(below) == len(result["maskers"]) else which
        comparisons.append(f"better than {level} ({_text(interval)}): {which}")
    verdicts = [Verdict("Which masker is best?", f"{_best(result)}, mean over ratios.")]
    if _several(result):
        ranges = {name: masker[kind]["range"] for name, masker in result["maskers"].items()}
        flat = min(ranges, key=lambda name: ranges[name]["mean"])
        verdicts.append(
            Verdict(
                "Which one depends least on the ratio?",
                f"{flat}: between its best and its worst ratio the {_NAMES[kind]} differs by {_text(ranges[flat])}.",
            )
        )
    verdicts.append(Verdict("Does pre-training help at all?", f"{'; '.join(comparisons)}.".capitalize(), all_above))
    verdicts += left_out_verdicts(result.get("not_run", {}))
    failed = [
        f"{entry['count']} of {name} {entry['kind']} ({entry['reason']})"
        for name, entries in {
            **{name: masker.get("failed_runs", []) for name, masker in result["maskers"].items()},
            "the untrained encoders": result.get("untrained_failures", []),
        }.items()
        for entry in entries
    ]
    if failed:
        text = f"No: {'; '.join(failed)}. They count with accuracies of 0."
        verdicts.append(Verdict("Did all runs succeed?", text, False))
    verdicts += repeated_verdicts(result.get("repeated", 0), result.get("test_images", 0))
    if result["seeds"] < 2:
        verdicts.append(Verdict("How sure are we?", "A single seed says nothing about the uncertainty; take three."))
    elif result["differences"]:
        verdicts.append(
            Verdict(
                "How sure are we?",
                f"Intervals of {confidence:.0%} over {result['seeds']} seeds by Student's t. Beyond them, on the same "
                f"seeds: {'; '.join(_clear(result)) or 'no difference'}.",
            )
        )
    return verdicts


def _several(result: Mapping[str, Any]) -> bool:
    """Whether there is a range over ratios to speak of."""
    return len(result["ratios"]) > 1


def _clear(result: Mapping[str, Any]) -> list[str]:
    """Differences to the first masker whose intervals leave 0."""
    first, differences = next(iter(result["maskers"])), []
    for name, masker in result["differences"].items():
        for kind in result["measures"]:
            mean, spread = masker[kind]["mean"], masker[kind]["range"]
            if mean["low"] is not None and (mean["low"] > 0 or mean["high"] < 0):
                differences.append(
                    f"{name} is {'ahead of' if mean['mean'] > 0 else 'behind'} {first} by {_NAMES[kind]}"
                )
            if _several(result) and spread["low"] is not None and (spread["low"] > 0 or spread["high"] < 0):
                flatter = "less" if spread["mean"] < 0 else "more"
                differences.append(f"{name} depends {flatter} on the ratio than {first} by {_NAMES[kind]}")
    return differences


def _has_pixels(result: Mapping[str, Any], kind: str) -> bool:
    return result["pixels"] is not None and kind in result["pixels"]


def _overall(result: Mapping[str, Any]) -> list[str]:
    """Figures over all ratios."""
    return ["mean", "range"] if _several(result) else ["mean"]


def _columns(result: Mapping[str, Any]) -> list[str]:
    return ["Measure", *(f"{ratio:g}" for ratio in result["ratios"]), *(key.capitalize() for key in _overall(result))]


def _table(result: Mapping[str, Any], confidence: float) -> Table:
    columns, rows = _columns(result), []
    for kind in result["measures"]:
        for name, masker in result["maskers"].items():
            figures = masker[kind]
            cells = [_NAMES[kind], *(f"{at['mean']:.3f}" for at in figures["at"])]
            rows.append(Row(name, [*cells, *(_text(figures[key]) for key in _overall(result))]))
        nowhere, no_range = ["-"] * len(result["ratios"]), ["-"] * (len(_overall(result)) - 1)
        rows.append(Row("untrained", [_NAMES[kind], *nowhere, _text(result["untrained"][kind]), *no_range]))
        if _has_pixels(result, kind):
            rows.append(Row("raw pixels", [_NAMES[kind], *nowhere, _text(result["pixels"][kind]), *no_range]))
    return Table(
        f"Accuracy by masking ratio, means over seeds with {confidence:.0%} intervals", columns, rows, "Masker"
    )


def _curve(result: Mapping[str, Any], kind: str) -> Figure:
    at = [100 * ratio for ratio in result["ratios"]]
    lines = []
    for index, (name, masker) in enumerate(result["maskers"].items()):
        figures = masker[kind]["at"]
        whole = all(point["low"] is not None for point in figures)
        lines.append(
            Line(
                name,
                at,
                [point["mean"] for point in figures],
                SERIES[index % len(SERIES)],
                [point["low"] for point in figures] if whole else None,
                [point["high"] for point in figures] if whole else None,
            )
        )
    levels = {"untrained": (result["untrained"][kind]["mean"], "neutral")}
    if _has_pixels(result, kind):
        levels["raw pixels"] = (result["pixels"][kind]["mean"], "ink")
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


def _difference_section(result: Mapping[str, Any], confidence: float) -> Section:
    if not result["differences"]:
        return Section("Against the first masker", ["There is only one."])
    first = next(iter(result["maskers"]))
    columns = _columns(result)
    rows = [
        Row(
            name,
            [_NAMES[kind], *(_text(point, sign=True) for point in masker[kind]["at"])]
            + [_text(masker[kind][key], sign=True) for key in _overall(result)],
        )
        for kind in result["measures"]
        for name, masker in result["differences"].items()
    ]
    return Section(
        f"Against {first}",
        [f"Differences on the same seeds, with {confidence:.0%} intervals; below 0 in a range: flatter."],
        [Table("Differences", columns, rows, "Masker")],
    )


def _cost_section(result: Mapping[str, Any]) -> Section:
    rows = [
        Row(
            name,
            [
                f"{masker['seconds']:.0f}",
                *(", ".join(map(_figure, values)) for values in masker["masks"].values()),
                str(masker["failures"]),
            ],
        )
        for name, masker in result["maskers"].items()
    ]
    total = sum(result["cost"]["seconds"].values())
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


def _text(interval: Mapping[str, Any], *, sign: bool = False) -> str:
    """A mean with half the width of its symmetric interval."""
    plus = "+" if sign else ""
    half = "" if interval["low"] is None else f" ± {(interval['high'] - interval['low']) / 2:.3f}"
    return f"{interval['mean']:{plus}.3f}{half}"
