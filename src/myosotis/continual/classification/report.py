"""The report of a run that learnt a stream of classes, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.continual.classification.methods import METHODS
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval, t_interval
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, dot_chart, heat_map, line_chart
from myosotis.report.groups import Group, group_runs, interval_text
from myosotis.report.sections import (
    differing_settings,
    environment_section,
    limits_section,
    lineage_section,
    loss_figure,
    method_section,
    repeated_verdicts,
)

NORMS = {
    "bn": "batch normalisation",
    "tbbn": "task-balanced batch normalisation",
    "cn": "continual normalisation",
    "gn": "group normalisation",
}

_MEASURES = {
    "average_incremental_accuracy": "Average incremental accuracy",
    "final_accuracy": "Final accuracy",
    "learning_accuracy": "Learning accuracy",
    "forgetting": "Forgetting",
    "final_task_aware_accuracy": "Final accuracy, task known",
}
_EXPLAINED = {
    "average_incremental_accuracy": "mean over tasks of the accuracy on all classes so far, by test samples",
    "average_incremental_accuracy_task_mean": "the same, every task weighing alike",
    "final_accuracy": "on all classes at the end, by test samples",
    "final_accuracy_task_mean": "the same, every task weighing alike",
    "final_task_aware_accuracy": "at the end, if it were told which task a sample is of",
    "learning_accuracy": "on each task right after it was learnt",
    "forgetting": "best before the last task, less final; may be negative",
    "forgetting_best": "best of all, less final; never negative",
    "forgetting_after_learning": "right after learning, less final; minus backward transfer",
    "backward_transfer": "final, less right after learning",
    "worst_case_accuracy": "lowest that each earlier task ever had",
    "validation_average_incremental_accuracy": "on held-out training samples, every task weighing alike",
}
_NOT_TUNED = (
    "Settings that were chosen by looking at these test images would make the figures optimistic; a fair comparison "
    "chooses them on another stream."
)
_NOT_FEATURES = (
    "Accuracy says nothing of the representation: a head that is balanced well on features that have not improved can "
    "look like learning."
)
_MOST_LINES = 8
_MOST_CLASSES = 60  # in a confusion matrix; of more, tasks are drawn


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Of the kind ``learn-classes``.
    """
    result, config = run.result(), run.settings()
    return Document(
        title=f"Class-incremental learning: {result['name']}",
        subtitle=_subtitle(result),
        verdicts=_verdicts(result),
        table=_task_table(result),
        figures=_figures(run, result),
        sections=[
            _measure_section(result),
            _error_section(result),
            _cost_section(result),
            _method_section(result, config),
            _lineage_section(result),
            environment_section(run),
            _limits_section(result),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in the seed alone are one row.

    Args:
        runs: At least two, all of the kind ``learn-classes``.
    """
    groups = group_runs(runs, titles=("method.name", "norm.kind"))
    confidence = float(runs[0].settings()["confidence"])
    rows: list[Row] = []
    points: dict[str, list[Point]] = {"average_incremental_accuracy": [], "final_accuracy": []}
    for group in groups:
        intervals = {key: _over_seeds(group, key, confidence) for key in _MEASURES}
        cost = group.results[0]["cost"]
        cells = [str(len(group.results)), *(_text(interval) for interval in intervals.values())]
        cells += [_mean_text(group.values(_seconds)), _mean_text([one["cost"]["images"] for one in group.results])]
        rows.append(Row(group.label, [*cells, f"{cost['parameters_inference']:,}", f"{cost['exemplar_bytes']:,}"]))
        for key, listed in points.items():
            interval = intervals[key]
            if interval is not None:
                listed.append(Point(group.label, interval.mean, interval.low, interval.high))
    columns = ["Seeds", *_MEASURES.values(), "Seconds", "Images", "Parameters", "Exemplar bytes"]
    best = max(points["final_accuracy"], key=lambda point: point.value)
    few = any(len(group.results) < 3 for group in groups)
    shown = interval_text(best.value, best.low, best.high)
    return Document(
        title="Class-incremental runs side by side",
        subtitle=f"{len(runs)} runs in {len(groups)} groups; runs that differ in the seed alone are one group.",
        verdicts=[
            Verdict(
                "Which keeps most?",
                f"{best.name}, with a final accuracy of {shown}.{_lead(groups, points, confidence)}",
            ),
            Verdict(
                "How sure are we?",
                f"Means over seeds with {confidence:.0%} intervals by Student's t"
                + ("; some groups have fewer than three seeds." if few else ".")
                + " Paired differences are below.",
            ),
        ],
        table=Table(f"Mean over seeds with {confidence:.0%} interval", columns, rows, "Group"),
        figures=_compare_figures(groups, points),
        sections=[
            _paired_section(groups, confidence),
            differing_settings(runs, [run.path.name for run in runs]),
            limits_section(_NOT_TUNED, _NOT_FEATURES),
        ],
    )


def _subtitle(result: Mapping[str, Any]) -> str:
    tasks = result["tasks"]
    counts = [len(names) for names in tasks]
    sizes = f"{counts[0]} in each" if len(set(counts)) == 1 else ", ".join(map(str, counts))
    return (
        f"{len(result['classes'])} classes in {len(tasks)} tasks ({sizes}); {sum(result['samples']['train'])} training "
        f"and {sum(result['samples']['test'])} test images. Method: {METHODS.card(result['method']).title}, "
        f"{NORMS[result['norm']]}, {result['cost']['exemplars']} exemplars. Seed {result['seed']}."
    )


def _verdicts(result: Mapping[str, Any]) -> list[Verdict]:
    metrics, last = result["metrics"], result["matrix"][-1]
    chance = 1 / len(result["classes"])
    found = [
        Verdict(
            "Has it learnt?",
            f"Right after each task {metrics['learning_accuracy']:.3f} of its test images were right; at the end "
            f"{metrics['final_accuracy']:.3f} of those of all tasks (chance {chance:.3f}), and "
            f"{metrics['final_task_aware_accuracy']:.3f} if the task were known.",
        )
    ]
    if "forgetting" in metrics:
        worst = min(range(len(last) - 1), key=lambda task: last[task])
        found.append(
            Verdict(
                "Has it kept?",
                f"Earlier tasks lost {metrics['forgetting']:.3f} of accuracy on average from their best; "
                f"task {worst + 1} is the worst off with {last[worst]:.3f}, the last task has {last[-1]:.3f}.",
            )
        )
    interval = metrics["final_accuracy_interval"]
    sure = (
        f"The final accuracy has an exact interval of {interval['low']:.3f} to {interval['high']:.3f} over "
        f"{interval['count']} test images. Another seed gives another order of classes and other figures; compare "
        "methods over several."
    )
    repeated = repeated_verdicts(result["samples"].get("repeated", 0), sum(result["samples"]["test"]))
    return [*found, *repeated, Verdict("How sure are we?", sure)]


def _task_table(result: Mapping[str, Any]) -> Table:
    matrix, aware = result["matrix"], result["task_aware_matrix"]
    rows = []
    for task, classes in enumerate(result["tasks"]):
        names = ", ".join(classes)
        over_time = [row[task] for row in matrix[task:]]
        cells = [
            names if len(names) <= 60 else f"{len(classes)} classes",
            f"{over_time[0]:.3f}",
            f"{max(over_time):.3f}",
            f"{over_time[-1]:.3f}",
            f"{aware[-1][task]:.3f}",
        ]
        rows.append(Row(f"Task {task + 1}", cells))
    columns = ["Classes", "When learnt", "Best", "At the end", "At the end, task known"]
    return Table("Accuracy on the test images of each task", columns, rows, "Task")


def _figures(run: Run, result: Mapping[str, Any]) -> list[Figure]:
    matrix, tasks = result["matrix"], range(1, len(result["tasks"]) + 1)
    labels = [str(task) for task in tasks]
    square = [[*row, *[None] * (len(matrix) - len(row))] for row in matrix]
    found = [
        Figure(
            line_chart(
                [
                    Line("all classes so far", list(tasks), result["metrics"]["accuracy_curve"], "retain"),
                    Line("the task just learnt", list(tasks), [row[-1] for row in matrix], "unseen"),
                ],
                x_label="tasks learnt",
                y_label="accuracy",
                name="curve",
            ),
            "Accuracy on everything so far, and on the newest task: the gap between the two holds what is forgotten "
            "and what is taken for a class of another task.",
        ),
        Figure(
            heat_map(square, labels, labels, x_label="accuracy on task", y_label="after task", name="matrix"),
            "The accuracy matrix: read down a column to see what becomes of a task.",
        ),
    ]
    table, classes = result["confusion"], [name if len(name) <= 14 else f"{name[:13]}…" for name in result["classes"]]
    if len(classes) > _MOST_CLASSES:
        table, classes = (
            _by_task(table, [len(names) for names in result["tasks"]]),
            [f"task {label}" for label in labels],
        )
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    found.append(
        Figure(
            heat_map(shares, classes, classes, x_label="answer", y_label="class", name="confusion"),
            "What is taken for what at the end, as shares of each row, in the order of arrival: a dark left and a "
            "bright right side is a bias towards new classes.",
        )
    )
    losses = loss_figure(run)
    return found if losses is None else [*found, losses]


def _by_task(table: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[list[int]]:
    """A confusion matrix of classes, summed up by their tasks."""
    owner = [task for task, size in enumerate(sizes) for _ in range(size)]
    found = [[0] * len(sizes) for _ in sizes]
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            found[owner[row]][owner[column]] += count
    return found


def _measure_section(result: Mapping[str, Any]) -> Section:
    metrics = result["metrics"]
    rows = [
        Row(key.replace("_", " ").capitalize(), [f"{metrics[key]:.4f}"], note)
        for key, note in _EXPLAINED.items()
        if key in metrics
    ]
    text = "Forgetting has three definitions in print; each stands here under its own name."
    return Section("Every figure", [text], [Table("Figures of the accuracy matrix", ["Value"], rows, "Measure")])


def _error_section(result: Mapping[str, Any]) -> Section:
    errors = result["metrics"]["errors"]
    names = {
        "old_as_old": "Old taken for another old class",
        "old_as_new": "Old taken for a class of the last task",
        "new_as_old": "New taken for an old class",
        "new_as_new": "New taken for another class of the last task",
    }
    rows = [Row(text, [f"{errors[key]:.4f}"]) for key, text in names.items()]
    text = "Shares of all test images at the end; new are those of the last task."
    return Section("Four kinds of error", [text], [Table("Errors", ["Share"], rows, "Kind")])


def _cost_section(result: Mapping[str, Any]) -> Section:
    cost = result["cost"]
    columns = ["Training, s", "Afterwards, s", "Steps", "Images", "Parameters", "Exemplars"]
    rows = [
        Row(
            f"Task {number + 1}",
            [
                "-" if one["seconds"] is None else f"{one['seconds']:.1f}",
                f"{one['after_seconds']:.1f}",
                f"{one['steps']:,}",
                f"{one['images']:,}",
                f"{one['parameters']['training']:,}",
                f"{one['exemplars']:,}",
            ],
        )
        for number, one in enumerate(result["tasks_in_detail"])
    ]
    total = _seconds(result)
    seconds = (
        "The run was interrupted, so the time of all of it is not known."
        if total is None
        else f"{total:.0f} s for all tasks."
    )
    text = (
        f"{seconds} {cost['steps']:,} steps on {cost['images']:,} images; at most {cost['parameters_training']:,} "
        f"parameters in training, {cost['parameters_inference']:,} to answer; exemplars take "
        f"{cost['exemplar_bytes']:,} bytes; peak memory {cost['peak_memory_bytes'] / 1e9:.1f} GB."
    )
    return Section("Cost", [text], [Table("Cost of each task", columns, rows, "Task")])


def _seconds(result: Mapping[str, Any]) -> float | None:
    """The time of all tasks; None where an earlier session did a part of one."""
    training: list[float | None] = result["cost"]["task_seconds"]
    known = [value for value in training if value is not None]
    return sum(known) + sum(result["cost"]["after_task_seconds"]) if len(known) == len(training) else None


def _method_section(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    skipped = sum(result["samples"]["skipped"].values())
    notes = [f"Skipped {skipped} unreadable images."] if skipped else []
    return method_section([METHODS.card(result["method"])], config, notes=notes)


def _lineage_section(result: Mapping[str, Any]) -> Section:
    lineage = result["lineage"]
    models = {
        "Frozen encoder of the first task": lineage["encoder_in"],
        "Model that went out": lineage["model_out"],
        "The same as a plain classifier": lineage["classifier_out"],
    }
    return lineage_section(models, lineage["data"])


def _limits_section(result: Mapping[str, Any]) -> Section:
    paragraphs = [f"One order of classes and one set of settings. {_NOT_TUNED}", _NOT_FEATURES]
    if len(result["tasks"]) > 1:
        paragraphs.append("Forward transfer is not given: a class yet to come has no output that could be right.")
    return limits_section(*paragraphs)


# Several runs ---------------------------------------------------------------------------------------------------------


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
        _MEASURES[key]: sorted(listed, key=lambda point: order.index(point.name)) for key, listed in points.items()
    }
    figures = [
        Figure(
            dot_chart(series, x_label="accuracy", name="groups"),
            "Mean over seeds with its interval, best at the top by final accuracy.",
        )
    ]
    by_label = {group.label: group for group in groups}
    lines = []
    for index, label in enumerate(order[:_MOST_LINES]):
        curves = [result["metrics"]["accuracy_curve"] for result in by_label[label].results]
        if len({len(curve) for curve in curves}) == 1:
            mean = [sum(values) / len(values) for values in zip(*curves, strict=True)]
            lines.append(Line(label, list(range(1, len(mean) + 1)), mean, SERIES[index % len(SERIES)]))
    if lines:
        svg = line_chart(lines, x_label="tasks learnt", y_label="accuracy on all classes so far", name="curves")
        which = f"The {_MOST_LINES} best" if len(order) > _MOST_LINES else "All groups"
        figures.append(Figure(svg, f"{which}, mean over seeds."))
    return figures


def _differences(group: Group, other: Group, key: str) -> list[float]:
    """Seed by seed, where both groups have it."""
    base = {result["seed"]: result["metrics"] for result in other.results}
    return [
        result["metrics"][key] - base[result["seed"]][key]
        for result in group.results
        if result["seed"] in base and key in result["metrics"] and key in base[result["seed"]]
    ]


def _lead(groups: Sequence[Group], points: Mapping[str, list[Point]], confidence: float) -> str:
    """By how much the best is ahead of the next."""
    ranked = sorted(points["final_accuracy"], key=lambda point: -point.value)
    if len(ranked) < 2:
        return ""
    by_label = {group.label: group for group in groups}
    first, second = (by_label[point.name] for point in ranked[:2])
    pairs = _differences(first, second, "final_accuracy")
    if not pairs:
        return f" {second.label} is next; they share no seed."
    interval = t_interval(pairs, confidence)
    is_ahead = interval.low is not None and interval.low > 0
    return f" It is {_text(interval)} ahead of {second.label}{'' if is_ahead else ', which is inconclusive'}."


def _paired_section(groups: Sequence[Group], confidence: float) -> Section:
    """Differences from the first group, seed by seed."""
    first, *others = groups
    rows = []
    for group in others:
        pairs = {key: _differences(group, first, key) for key in _MEASURES}
        cells = [_text(t_interval(values, confidence) if values else None) for values in pairs.values()]
        rows.append(Row(group.label, [str(len(pairs["final_accuracy"])), *cells]))
    text = (
        f"Each group less {first.label}, for seeds that both have. Intervals are of {confidence:.0%} each; among many "
        "some exclude 0 by chance."
    )
    tables = [Table(f"Less {first.label}", ["Seeds", *_MEASURES.values()], rows, "Group")] if rows else []
    return Section("Paired differences", [text], tables)
