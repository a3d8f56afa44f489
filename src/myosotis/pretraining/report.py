"""The report of a run that pre-trained by masking, and of several side by side."""

import json
from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean
from typing import Any

from myosotis.engine.run import Run
from myosotis.pretraining.maskers import MASKERS
from myosotis.pretraining.objectives import OBJECTIVES
from myosotis.pretraining.result import PretrainResult
from myosotis.report.comparison import side_by_side
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, curves, dot_chart, histogram, image_sheet
from myosotis.report.groups import group_runs, mean_text
from myosotis.report.learning import LEARNT, learnt_verdict
from myosotis.report.sections import (
    count_text,
    environment_section,
    lineage_section,
    method_section,
    repeated_verdicts,
    run_facts,
)

_LIMITS = (
    "One seed; compare over several.",
    "The reconstruction loss does not measure the quality of features, and losses of different maskers cannot be "
    "compared: what is hidden decides how hard the task is.",
)
_BORROWED = (
    "Brightness and contrast of reconstructed patches are those of the original: the network learns patches less "
    "their mean, divided by their deviation."
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``pretrain``.
    """
    result, config = run.result_as(PretrainResult), run.settings()
    masker, objective = MASKERS.card(result.masker), OBJECTIVES.card(result.objective)
    end = config.get("ratio_end")
    ratio = f"{result.ratio:g}" if end is None else f"{result.ratio:g} to {end:g}"
    return Document(
        title=f"Masked pre-training: {result.name}",
        subtitle=(
            f"{result.images:,} images of {result.tokens} tokens; {objective.title}, {masker.title}, masking "
            f"ratio {ratio}, {count_text(config['training']['epochs'], 'epoch')}, seed {result.seed}."
        ),
        facts=run_facts(
            run,
            f"{objective.title}, {masker.title}",
            model=config["model"]["architecture"],
            hashes=[result.lineage.model_in, result.lineage.model_out],
        ),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        table=_table(result),
        figures=_figures(run, result, config),
        sections=[
            _mask_section(result),
            _cost_section(result),
            method_section([objective, masker], config),
            lineage_section(
                {
                    "Network that came in": result.lineage.model_in,
                    "Network that went out": result.lineage.model_out,
                },
                result.lineage.data,
            ),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side; runs that differ only in the seed share a row.

    Args:
        runs: At least two, all of the kind ``pretrain``.
    """
    results = [run.result_as(PretrainResult) for run in runs]
    groups = group_runs(runs, results, titles=("masker.name", "ratio"))
    confidence = float(runs[0].settings()["confidence"])
    rows, points = [], {"linear probe": list[Point](), "nearest neighbours": list[Point]()}
    for group in groups:
        cells = [str(len(group.runs))]
        for kind, series in (("linear", "linear probe"), ("knn", "nearest neighbours")):
            interval = group.mean(partial(_probe, kind=kind), confidence)
            cells.append(mean_text(interval))
            if interval is not None:
                points[series].append(Point(group.label, interval.mean, interval.low, interval.high))
        cells.append(mean_text(group.mean(lambda result: result.finetuned, confidence)))
        cells.append(f"{fmean(result.masks['ratio'] for result in group.results):.3f}")
        cells.append(f"{fmean(result.cost.seconds['pretrain'] for result in group.results):.0f}")
        rows.append(Row(group.label, cells, group.settings))
    drawn = {name: series for name, series in points.items() if series}
    best = max(points["linear probe"], key=lambda point: point.value, default=None)
    return side_by_side(
        runs,
        [MASKERS.card(result.masker).title for result in results],
        [_verdicts(result) for result in results],
        title="Masked pre-training side by side",
        subtitle=f"{len(runs)} runs in {len(groups)} groups; runs that differ only in the seed are one group.",
        limits=_LIMITS,
        answers=[
            Verdict(
                "Which encoder has the best features?",
                "None of them was measured."
                if best is None
                else f"{best.name}: a linear probe gets {best.value:.3f} of the test images right.",
            ),
            Verdict("How sure are we?", f"Means over runs with {confidence:.0%} intervals by Student's t."),
        ],
        table=Table(
            f"Mean over runs with {confidence:.0%} interval",
            ["Runs", "Linear probe", "Nearest neighbours", "Fine-tuned", "Realised ratio", "Seconds"],
            rows,
            "Group",
        ),
        figures=[Figure(dot_chart(drawn, x_label="accuracy on test images", name="probes"), "Accuracy of probes.")]
        if drawn
        else [],
    )


def _probe(result: PretrainResult, kind: str) -> float | None:
    """The accuracy of a probe after pre-training; None where nothing was measured."""
    if result.probes is None:
        return None
    value: float = getattr(result.probes.pretrained, kind)
    return value


def _verdicts(result: PretrainResult) -> list[Verdict]:
    probes, masks = result.probes, result.masks
    verdicts = []
    if probes is None:
        verdicts.append(Verdict(LEARNT, "Not measured: there are no labelled images, or no probes."))
    else:
        after, before, pixels = probes.pretrained, probes.untrained, probes.pixels
        verdicts.append(
            learnt_verdict(
                result.verdict,
                f"Nearest neighbours: {after.knn:.3f}, before {before.knn:.3f}, raw pixels {pixels.knn:.3f}.",
            )
        )
    if result.finetuned is not None:
        verdicts.append(
            Verdict("How good is it after fine-tuning?", f"{result.finetuned:.3f} of the test images are right.")
        )
    hidden = f"{masks['ratio']:.3f} of the tokens were hidden in the last epoch"
    if masks["ratio_min"] != masks["ratio_max"]:
        hidden += f", from {masks['ratio_min']:.3f} to {masks['ratio_max']:.3f}"
    if "salient_share" in masks:
        hidden += (
            f"; {masks['salient_share']:.1%} of them are salient (above the threshold), and the median "
            f"salience of an image is {masks['salience_median']:.3f}"
        )
    verdicts.append(Verdict("What was hidden?", hidden + "."))
    verdicts += repeated_verdicts(result.repeated, result.test_images)
    if probes is not None:
        interval = probes.intervals["linear"]
        verdicts.append(
            Verdict(
                "How sure are we?",
                f"The linear probe has an exact interval of {interval['low']:.3f} to {interval['high']:.3f} over "
                f"{probes.count:,} test images. Another seed gives another encoder; compare over several.",
            )
        )
    return verdicts


def _table(result: PretrainResult) -> Table:
    probes = result.probes
    if probes is None:
        rows = [Row("Reconstruction loss, last epoch", [f"{result.masks['reconstruction']:.4f}"])]
        return Table("At the end", ["Value"], rows)
    names = {"pixels": "Raw pixels", "untrained": "Encoder before", "pretrained": "Encoder after pre-training"}
    measured = {text: getattr(probes, key) for key, text in names.items()}
    rows = [Row(text, [f"{at.linear:.3f}", f"{at.knn:.3f}", f"{at.penalty:g}"]) for text, at in measured.items()]
    if result.finetuned is not None:
        rows.append(Row("Fine-tuned", [f"{result.finetuned:.3f}", "-", "-"]))
    return Table("Accuracy on test images", ["Linear probe", "Nearest neighbours", "Penalty"], rows, "Features")


def _figures(run: Run, result: PretrainResult, config: Mapping[str, Any]) -> list[Figure]:
    epochs = {event["epoch"]: event for event in run.events() if event.get("phase") == "pretrain"}
    ordered = [epochs[epoch] for epoch in sorted(epochs)]
    at = [float(event["epoch"]) for event in ordered]
    terms = [key for key in ("reconstruction", "predicted_loss") if key in ordered[-1]]
    lines = [
        Line(term.replace("_", " "), at, [event[term] for event in ordered], SERIES[index])
        for index, term in enumerate(terms)
    ]
    figures = [
        curves(
            lines,
            "Terms of the loss. Where the masker changes on the way, so does the task: the loss may rise.",
            x_label="epoch",
            y_label="mean loss term",
            name="terms",
        )
    ]
    if "salient_share" in ordered[-1]:
        figures.append(
            curves(
                [
                    Line("above the threshold", at, [event["salient_share"] for event in ordered], "forget"),
                    Line("median", at, [event["salience_median"] for event in ordered], "retain"),
                ],
                "Salience of the tokens while training: the share above the threshold, and the median of an image. "
                "Where the median is near 0, few tokens receive nearly all affinity and noise decides about the rest.",
                x_label="epoch",
                y_label="share of tokens; salience",
                name="salience",
            )
        )
    pictures = json.loads((run.path / "pictures.json").read_text(encoding="utf-8"))
    if len(set(pictures["ratios"])) > 1:
        figures.append(
            Figure(
                histogram(pictures["ratios"], x_label="share of hidden tokens", y_label="images", name="ratios"),
                f"Realised masking ratios of {len(pictures['ratios'])} images at the end.",
            )
        )
    return [*figures, *_picture_figures(pictures, result, config)]


def _picture_figures(pictures: Mapping[str, Any], result: PretrainResult, config: Mapping[str, Any]) -> list[Figure]:
    if not pictures["images"]:
        return []
    kinds = [key for key in ("original", "guide", "masked", "reconstruction") if key in pictures["images"][0]]
    names = {"guide": result.masker.replace("_", " ")}
    images = [row[key] for key in kinds for row in pictures["images"]]
    titles = [names.get(key, key) for key in kinds for _ in pictures["images"]]
    borrowed = config["objective"].get("norm_pix", False)
    caption = "From above: images, " + (f"{names['guide']} (bright is much), " if "guide" in kinds else "")
    figures = [
        Figure(
            image_sheet(images, titles, columns=len(pictures["images"])),
            f"{caption}what is visible, the reconstruction. {_BORROWED if borrowed else ''}".strip(),
            wide=True,
        )
    ]
    if pictures["masks"]:
        figures.append(
            Figure(
                image_sheet(
                    [mask["png"] for mask in pictures["masks"]],
                    [f"epoch {mask['epoch']}" for mask in pictures["masks"]],
                    columns=max(4, len(pictures["masks"])),
                ),
                "What would be hidden of one image after several epochs, guided by the network at that epoch.",
                wide=True,
            )
        )
    return figures


def _mask_section(result: PretrainResult) -> Section:
    names = {
        "ratio": "Realised ratio, mean",
        "ratio_min": "Realised ratio, smallest",
        "ratio_max": "Realised ratio, largest",
        "salient_share": "Share of salient tokens (above the threshold)",
        "salience_median": "Median salience of an image",
        "guide_of_hidden": "Guide of the mask, mean over hidden tokens",
        "guide_of_visible": "Guide of the mask, mean over visible tokens",
        "reconstruction": "Reconstruction loss",
        "predicted_loss": "Ranking loss of predicted losses",
    }
    masks = result.masks
    names |= {key: key.replace("_", " ").capitalize() for key in masks if key not in names}
    rows = [Row(text, [f"{masks[key]:.4f}"]) for key, text in names.items() if key in masks]
    return Section("Masks", ["Means over the last epoch."], [Table("Masks and loss", ["Value"], rows)])


def _cost_section(result: PretrainResult) -> Section:
    cost = result.cost
    rows = [
        *(Row(f"Seconds, {phase}", [f"{value:.0f}"]) for phase, value in cost.seconds.items()),
        Row("Steps", [f"{cost.steps:,}"]),
        Row("Processes", [f"{cost.processes}"]),
        Row("Parameters of the encoder", [f"{cost.parameters_encoder:,}"]),
        Row("Parameters in training", [f"{cost.parameters_training:,}"]),
        Row("Peak memory, MB", [f"{cost.peak_memory_bytes / 1e6:,.0f}"]),
    ]
    return Section("Cost", [], [Table("Cost", ["Value"], rows)])
