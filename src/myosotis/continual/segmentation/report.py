"""The report of a run that learnt to segment a stream of classes, and of several runs side by side."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from myosotis.continual.segmentation.methods import METHODS
from myosotis.continual.segmentation.result import SegmentResult
from myosotis.data.masks import IGNORE
from myosotis.engine.run import Run
from myosotis.evaluation.comparison import compared
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.learning import difference_of
from myosotis.report.comparison import ahead, side_by_side
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, curves, gaps, heat_map, image_sheet
from myosotis.report.groups import group_runs, mean_text, number_text
from myosotis.report.learning import KEPT, basis_text, kept_verdict, learnt_verdict
from myosotis.report.pictures import encoded_png
from myosotis.report.sections import (
    environment_section,
    lineage_section,
    method_section,
    run_facts,
    seconds_text,
)

_MEASURES = {
    "all": "All channels",
    "base": "First task",
    "base_with_background": "First task and background",
    "new": "Later tasks",
    "harmonic": "Harmonic mean",
    "forgetting": "Forgetting",
}
_SEEDS = ("seed", "scenario.partition_seed", "scenario.partition", "scenario.order_seed")
"""Settings in which runs of one group may differ."""

_COLOURS = [
    "#000000",
    "#E69F00",
    "#56B4E9",
    "#009E73",
    "#F0E442",
    "#0072B2",
    "#D55E00",
    "#CC79A7",
    "#999999",
    "#882255",
    "#44AA99",
    "#DDCC77",
    "#332288",
    "#AA4499",
]
_IGNORED = "#FFFFFF"
_HARDLY, _NAMED = 0.05, 5
"""IoU below which a class is hardly found, and how many of these are named."""


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Run of ``learn-segments``.
    """
    result, config = run.result_as(SegmentResult), run.settings()
    card = METHODS.card(result.method)
    return Document(
        title=f"Class-incremental segmentation: {result.name}",
        subtitle=(
            f"{len(result.classes)} classes in {len(result.tasks)} tasks, {result.scenario} scenario; "
            f"{card.title}, seed {result.seed}. IoU from one confusion matrix over test images that show a class "
            f"so far; pixels of later classes are " + ("ignored." if result.unseen == "ignore" else "background.")
        ),
        facts=run_facts(
            run, card.title, model=config["model"]["architecture"], hashes=[None, result.lineage.model_out]
        ),
        verdicts=_verdicts(result),
        limits=[
            "One order of classes, one partition and one seed. These make larger differences than methods do, so "
            "compare over several of each.",
            "Settings that were chosen by looking at these test images would make the figures optimistic.",
        ],
        table=_class_table(result),
        figures=_figures(run, result),
        sections=[
            _scenario_section(result),
            _pseudo_section(result),
            _memory_section(result),
            method_section([card], config),
            _cost_section(result),
            lineage_section({"Resulting model": result.lineage.model_out}, result.lineage.data),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ in seed and partition alone are one row.

    Args:
        runs: At least two runs of ``learn-segments``.
    """
    results = [run.result_as(SegmentResult) for run in runs]
    groups = group_runs(runs, results, seeds=_SEEDS, titles=("method.name", "scenario.kind"))
    rows = [
        Row(
            group.label,
            [str(len(group.runs)), *(mean_text(group.mean(partial(_figure, key=key))) for key in _MEASURES)],
            group.settings,
        )
        for group in groups
    ]
    figures = {group.label: group.values(partial(_figure, key="all")) for group in groups}
    known = {
        group.label: fmean(figures[group.label]) for group in groups if len(figures[group.label]) == len(group.runs)
    }
    best = max(known, key=lambda label: known[label], default=None)
    answer = (
        "No run has a figure." if best is None else f"{best}, with a mean IoU of {known[best]:.3f} over all channels."
    )
    return side_by_side(
        runs,
        [METHODS.card(result.method).title for result in results],
        [[_against_finetuning(verdict, result, results) for verdict in _verdicts(result)] for result in results],
        title="Class-incremental segmentation side by side",
        subtitle=f"{len(runs)} runs in {len(groups)} groups, of runs that differ in seed and partition alone.",
        answers=[
            ahead(
                "Which method retains most?",
                answer,
                [result.classes for result in results],
                [result.test_images[-1] for result in results],
            )
        ],
        table=Table("Final mean IoU, mean over runs with interval", ["Runs", *_MEASURES.values()], rows, "Group"),
        limits=["Differences within the intervals may be due to seed, order or partition."],
    )


def _figure(result: SegmentResult, key: str) -> float | None:
    value: float | None = getattr(result.metrics, key)
    return value


def _first_task(result: SegmentResult) -> Interval | None:
    """The final mean IoU of the classes of the first task, where it is known and something was learnt."""
    verdict = result.verdict
    return verdict.kept_basis[0].value if verdict is not None and verdict.learnt and verdict.kept_basis else None


def _against_finetuning(verdict: Verdict, result: SegmentResult, results: Sequence[SegmentResult]) -> Verdict:
    """``Has it kept?`` against fine-tuning with the same seed on the same tasks; else the verdict as it is."""
    stream = (result.seed, result.tasks, result.scenario)
    controls = [
        other.verdict.kept_basis[0].value
        for other in results
        if other.method == "finetune"
        and (other.seed, other.tasks, other.scenario) == stream
        and other.verdict is not None
        and other.verdict.kept_basis
    ]
    value, control = _first_task(result), next(iter(controls), None)
    if verdict.question != KEPT or result.method == "finetune" or value is None or control is None:
        return verdict
    row = compared(
        "final mean IoU of the classes of the first task",
        value,
        control,
        difference_of(value, control),
        "above",
        against_of="fine-tuning",
    )
    more = "" if row.holds else " It has not kept more than fine-tuning, as far as this interval shows."
    return Verdict(KEPT, f"{basis_text(row)}{more} {verdict.answer}", row.holds, row.holds is None)


def _verdicts(result: SegmentResult) -> list[Verdict]:
    metrics, reappearance = result.metrics, result.reappearance
    new = "" if metrics.new is None else f"; that of classes of later tasks is {metrics.new:.3f}"
    scope = "all classes" if result.iou[-1][0] is None else "all channels, background among them"
    worst = [(value, name) for name, value in zip(result.classes, result.forgetting[1:], strict=False) if value]
    verdicts = [
        learnt_verdict(
            result.verdict,
            f"The mean IoU of {number_text(metrics.all)} is over {scope}{new}."
            + _hardly_found(result.classes, result.iou[-1][1:]),
        )
    ]
    if len(result.tasks) > 1:
        verdicts.append(
            kept_verdict(
                result.verdict,
                f"The class '{max(worst)[1]}' has lost most, {max(worst)[0]:.3f} from its best." if worst else "",
            )
        )
    if len(result.tasks) > 1:
        pairs = [
            (share, count)
            for share, count in zip(reappearance.seen_old_pixels, reappearance.old_pixels, strict=True)
            if share is not None
        ]
        total = sum(count for _, count in pairs)
        again = sum(share * count for share, count in pairs) / max(1, total)
        text = (
            f"{reappearance.repeated_images:.1%} of the images are in several tasks. "
            + (
                f"Of the old-class pixels in later tasks {again:.1%} had been trained on before, with their label."
                if total
                else "No later task shows an old class."
            )
            + (" Pixels that were trained on are easy to pseudo-label." if again else "")
        )
        verdicts.append(Verdict("How realistic is the stream?", text))
    verdicts.append(
        Verdict(
            "How sure are we?",
            f"One seed, one partition; {result.test_images[-1]} test images"
            + (f"; channels without an IoU there, which do not count: {metrics.absent}." if metrics.absent else "."),
        )
    )
    return verdicts


def _hardly_found(classes: Sequence[str], iou: Sequence[float | None]) -> str:
    """The classes that a mean hides, as a sentence; empty if there are none."""
    missed = [name for name, value in zip(classes, iou, strict=False) if value is not None and value < _HARDLY]
    if not missed:
        return ""
    some = ", ".join(f"'{name}'" for name in missed[:_NAMED]) + (" and others" if len(missed) > _NAMED else "")
    return f" {len(missed)} of {len(classes)} classes are hardly found, with an IoU below {_HARDLY}: {some}."


def _class_table(result: SegmentResult) -> Table:
    names = ["background", *result.classes]
    rows = []
    for channel, name in enumerate(names):
        values = [row[channel] if channel < len(row) else None for row in result.iou]
        lost = result.forgetting[channel] if channel < len(result.forgetting) else None
        rows.append(Row(name, [*(number_text(value) for value in values), "-" if lost is None else f"{lost:+.3f}"]))
    rows += [
        Row(
            label,
            [
                *(number_text(getattr(step, key)) for step in result.figures_after_task),
                number_text(result.metrics.forgetting) if key == "all" else "-",
            ],
        )
        for key, label in _MEASURES.items()
        if key != "forgetting"
    ]
    columns = [*(f"After task {number + 1}" for number in range(len(result.tasks))), "Lost since its best"]
    return Table("IoU of each channel, and means of groups", columns, rows, "Class")


def _figures(run: Run, result: SegmentResult) -> list[Figure]:
    steps = list(range(1, len(result.tasks) + 1))
    lines = [
        Line("all channels", steps, gaps([step.all for step in result.figures_after_task]), "unseen"),
        Line("first task", steps, gaps([step.base for step in result.figures_after_task]), "retain"),
    ]
    if len(steps) > 1:
        later = gaps([step.new for step in result.figures_after_task[1:]])
        lines.append(Line("later tasks", steps[1:], later, "forget"))
    names = ["background", *result.classes]
    grid = [[row[channel] if channel < len(row) else None for channel in range(len(names))] for row in result.iou]
    figures = [
        curves(
            lines,
            "Mean IoU of groups of classes after each task.",
            x_label="tasks learnt",
            y_label="mean IoU",
            share=True,
            name="curves",
        ),
        Figure(
            heat_map(
                list(zip(*grid, strict=True)),
                names,
                [str(step) for step in steps],
                x_label="after task",
                y_label="class",
                name="iou",
            ),
            "IoU of each class after each task; empty before its task.",
        ),
    ]
    panels = run.path / "panels.safetensors"
    if panels.is_file():
        figures.append(
            Figure(
                _panels(load_file(panels), len(result.panels), len(steps), names),
                "Test images, their truth, and the prediction after each task; white is ignored.",
                wide=True,
            )
        )
    return figures


def _panels(tensors: Mapping[str, Tensor], count: int, steps: int, names: Sequence[str]) -> str:
    images, titles = [], []
    for panel in range(count):
        images.append(encoded_png(tensors[f"image-{panel}"].permute(1, 2, 0).numpy()))
        images.append(encoded_png(_coloured(tensors[f"truth-{panel}"])))
        titles += ["image", "truth"]
        for step in range(1, steps + 1):
            images.append(encoded_png(_coloured(tensors[f"task-{step}-{panel}"])))
            titles.append(f"after task {step}")
    return image_sheet(images, titles, steps + 2, [(_colour(channel), name) for channel, name in enumerate(names)])


def _coloured(mask: Tensor) -> NDArray[np.uint8]:
    table = np.zeros((256, 3), np.uint8)
    for channel in range(IGNORE):
        table[channel] = _rgb(_colour(channel))
    table[IGNORE] = _rgb(_IGNORED)
    coloured: NDArray[np.uint8] = table[mask.numpy()]
    return coloured


def _colour(channel: int) -> str:
    """A colour of the palette, or the mean of two if there are more classes than colours."""
    if channel < len(_COLOURS):
        return _COLOURS[channel]
    first, second = (_rgb(_COLOURS[1 + index % (len(_COLOURS) - 1)]) for index in (channel, channel * 5 + 2))
    return "#" + "".join(f"{(a + b) // 2:02X}" for a, b in zip(first, second, strict=True))


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _scenario_section(result: SegmentResult) -> Section:
    reappearance = result.reappearance
    rows = [
        Row(
            f"Task {number + 1}",
            [
                f"{reappearance.images[number]:,}",
                f"{reappearance.seen_images[number]:.1%}",
                f"{reappearance.old_pixels[number]:,}",
                "-" if reappearance.seen_old_pixels[number] is None else f"{reappearance.seen_old_pixels[number]:.1%}",
                f"{reappearance.future_pixels[number]:,}",
            ],
        )
        for number in range(len(result.tasks))
    ]
    columns = ["Images", "Seen before", "Old-class pixels", "Of these trained on before", "Pixels of later classes"]
    text = (
        "Old and later classes are background in the masks of a task. In images that reappear, an old class was "
        "trained on with its label, and a later class as background."
    )
    return Section("The stream", [text], [Table("Re-appearance", columns, rows, "Task")])


def _pseudo_section(result: SegmentResult) -> Section:
    rows = []
    for number, by_image in enumerate(result.pseudo_labels):
        for name, figures in by_image or ():
            if figures.images:
                rows.append(
                    Row(
                        f"Before task {number + 1}, images {name}",
                        [str(figures.images), number_text(figures.right), number_text(figures.taken_for_old)],
                    )
                )
    columns = ["Images", "Old-class pixels correct", "Other classes predicted as old ones"]
    text = "How the network labels old classes in the images of the next task; no method reads these masks."
    return Section("Pseudo-labels", [text], [Table("By whether an image was trained on", columns, rows, "When")])


def _memory_section(result: SegmentResult) -> Section:
    last = result.memory[-1]
    if not last.images:
        return Section("Memory", ["The memory is empty."])
    names = result.classes
    rows = [Row(names[int(channel) - 1], [str(count)]) for channel, count in last.of_class.items()]
    text = (
        f"{last.images} images with the masks of their tasks; {last.leaks} masks show a class that "
        "their task did not label."
    )
    return Section("Memory", [text], [Table("Remembered images that show a class", ["Images"], rows, "Class")])


def _cost_section(result: SegmentResult) -> Section:
    cost = result.cost
    rows = [
        Row("Seconds of each task", [seconds_text(cost.task_seconds)]),
        Row("Steps", [f"{cost.steps:,}"]),
        Row("Images", [f"{cost.images:,}"]),
        Row("Parameters", [f"{cost.parameters:,}"]),
        Row("Peak memory, MB", [f"{cost.peak_memory_bytes / 1e6:,.0f}"]),
    ]
    return Section("Cost", [], [Table("Cost", ["Value"], rows)])
