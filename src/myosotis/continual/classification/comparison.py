"""The report of several runs that learnt streams of classes, side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.continual.classification.methods import METHODS
from myosotis.continual.verdict import against_finetuning, earlier_tasks
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval, t_interval
from myosotis.report.comparison import ahead, runs_table, verdicts_section
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, curves, dot_chart
from myosotis.report.groups import Group, group_runs, interval_text, run_names
from myosotis.report.learning import KEPT
from myosotis.report.sections import differing_settings

MEASURES = {
    "average_incremental_accuracy": "Average incremental accuracy",
    "final_accuracy": "Final accuracy",
    "learning_accuracy": "Learning accuracy",
    "forgetting": "Forgetting",
    "final_task_aware_accuracy": "Final accuracy, task known",
}
NOT_TUNED = (
    "Settings that were chosen by looking at these test images would make the figures optimistic; a fair comparison "
    "chooses them on another stream."
)
NOT_FEATURES = (
    "Accuracy does not measure the representation: a well-balanced head on features that have not improved can look "
    "like learning."
)
_MOST_LINES = 8


def compare_runs(runs: Sequence[Run], verdicts: Sequence[Sequence[Verdict]]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in the seed alone are one row.

    Args:
        runs: At least two runs of ``learn classes``.
        verdicts: Verdicts of each run. Where a run of fine-tuning on the same stream is among the runs, ``Has it
            kept?`` is answered against it.
    """
    confidence = float(runs[0].settings()["confidence"])
    results = [run.result() for run in runs]
    names = run_names(runs, results)
    verdicts = [
        [_against_finetuning(verdict, result, results, confidence) for verdict in own]
        for own, result in zip(verdicts, results, strict=True)
    ]
    groups = group_runs(runs, titles=("method.name", "norm.kind"))
    rows: list[Row] = []
    costs: list[Row] = []
    points: dict[str, list[Point]] = {"average_incremental_accuracy": [], "final_accuracy": []}
    for group in groups:
        intervals = {key: _over_seeds(group, key, confidence) for key in MEASURES}
        cost = group.results[0]["cost"]
        cells = [str(len(group.results)), *(_text(interval) for interval in intervals.values())]
        rows.append(Row(group.label, cells, group.settings))
        costs.append(
            Row(
                group.label,
                [
                    _mean_text(group.values(total_seconds)),
                    _mean_text([result["cost"]["images"] for result in group.results]),
                    f"{cost['parameters_inference']:,}",
                    f"{cost['exemplar_bytes']:,}",
                ],
            )
        )
        for key, listed in points.items():
            interval = intervals[key]
            if interval is not None:
                listed.append(Point(group.label, interval.mean, interval.low, interval.high))
    columns = ["Seeds", *MEASURES.values()]
    best = max(points["final_accuracy"], key=lambda point: point.value)
    has_few_seeds = any(len(group.results) < 3 for group in groups)
    best_text = interval_text(best.value, best.low, best.high)
    return Document(
        title="Class-incremental runs side by side",
        subtitle=f"{len(runs)} runs in {len(groups)} groups; runs that differ in the seed alone are one group.",
        verdicts=[
            ahead(
                "Which method retains most?",
                f"{best.name}, with a final accuracy of {best_text}.{_lead(groups, points, confidence)}",
                [result["classes"] for result in results],
                [sum(result["samples"]["test"]) for result in results],
            ),
            Verdict(
                "How sure are we?",
                f"Means over seeds with {confidence:.0%} intervals by Student's t"
                + ("; some groups have fewer than three seeds." if has_few_seeds else ".")
                + " Paired differences are below.",
            ),
        ],
        limits=[NOT_TUNED, NOT_FEATURES],
        overview=[
            runs_table(runs, names, [METHODS.card(result["method"]).title for result in results], verdicts),
        ],
        table=Table(f"Mean over seeds with {confidence:.0%} interval", columns, rows, "Group"),
        figures=_compare_figures(groups, points),
        sections=[
            _paired_section(groups, confidence),
            verdicts_section(names, verdicts),
            Section(
                "Cost",
                [],
                [Table("Cost of a run", ["Seconds", "Images", "Parameters", "Exemplar bytes"], costs, "Group")],
            ),
            differing_settings(runs, names),
        ],
    )


