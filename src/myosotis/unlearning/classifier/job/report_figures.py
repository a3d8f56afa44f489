"""The plots of a report about a classifier."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.files import read_json
from myosotis.engine.run import Run
from myosotis.report.document import Figure
from myosotis.report.figures import Line, curves, image_sheet
from myosotis.unlearning.classifier.job.report_terms import MODELS, SETS
from myosotis.unlearning.classifier.job.result import ClassifierResult

_COLOURS = {"forget": "forget", "remaining": "retain", "held_remaining": "general", "test": "unseen"}
_MODEL_COLOURS = {"before": "neutral", "after": "forget", "reference": "unseen"}


def _curve(events: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(step, event[key]) for step, event in enumerate(events, start=1) if event.get(key) is not None]
    return [float(x) for x, _ in points], [y for _, y in points]


def run_figures(run: Run, result: ClassifierResult) -> list[Figure]:
    """Return the plots of a run: forgetting, loss terms, relearning, similarity of layers.

    Args:
        run: A finished run.
        result: Content of its ``result.json``.
    """
    events = [event for event in run.events() if event.get("phase") == "unlearn"]
    figures = (_forgetting(events, result), _terms(events), _relearning(result), _similarity(result))
    return [figure for figure in figures if figure is not None]


def _forgetting(events: Sequence[Mapping[str, Any]], result: ClassifierResult) -> Figure | None:
    if not any("forget_accuracy" in event for event in events):
        return None
    x, y = _curve(events, "forget_accuracy")
    levels = {}
    unseen = result.verdict.unseen
    if unseen is not None and unseen.against is not None:
        levels = {unseen.against_of.split(",")[0]: (unseen.against.mean, "unseen")}
    start = result.metrics["before"].forget.accuracy.mean
    again = " It rises where the next request begins." if result.unlearning.requests else ""
    return curves(
        [Line("forget set", [0, *x], [start, *y], "forget")],
        "Accuracy on the forget set while it is unlearnt. Below the line the model errs more on the instances "
        f"than on images that it never saw.{again}",
        x_label="optimisation step",
        y_label="accuracy",
        levels=levels,
        share=True,
        name="forget-accuracy",
    )


def _terms(events: Sequence[Mapping[str, Any]]) -> Figure | None:
    terms = [
        key
        for key in dict.fromkeys(name for event in events for name in event)
        if key not in ("phase", "request", "step", "forget_accuracy", "forget_loss")
    ]
    if not terms:
        return None
    colours = ("forget", "retain", "general", "neutral")
    lines = [
        Line(term, *_curve(events, term), colours[index % len(colours)])
        for index, term in enumerate(terms)
        if _curve(events, term)[0]
    ]
    return curves(
        lines,
        "Terms of the loss: the forget term should fall, the terms that preserve the rest should stay low.",
        x_label="optimisation step",
        y_label="loss term",
        name="terms",
    )


def _relearning(result: ClassifierResult) -> Figure | None:
    relearning = result.stress.relearning
    if relearning is None:
        return None
    lines = [
        Line(
            MODELS[name].lower(),
            [point.step for point in curve],
            [point.held for point in curve],
            _MODEL_COLOURS[name],
        )
        for name, curve in relearning.curves.items()
    ]
    return curves(
        lines,
        "Relearning: trained on the true labels of some forgotten instances, how soon are the others recognised "
        "again? A model whose curve jumps up had only hidden what it knew.",
        x_label="relearning step",
        y_label="accuracy on the others",
        share=True,
        name="relearning",
    )


def _similarity(result: ClassifierResult) -> Figure | None:
    similarity = result.cka
    if similarity is None:
        return None
    layers = list(range(1, len(similarity.layers) + 1))
    lines = [
        Line(
            SETS[name].lower(),
            [index for index, layer in zip(layers, similarity.layers, strict=True) if values[layer] is not None],
            [value for layer in similarity.layers if (value := values[layer]) is not None],
            _COLOURS[name],
        )
        for name, values in similarity.similarity.items()
    ]
    count = min(result.images.forget, similarity.images)
    caution = "" if count >= similarity.images else f" With {count} images the forget curve is too high."
    return curves(
        lines,
        "Similarity of the representations before and after, layer by layer; 1 is unchanged. The model was "
        f"changed where a curve falls.{caution}",
        x_label="layer, first to last",
        y_label="linear CKA",
        share=True,
        name="cka",
    )


def sample_figures(run: Run) -> list[Figure]:
    """Return the forgotten images, if the run was made with --show-samples."""
    path = run.path / "samples.json"
    if not path.is_file():
        return []
    rows = read_json(path)
    sheet = image_sheet(
        [row["png"] for row in rows], [f"{row['label']}: {row['before']} → {row['after']}" for row in rows]
    )
    return [
        Figure(
            sheet,
            "The forgotten instances, shown because --show-samples was given: true class, answer before and after.",
        )
    ]
