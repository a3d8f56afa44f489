"""The report of a run that learnt representations, and of several runs side by side."""

from collections.abc import Sequence
from functools import partial

from myosotis.continual.selfsupervised.bases import BASES
from myosotis.continual.selfsupervised.methods import METHODS
from myosotis.continual.selfsupervised.result import ProbeFigures, RepresentationResult
from myosotis.continual.verdict import against_finetuning, earlier_tasks
from myosotis.engine.config import flatten
from myosotis.engine.files import read_json
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import t_interval
from myosotis.evaluation.learning import Share
from myosotis.report.comparison import ahead, side_by_side
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, curves, dot_chart, gaps, heat_map, scatter_panels
from myosotis.report.groups import WITHOUT_EFFECT, group_runs, mean_text, number_text
from myosotis.report.learning import KEPT, kept_verdict, learnt_verdict
from myosotis.report.sections import (
    environment_section,
    lineage_section,
    loss_figure,
    method_section,
    repeated_verdicts,
    run_facts,
    seconds_text,
)

_MEASURES = {
    "final": "At the end",
    "learning": "When learnt",
    "forgetting": "Forgetting",
    "stability": "Stability",
    "forward_transfer": "Forward transfer",
    "gain": "Gain over the start",
}
Settings = tuple[tuple[str, str], ...]

