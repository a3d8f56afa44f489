"""The report of several runs that learnt streams of classes, side by side."""

from collections.abc import Mapping, Sequence
from functools import partial

from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.result import ClassResult
from myosotis.continual.verdict import against_finetuning, earlier_tasks
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import t_interval
from myosotis.report.comparison import ahead, side_by_side
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, curves, dot_chart
from myosotis.report.groups import Group, group_runs, interval_text, mean_text
from myosotis.report.learning import KEPT

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
_MAX_LINES = 8


def compare_runs(runs: Sequence[Run], verdicts: Sequence[Sequence[Verdict]]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in the seed alone are one row.

    Args:
        runs: At least two runs of ``learn-classes``.
        verdicts: Verdicts of each run. Where a run of fine-tuning on the same stream is among the runs, ``Has it
            kept?`` is answered against it.
    """
    confidence = float(runs[0].settings()["confidence"])
    results = [run.result_as(ClassResult) for run in runs]
    verdicts = [
        [_against_finetuning(verdict, result, results, confidence) for verdict in own]
        for own, result in zip(verdicts, results, strict=True)
    ]
    groups = group_runs(runs, results, titles=("method.name", "norm.kind"))
    rows: list[Row] = []
    costs: list[Row] = []
    points: dict[str, list[Point]] = {"average_incremental_accuracy": [], "final_accuracy": []}
    for group in groups:
        intervals = {key: group.mean(partial(_metric, key=key), confidence) for key in MEASURES}
        cost = group.results[0].cost
        cells = [str(len(group.results)), *(mean_text(interval) for interval in intervals.values())]
        rows.append(Row(group.label, cells, group.settings))
        costs.append(
            Row(
                group.label,
                [
                    _mean_text(group.values(total_seconds)),
                    _mean_text([result.cost.images for result in group.results]),
                    f"{cost.parameters_inference:,}",
                    f"{cost.exemplar_bytes:,}",
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
    return side_by_side(
        runs,
        [METHODS.card(result.method).title for result in results],
        verdicts,
        title="Class-incremental runs side by side",
        subtitle=f"{len(runs)} runs in {len(groups)} groups; runs that differ in the seed alone are one group.",
        answers=[
            ahead(
                "Which method retains most?",
                f"{best.name}, with a final accuracy of {best_text}.{_lead(groups, points, confidence)}",
                [result.classes for result in results],
                [sum(result.samples.test) for result in results],
            ),
            Verdict(
                "How sure are we?",
                f"Means over seeds with {confidence:.0%} intervals by Student's t"
                + ("; some groups have fewer than three seeds." if has_few_seeds else ".")
                + " Paired differences are below.",
            ),
        ],
        limits=[NOT_TUNED, NOT_FEATURES],
        table=Table(f"Mean over seeds with {confidence:.0%} interval", columns, rows, "Group"),
        figures=_compare_figures(groups, points),
        sections=[
            _paired_section(groups, confidence),
            Section(
                "Cost",
                [],
                [Table("Cost of a run", ["Seconds", "Images", "Parameters", "Exemplar bytes"], costs, "Group")],
            ),
        ],
    )


def _against_finetuning(
    verdict: Verdict, result: ClassResult, results: Sequence[ClassResult], confidence: float
) -> Verdict:
    """``Has it kept?`` against fine-tuning with the same seed on the same tasks; else the verdict as it is."""
    peers = [
        other
        for other in results
        if other.method == "finetune" and (other.seed, other.tasks) == (result.seed, result.tasks)
    ]
    own = earlier_tasks(result.matrix, result.samples.test)
    if verdict.question != KEPT or not peers or result.method == "finetune" or own is None:
        return verdict
    control = earlier_tasks(peers[0].matrix, peers[0].samples.test)
    if control is None or result.verdict is None or not result.verdict.learnt:
        return verdict
    measure = "final accuracy on all tasks but the last"
    return against_finetuning(verdict, own[0], control[0], measure=measure, confidence=confidence)


def _mean_text(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):,.0f}" if values else "-"


def _compare_figures(groups: Sequence[Group[ClassResult]], points: Mapping[str, list[Point]]) -> list[Figure]:
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
    for index, label in enumerate(order[:_MAX_LINES]):
        own = [result.metrics.accuracy_curve for result in by_label[label].results]
        if len({len(curve) for curve in own}) == 1:
            mean = [sum(values) / len(values) for values in zip(*own, strict=True)]
            lines.append(Line(label, list(range(1, len(mean) + 1)), mean, SERIES[index % len(SERIES)]))
    if lines:
        subset = f" of the {_MAX_LINES} best groups" if len(order) > _MAX_LINES else ""
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


def _metric(result: ClassResult, key: str) -> float | None:
    value: float | None = getattr(result.metrics, key)
    return value


def _differences(group: Group[ClassResult], other: Group[ClassResult], key: str) -> list[float]:
    """The differences of a figure for each seed that both groups have."""
    base = {result.seed: _metric(result, key) for result in other.results}
    pairs = [(_metric(result, key), base.get(result.seed)) for result in group.results]
    return [value - level for value, level in pairs if value is not None and level is not None]


def _lead(groups: Sequence[Group[ClassResult]], points: Mapping[str, list[Point]], confidence: float) -> str:
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
    return f" It is {mean_text(interval)} ahead of {second.label}{'' if is_ahead else ', which is inconclusive'}."


def _paired_section(groups: Sequence[Group[ClassResult]], confidence: float) -> Section:
    """Differences from the first group, by seed."""
    first, *others = groups
    rows = []
    for group in others:
        pairs = {key: _differences(group, first, key) for key in MEASURES}
        cells = [mean_text(t_interval(values, confidence) if values else None) for values in pairs.values()]
        rows.append(Row(group.label, [str(len(pairs["final_accuracy"])), *cells]))
    text = (
        f"Each group less {first.label}, for seeds that both have. Each interval is of {confidence:.0%}; of many "
        "intervals some exclude 0 by chance."
    )
    tables = [Table(f"Less {first.label}", ["Seeds", *MEASURES.values()], rows, "Group")] if rows else []
    return Section("Paired differences", [text], tables)


def total_seconds(result: ClassResult) -> float | None:
    """Return the time of all tasks; None if an earlier session trained on a part of them."""
    training = result.cost.training_seconds
    return None if training is None else training + sum(result.cost.after_task_seconds)