def _against_finetuning(
    verdict: Verdict, result: Mapping[str, Any], results: Sequence[Mapping[str, Any]], confidence: float
) -> Verdict:
    """``Has it kept?`` against fine-tuning with the same seed on the same tasks; else the verdict as it is."""
    peers = [
        other
        for other in results
        if other["method"] == "finetune" and all(other[key] == result[key] for key in ("seed", "tasks"))
    ]
    own = earlier_tasks(result["matrix"], result["samples"]["test"])
    if verdict.question != KEPT or not peers or result["method"] == "finetune" or own is None:
        return verdict
    control = earlier_tasks(peers[0]["matrix"], peers[0]["samples"]["test"])
    if control is None or not (result.get("verdict") or {}).get("learnt"):
        return verdict
    measure = "final accuracy on all tasks but the last"
    return against_finetuning(verdict, own[0], control[0], measure=measure, confidence=confidence)


def _over_seeds(group: Group, key: str, confidence: float) -> Interval | None:
    values = group.values(lambda result: result["metrics"].get(key))
    return t_interval(values, confidence) if values else None


def _text(interval: Interval | None) -> str:
    return "-" if interval is None else interval_text(interval.mean, interval.low, interval.high)


def _mean_text(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):,.0f}" if values else "-"


def _compare_figures(groups: Sequence[Group], points: Mapping[str, list[Point]]) -> list[Figure]:
    ranked = sorted(points["final_accuracy"], key=lambda point: -point.value)
    order = [point.name for point in ranked]
    series = {
        MEASURES[key]: sorted(listed, key=lambda point: order.index(point.name)) for key, listed in points.items()
    }
    figures = [
        Figure(
            dot_chart(series, x_label="accuracy", name="groups"),
            "Accuracy, mean over seeds with its interval; best at the top by final accuracy.",
        )
    ]
    by_label = {group.label: group for group in groups}
    lines = []
    for index, label in enumerate(order[:_MOST_LINES]):
        own = [result["metrics"]["accuracy_curve"] for result in by_label[label].results]
        if len({len(curve) for curve in own}) == 1:
            mean = [sum(values) / len(values) for values in zip(*own, strict=True)]
            lines.append(Line(label, list(range(1, len(mean) + 1)), mean, SERIES[index % len(SERIES)]))
    if lines:
        subset = f" of the {_MOST_LINES} best groups" if len(order) > _MOST_LINES else ""
        figures.append(
            curves(
                lines,
                f"Accuracy on all classes so far{subset}, mean over seeds.",
                x_label="tasks learnt",
                y_label="accuracy on all classes so far",
                share=True,
                name="curves",
            )
        )
    return figures


def _differences(group: Group, other: Group, key: str) -> list[float]:
    """The differences of a figure for each seed that both groups have."""
    base = {result["seed"]: result["metrics"] for result in other.results}
    return [
        result["metrics"][key] - base[result["seed"]][key]
        for result in group.results
        if result["seed"] in base and key in result["metrics"] and key in base[result["seed"]]
    ]


def _lead(groups: Sequence[Group], points: Mapping[str, list[Point]], confidence: float) -> str:
    """The lead of the best group over the next."""
    ranked = sorted(points["final_accuracy"], key=lambda point: -point.value)
    if len(ranked) < 2:
        return ""
    by_label = {group.label: group for group in groups}
    first, second = (by_label[point.name] for point in ranked[:2])
    pairs = _differences(first, second, "final_accuracy")
    if not pairs:
        return f" {second.label} is next; the two share no seed."
    interval = t_interval(pairs, confidence)
    is_ahead = interval.low is not None and interval.low > 0
    return f" It is {_text(interval)} ahead of {second.label}{'' if is_ahead else ', which is inconclusive'}."


def _paired_section(groups: Sequence[Group], confidence: float) -> Section:
    """Differences from the first group, by seed."""
    first, *others = groups
    rows = []
    for group in others:
        pairs = {key: _differences(group, first, key) for key in MEASURES}
        cells = [_text(t_interval(values, confidence) if values else None) for values in pairs.values()]
        rows.append(Row(group.label, [str(len(pairs["final_accuracy"])), *cells]))
    text = (
        f"Each group less {first.label}, for seeds that both have. Each interval is of {confidence:.0%}; of many "
        "intervals some exclude 0 by chance."
    )
    tables = [Table(f"Less {first.label}", ["Seeds", *MEASURES.values()], rows, "Group")] if rows else []
    return Section("Paired differences", [text], tables)


def total_seconds(result: Mapping[str, Any]) -> float | None:
    """Return the time of all tasks; None if an earlier session trained on a part of them."""
    training: list[float | None] = result["cost"]["task_seconds"]
    known = [value for value in training if value is not None]
    return sum(known) + sum(result["cost"]["after_task_seconds"]) if len(known) == len(training) else None