_ONE_STREAM = "One order, one seed; compare over several, and with fine-tuning and joint training at the same cost."
_PROBES = (
    "A probe reads the labels of all tasks. It measures the use of the features given labels, not without them. "
    "Figures of one kind of probe cannot be compared with those of another."
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Run of ``learn-representations``.
    """
    result, config = run.result_as(RepresentationResult), run.settings()
    method, base, lineage = METHODS.card(result.method), BASES.card(result.base), result.lineage
    return Document(
        title=f"Continual representations: {result.name}",
        subtitle=(
            f"{len(result.tasks)} tasks, {result.scenario}-incremental, {sum(result.samples.train):,} "
            f"images without labels; {method.title} over {base.title}, seed {result.seed}. Linear probe: "
            f"{result.probe}."
        ),
        facts=run_facts(
            run,
            f"{method.title} over {base.title}",
            model=config["model"]["architecture"],
            hashes=[None, lineage.model_out],
        ),
        verdicts=_verdicts(result),
        limits=[_ONE_STREAM, _PROBES],
        table=_task_table(result),
        figures=_figures(run, result),
        sections=[
            _measure_section(result),
            _label_section(result),
            _cost_section(result),
            method_section([method, base], config),
            lineage_section(
                {"Resulting network": lineage.model_out, "Resulting encoder": lineage.encoder_out},
                lineage.data,
            ),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in the seed alone are one row.

    Args:
        runs: At least two runs of ``learn-representations``.
    """
    results = [run.result_as(RepresentationResult) for run in runs]
    groups = group_runs(
        runs, results, seeds=("seed", "scenario.order_seed"), titles=("method.name", "base.name", "scenario.kind")
    )
    confidence = float(runs[0].settings()["confidence"])
    others = [_all_but_the_method(run) for run in runs]
    verdicts = [
        [_against_finetuning(verdict, index, results, others, confidence) for verdict in _verdicts(result)]
        for index, result in enumerate(results)
    ]
    naive = _naive(results, others)
    plasticity = {
        run.path: None if learning is None or level is None else learning - level
        for run, learning, level in zip(
            runs, [result.metrics.linear.learning for result in results], map(naive.get, others), strict=True
        )
    }
    probes = list(dict.fromkeys(result.probe for result in results))
    columns = ["Runs", *_MEASURES.values()]
    rows, further, points = [], list[Row](), {"linear probe": list[Point](), "nearest neighbours": list[Point]()}
    for group in groups:
        cells = [str(len(group.runs))]
        cells += [mean_text(group.mean(partial(_figure, kind="linear", key=key), confidence)) for key in _MEASURES]
        gains = [value for run in group.runs if (value := plasticity[run.path]) is not None]
        near = group.mean(partial(_figure, kind="knn", key="final"), confidence)
        more = [mean_text(t_interval(gains, confidence) if gains else None), mean_text(near)]
        totals = group.values(lambda result: result.cost.training_seconds)
        more.append(f"{sum(totals) / len(totals):.0f}" if totals else "-")
        further.append(Row(group.label, more))
        rows.append(Row(group.label, cells, group.settings))
        for name, kind in (("linear probe", "linear"), ("nearest neighbours", "knn")):
            interval = group.mean(partial(_figure, kind=kind, key="final"), confidence)
            if interval is not None:
                points[name].append(Point(group.label, interval.mean, interval.low, interval.high))
    best = max(points["linear probe"], key=lambda point: point.value)
    return side_by_side(
        runs,
        [METHODS.card(result.method).title for result in results],
        verdicts,
        title="Continual representations side by side",
        subtitle=(
            f"{len(runs)} runs in {len(groups)} groups; runs that differ in the seed alone are one group. "
            f"Linear probe: {probes[0] if len(probes) == 1 else 'of several kinds'}."
        ),
        answers=[
            ahead(
                "Which representation is best?",
                f"{best.name}: final accuracy {best.value:.3f} of a linear probe on the test samples of all tasks."
                if len(probes) == 1
                else f"Probes of different kinds cannot be compared: {'; '.join(probes)}.",
                [result.classes for result in results],
                [sum(result.samples.test) for result in results],
            ),
            Verdict("How sure are we?", f"Means over runs with {confidence:.0%} intervals by Student's t."),
        ],
        limits=[_PROBES],
        table=Table(f"Linear probes: mean over runs with {confidence:.0%} interval", columns, rows, "Group"),
        figures=[
            Figure(
                dot_chart(points, x_label="accuracy at the end", name="final"),
                "Accuracy of probes on the test samples of all tasks after the last.",
            )
        ],
        sections=[
            Section(
                "Plasticity, nearest neighbours and cost",
                [
                    "Plasticity: accuracy on each task right after it was learnt, less that of fine-tuning with the "
                    "same seed and all other settings equal; '-' without such a run."
                ],
                [Table("Further figures", ["Plasticity", "k-NN at the end", "Seconds"], further, "Group")],
            ),
        ],
    )


def _against_finetuning(
    verdict: Verdict,
    index: int,
    results: Sequence[RepresentationResult],
    others: Sequence[Settings],
    confidence: float,
) -> Verdict:
    """``Has it kept?`` against fine-tuning with all other settings equal; else the verdict as it is."""
    result = results[index]
    peers = [
        peer for peer, key in zip(results, others, strict=True) if peer.method == "finetune" and key == others[index]
    ]
    own = _earlier(result)
    if verdict.question != KEPT or not peers or result.method == "finetune" or own is None:
        return verdict
    control = _earlier(peers[0])
    if control is None or result.verdict is None or not result.verdict.learnt:
        return verdict
    measure = "linear probe at the end on all tasks but the last"
    return against_finetuning(verdict, own, control, measure=measure, confidence=confidence)


def _earlier(result: RepresentationResult) -> Share | None:
    """The final linear probe on all tasks but the last."""
    pair = earlier_tasks([measured.linear for measured in result.history], result.samples.test)
    return None if pair is None else pair[0]


def _naive(results: Sequence[RepresentationResult], others: Sequence[Settings]) -> dict[Settings, float | None]:
    """Learning accuracy of fine-tuning, by all settings but the method; None if several runs share them."""
    naive: dict[Settings, float | None] = {}
    for result, key in zip(results, others, strict=True):
        if result.method == "finetune" and result.metrics.linear.learning is not None:
            naive[key] = None if key in naive else result.metrics.linear.learning
    return naive


def _all_but_the_method(run: Run) -> Settings:
    apart = {*WITHOUT_EFFECT, "memory.total", "training.memory_batch_size"}
    settings = flatten(run.settings())
    return tuple(
        sorted((key, value) for key, value in settings.items() if key not in apart and not key.startswith("method."))
    )


def _figure(result: RepresentationResult, *, kind: str, key: str) -> float | None:
    value: float | None = getattr(getattr(result.metrics, kind), key)
    return value


def _verdicts(result: RepresentationResult) -> list[Verdict]:
    linear, before, interval = result.metrics.linear, result.before, result.final_interval
    verdicts = [
        learnt_verdict(
            result.verdict,
            f"Nearest neighbours: {result.metrics.knn.final:.3f}, {before.knn_all:.3f} before.",
        )
    ]
    if linear.forgetting is not None:
        verdicts.append(
            kept_verdict(
                result.verdict,
                f"Probes of earlier tasks lost {linear.forgetting:.3f} from their best, and changed by "
                f"{linear.stability:+.3f} since these tasks were learnt; later tasks gained "
                f"{linear.forward_transfer:+.3f} before they were learnt.",
            )
        )
    verdicts += repeated_verdicts(result.samples.repeated, interval.count)
    verdicts.append(
        Verdict(
            "How sure are we?",
            f"The accuracy at the end has an exact interval of {interval.low:.3f} to {interval.high:.3f} over "
            f"{interval.count} test samples. Another seed gives another stream; compare methods over several.",
        )
    )
    return verdicts


def _task_table(result: RepresentationResult) -> Table:
    history, before = result.history, result.before
    joint = len(history) == 1 < len(result.tasks)
    rows = []
    for number, names in enumerate(result.tasks):
        over_time = [measured.linear[number] for measured in history]
        text = ", ".join(names)
        cells = [
            text if len(text) <= 60 else f"{len(names)} classes",
            f"{result.samples.train[number]:,}",
            f"{before.linear[number]:.3f}",
            "-" if joint else f"{over_time[number]:.3f}",
            f"{max(over_time):.3f}",
            f"{over_time[-1]:.3f}",
            f"{history[-1].knn[number]:.3f}",
        ]
        rows.append(Row(f"Task {number + 1}", cells))
    columns = ["Classes", "Images", "Before the stream", "When learnt", "Best", "At the end", "At the end, k-NN"]
    return Table("Accuracy of probes on the test samples of each task", columns, rows, "Task")


def _figures(run: Run, result: RepresentationResult) -> list[Figure]:
    history, before = result.history, result.before
    steps = list(range(len(history) + 1))
    moments = [before, *history]
    lines = [
        Line("linear probe", steps, [measured.linear_all for measured in moments], "retain"),
        Line("nearest neighbours", steps, [measured.knn_all for measured in moments], "forget"),
    ]
    for index, name in enumerate(before.transfer):
        colour = SERIES[(index + 2) % len(SERIES)]
        lines.append(Line(f"probe on {name}", steps, [measured.transfer[name] for measured in moments], colour))
    figures = [
        curves(
            lines,
            "Accuracy on the test samples of all tasks, later tasks included: where the line rises, the features "
            "improve for all tasks.",
            x_label="tasks learnt",
            y_label="accuracy",
            share=True,
            name="curves",
        ),
        Figure(
            heat_map(
                [measured.linear for measured in moments],
                ["before", *(str(step) for step in steps[1:])],
                [str(number + 1) for number in range(len(result.tasks))],
                x_label="linear probe on task",
                y_label="after task",
                name="matrix",
            ),
            "The task matrix: read down a column to follow a task, also before it was learnt.",
        ),
    ]
    drifts = [measured.drift for measured in history]
    figures.append(
        curves(
            [Line("drift", steps[1:], gaps(drifts), "unseen")],
            "How much the features of the same test samples changed in each task: 0 is not at all.",
            x_label="tasks learnt",
            y_label="1 - CKA",
            name="drift",
        )
    )
    drawn = read_json(run.path / "map.json")
    if drawn is not None:
        panels = {
            "before the stream": [(x, y) for x, y in drawn["before"]],
            "after the last task": [(x, y) for x, y in drawn["after"]],
        }
        figures.append(
            Figure(
                scatter_panels(panels, drawn["classes"], result.classes, name="map"),
                f"{len(drawn['classes'])} test samples on a plane (t-SNE), by their class: neighbours look alike to "
                "the encoder. "
                "Distances between groups mean nothing.",
                wide=True,
            )
        )
    losses = loss_figure(run)
    return figures if losses is None else [*figures, losses]


def _measure_section(result: RepresentationResult) -> Section:
    rows = [
        Row(
            text,
            [number_text(_figure(result, kind=kind, key=key)) for kind in ("linear", "knn")],
            ProbeFigures.note(key),
        )
        for key, text in _MEASURES.items()
    ]
    return Section(
        "Every figure", [_PROBES], [Table("Figures of the task matrix", ["Linear", "k-NN"], rows, "Measure")]
    )


def _label_section(result: RepresentationResult) -> Section:
    rows = [Row(f"{float(share):.0%} of the labels", [f"{value:.3f}"]) for share, value in result.few_labels.items()]
    rows += [
        Row(f"Transfer to {name}", [f"{value:.3f}"], f"before the stream {result.before.transfer[name]:.3f}")
        for name, value in result.history[-1].transfer.items()
    ]
    if not rows:
        return Section("Few labels and other data", ["No such probe was configured."])
    return Section("Few labels and other data", [], [Table("Linear probes at the end", ["Accuracy"], rows, "Probe")])


def _cost_section(result: RepresentationResult) -> Section:
    cost = result.cost
    rows = [
        Row("Training seconds of each task", [seconds_text(cost.task_seconds)]),
        Row("Steps", [f"{cost.steps:,}"]),
        Row("Views", [f"{cost.images:,}"]),
        Row("Stored samples", [f"{cost.exemplars:,}"]),
        Row("Parameters of the encoder", [f"{cost.parameters_encoder:,}"]),
        Row("Parameters in training", [f"{cost.parameters_training:,}"]),
        Row("Peak memory, MB", [f"{cost.peak_memory_bytes / 1e6:,.0f}"]),
    ]
    return Section("Cost", [], [Table("Cost", ["Value"], rows)])
