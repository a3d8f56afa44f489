"""The report of a run that learnt a stream of classes."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.continual.classification.comparison import NOT_FEATURES, NOT_TUNED, compare_runs, total_seconds
from myosotis.continual.classification.methods import METHODS
from myosotis.continual.classification.result import ClassMetrics, ClassResult, Errors
from myosotis.engine.run import Run
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, curves, gaps, heat_map
from myosotis.report.groups import interval_text
from myosotis.report.learning import kept_verdict, learnt_verdict
from myosotis.report.sections import (
    count_text,
    environment_section,
    lineage_section,
    loss_figure,
    method_section,
    repeated_verdicts,
    run_facts,
)

NORMS = {
    "bn": "batch normalisation",
    "tbbn": "task-balanced batch normalisation",
    "cn": "continual normalisation",
    "gn": "group normalisation",
}

_MAX_CLASSES = 60  # in a confusion matrix; with more classes it is drawn by tasks


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Run of ``learn-classes``.
    """
    result, config = run.result_as(ClassResult), run.settings()
    return Document(
        title=f"Class-incremental learning: {result.name}",
        subtitle=_subtitle(result),
        facts=run_facts(
            run,
            METHODS.card(result.method).title,
            model=config["model"]["architecture"],
            hashes=[result.lineage.encoder_in, result.lineage.model_out],
        ),
        verdicts=verdicts_of(result),
        limits=_limits(result),
        table=_task_table(result),
        figures=_figures(run, result),
        sections=[
            *_watched_section(result),
            _measure_section(result),
            _error_section(result),
            _cost_section(result),
            _method_section(result, config),
            _lineage_section(result),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in the seed alone are one row.

    Args:
        runs: At least two runs of ``learn-classes``.
    """
    return compare_runs(runs, [verdicts_of(run.result_as(ClassResult)) for run in runs])


def _subtitle(result: ClassResult) -> str:
    tasks = result.tasks
    counts = [len(names) for names in tasks]
    sizes = f"{counts[0]} in each" if len(set(counts)) == 1 else ", ".join(map(str, counts))
    return (
        f"{len(result.classes)} classes in {len(tasks)} tasks ({sizes}); {sum(result.samples.train)} training "
        f"and {sum(result.samples.test)} test images. Method: {METHODS.card(result.method).title}, "
        f"{NORMS[result.norm]}, {result.cost.exemplars} exemplars. Seed {result.seed}."
    )


def verdicts_of(result: ClassResult) -> list[Verdict]:
    """Return the questions of a run and their answers.

    Args:
        result: Result of a run of ``learn-classes``.
    """
    metrics, last = result.metrics, result.matrix[-1]
    chance = 1 / len(result.classes)
    verdicts = [
        learnt_verdict(
            result.verdict,
            f"Mean accuracy on tasks right after each was learnt: {metrics.learning_accuracy:.3f}; chance on all "
            f"classes: {chance:.3f}; final accuracy if the task is known: {metrics.final_task_aware_accuracy:.3f}.",
        )
    ]
    if metrics.forgetting is not None:
        worst = min(range(len(last) - 1), key=lambda task: last[task])
        verdicts.append(
            kept_verdict(
                result.verdict,
                f"Earlier tasks lost {metrics.forgetting:.3f} of accuracy on average from their best; the lowest "
                f"final accuracy is {last[worst]:.3f} on task {worst + 1}, that of the last task is {last[-1]:.3f}.",
            )
        )
    interval = metrics.final_accuracy_interval
    sure = (
        f"The final accuracy has an exact interval of {interval.low:.3f} to {interval.high:.3f} over "
        f"{interval.count} test images. Another seed gives another order of classes and other figures; compare "
        "methods over several."
    )
    repeated = repeated_verdicts(result.samples.repeated, sum(result.samples.test))
    return [*verdicts, *repeated, Verdict("How sure are we?", sure)]


def _task_table(result: ClassResult) -> Table:
    matrix, aware = result.matrix, result.task_aware_matrix
    rows = []
    for task, classes in enumerate(result.tasks):
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


def _figures(run: Run, result: ClassResult) -> list[Figure]:
    matrix, tasks = result.matrix, range(1, len(result.tasks) + 1)
    labels = [str(task) for task in tasks]
    square = [[*row, *[None] * (len(matrix) - len(row))] for row in matrix]
    figures = [
        *_life_figures(result),
        curves(
            [
                Line("all classes so far", list(tasks), result.metrics.accuracy_curve, "retain"),
                Line("the task just learnt", list(tasks), [row[-1] for row in matrix], "unseen"),
            ],
            "Accuracy on everything so far, and on the newest task: the gap is due to forgetting "
            "and to confusion with classes of other tasks.",
            x_label="tasks learnt",
            y_label="accuracy",
            share=True,
            name="curve",
        ),
        Figure(
            heat_map(square, labels, labels, x_label="accuracy on task", y_label="after task", name="matrix"),
            "The accuracy matrix: read down a column to follow a task.",
        ),
    ]
    table, classes = result.confusion, [name if len(name) <= 14 else f"{name[:13]}…" for name in result.classes]
    if len(classes) > _MAX_CLASSES:
        table, classes = (
            _by_task(table, [len(names) for names in result.tasks]),
            [f"task {label}" for label in labels],
        )
    shares = [[count / max(1, sum(row)) for count in row] for row in table]
    figures.append(
        Figure(
            heat_map(shares, classes, classes, x_label="predicted", y_label="class", name="confusion"),
            "The final confusion matrix, as shares of each row, in the order of arrival: a dark left and a bright "
            "right side is a bias towards new classes.",
        )
    )
    losses = loss_figure(run)
    return figures if losses is None else [*figures, losses]


def _life_figures(result: ClassResult) -> list[Figure]:
    """The life of the learner: tasks and requests in order, and accuracies after each; none without requests."""
    requests = result.requests
    if not requests:
        return []
    steps: list[tuple[int, float | None]] = []
    forgotten: list[tuple[int, float | None]] = []
    events = []
    step = 0
    for task, accuracy in enumerate(result.metrics.accuracy_curve, start=1):
        step += 1
        steps.append((step, accuracy))
        events.append(f"{step}: task {task}")
        watched = result.tasks_in_detail[task - 1].watched
        if watched is not None:
            forgotten.append((step, watched))
        for request in (one for one in requests if one.after == task):
            if not forgotten:
                forgotten.append((step, request.forgotten_before))
            step += 1
            events.append(f"{step}: {count_text(request.images, 'image')} forgotten ({request.name})")
            forgotten.append((step, request.forgotten_after))
            if request.test_after is not None:
                steps.append((step, request.test_after))
    lines = [
        Line(
            "test images of all classes so far", [at for at, _ in steps], gaps([value for _, value in steps]), "retain"
        ),
        Line("forgotten images", [at for at, _ in forgotten], gaps([value for _, value in forgotten]), "forget"),
    ]
    caption = f"The life of this learner. Steps: {'; '.join(events)}."
    return [curves(lines, caption, x_label="step", y_label="accuracy", share=True, name="life")]


def _by_task(table: Sequence[Sequence[int]], sizes: Sequence[int]) -> list[list[int]]:
    """The confusion matrix of classes, summed by task."""
    task_of = [task for task, size in enumerate(sizes) for _ in range(size)]
    totals = [[0] * len(sizes) for _ in sizes]
    for row, counts in enumerate(table):
        for column, count in enumerate(counts):
            totals[task_of[row]][task_of[column]] += count
    return totals


def _watched_section(result: ClassResult) -> list[Section]:
    """What the learner says of watched images after each task; none without them."""
    rows = []
    for number, task in enumerate(result.tasks_in_detail, start=1):
        membership = task.watched_membership
        if task.watched is not None:
            auc = "-" if membership is None else interval_text(*(membership[key] for key in ("auc", "low", "high")))
            rows.append(Row(f"After task {number}", [f"{task.watched:.3f}", auc]))
    if not rows:
        return []
    text = (
        "Images that were forgotten, and that nothing is learnt from. Membership: the probability that one of them has "
        "a larger margin of the true class than a test image of the same classes; 0.5 is no trace."
    )
    return [Section("Do they come back?", [text], [Table("Watched images", ["Accuracy", "Membership"], rows, "Task")])]


def _measure_section(result: ClassResult) -> Section:
    rows = [
        Row(key.replace("_", " ").capitalize(), [f"{value:.4f}"], ClassMetrics.note(key))
        for key, value in result.metrics
        if isinstance(value, float)
    ]
    text = "The literature has three definitions of forgetting; each is listed under its own name."
    return Section("Every figure", [text], [Table("Figures of the accuracy matrix", ["Value"], rows, "Measure")])


def _error_section(result: ClassResult) -> Section:
    rows = [
        Row(key.replace("_", " ").capitalize(), [f"{value:.4f}"], Errors.note(key))
        for key, value in result.metrics.errors
    ]
    text = "Shares of all test images after the last task; new classes are those of the last task."
    return Section("Four kinds of error", [text], [Table("Errors", ["Share"], rows, "Kind")])


def _cost_section(result: ClassResult) -> Section:
    cost = result.cost
    columns = ["Training, s", "Afterwards, s", "Steps", "Images", "Parameters", "Exemplars"]
    rows = [
        Row(
            f"Task {number + 1}",
            [
                "-" if record.seconds is None else f"{record.seconds:.1f}",
                f"{record.after_seconds:.1f}",
                f"{record.steps:,}",
                f"{record.images:,}",
                f"{record.parameters['training']:,}",
                f"{record.exemplars:,}",
            ],
        )
        for number, record in enumerate(result.tasks_in_detail)
    ]
    total = total_seconds(result)
    seconds = (
        "The run was interrupted, so its total time is unknown." if total is None else f"{total:.0f} s for all tasks."
    )
    text = (
        f"{seconds} {cost.steps:,} steps on {cost.images:,} images; at most {cost.parameters_training:,} "
        f"parameters in training, {cost.parameters_inference:,} in inference; exemplars take "
        f"{cost.exemplar_bytes:,} bytes; peak memory {cost.peak_memory_bytes / 1e9:.1f} GB."
    )
    return Section("Cost", [text], [Table("Cost of each task", columns, rows, "Task")])


def _method_section(result: ClassResult, config: Mapping[str, Any]) -> Section:
    skipped = sum(result.samples.skipped.values())
    notes = [f"Skipped {skipped} unreadable images."] if skipped else []
    lineage = result.lineage
    earlier, weights, pixels = lineage.continued_from, lineage.weights_in, lineage.pixels
    if earlier is not None:
        notes.append(f"Goes on from {earlier.name}, which learnt {count_text(earlier.tasks, 'task')}.")
    if forgotten := result.samples.forgotten:
        notes.append(f"Left out {count_text(forgotten, 'training image')} that had been forgotten there.")
    if weights is not None:
        tensors = count_text(weights.tensors, "tensor")
        notes.append(f"Began with pre-trained weights: {tensors}, matched by {weights.matched_by}.")
    if pixels is not None:
        scaled = "" if pixels.size is None else f"scaled to {pixels.size} x {pixels.size} pixels and "
        mean, std = (", ".join(f"{value:.3f}" for value in part) for part in (pixels.mean, pixels.std))
        notes.append(f"Images are {scaled}normalised by mean {mean} and deviation {std}.")
    return method_section([METHODS.card(result.method)], config, notes=notes)


def _lineage_section(result: ClassResult) -> Section:
    lineage = result.lineage
    models = {
        "Frozen encoder of the first task": lineage.encoder_in,
        "Resulting model": lineage.model_out,
        "Resulting model as a plain classifier": lineage.classifier_out,
    }
    return lineage_section(models, lineage.data)


def _limits(result: ClassResult) -> list[str]:
    paragraphs = [f"One order of classes and one set of settings. {NOT_TUNED}", NOT_FEATURES]
    if len(result.tasks) > 1:
        paragraphs.append("Forward transfer is not listed: a later class has no output yet.")
    return paragraphs
