"""Sections of a report about a classifier, below its plots."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from myosotis.report.document import Row, Section, Table
from myosotis.report.groups import number_text
from myosotis.report.requests import requests_table
from myosotis.report.sections import (
    count_text,
    lineage_section,
    method_section,
    request_tables,
)
from myosotis.unlearning.classifier.job.report_terms import (
    MODELS,
    SETS,
    STOP_REASONS,
    auc_text,
    share_text,
)
from myosotis.unlearning.classifier.job.result import ClassifierResult, ModelFigures, Shadow, Unlearning, Variant
from myosotis.unlearning.classifier.methods import METHODS

_SHOWN = 16
"""Digits of a fingerprint in the table of images."""
_RELEARNING = {"before": "model before", "after": "model after", "reference": "reference"}
_COPIES = {
    "shifted": "shifted by a pixel",
    "mirrored": "mirrored",
    "noisy": "with noise",
    "lighting": "a tenth brighter or darker",
}


def variant_sections(result: ClassifierResult) -> list[Section]:
    """Return the methods side by side, if the run compared some."""
    if not result.variants:
        return []
    after = result.metrics["after"]
    sets = [key for key in SETS if after.of(key) is not None]

    def row(name: str, how: Unlearning | Variant, metrics: ModelFigures) -> Row:
        figures = [metrics.of(key) for key in sets]
        cells = [number_text(None if one is None else one.accuracy.mean) for one in figures]
        return Row(name, [*cells, "yes" if how.converged else "no", str(how.steps), f"{how.seconds:.1f}"])

    rows = [row(f"{result.goal}, {result.method} (this run)", result.unlearning, after)]
    rows += [row(variant.name, variant, variant.metrics) for variant in result.variants]
    before = {SETS[key].lower(): result.metrics["before"].of(key) for key in SETS}
    text = "; ".join(f"{name} {figures.accuracy.mean:.3f}" for name, figures in before.items() if figures is not None)
    columns = [*(f"{SETS[key]} accuracy" for key in sets), "Converged", "Steps", "Seconds"]
    return [
        Section(
            "Methods side by side",
            [f"The same instances, from the same model. Accuracy before: {text}."],
            [Table("Every method", columns, rows, "Goal, method")],
        )
    ]


def request_sections(result: ClassifierResult) -> list[Section]:
    """Return the accuracy on each request after each later one, if there were several."""
    requests = result.unlearning.requests
    if not requests:
        return []
    ends = [
        Row(
            f"request {number}",
            [str(request.instances), str(request.steps), STOP_REASONS[request.stop_reason]],
        )
        for number, request in enumerate(requests, start=1)
    ]
    return [
        Section(
            "Requests one after another",
            [
                "Each request starts from the model that the previous one left. Where a figure rises again, instances "
                "came back."
            ],
            [
                requests_table(
                    "Share of each request that gets its true label, after each",
                    [request.forget_accuracy for request in requests],
                ),
                Table("How each ended", ["Instances", "Steps", "Stop reason"], ends),
            ],
        )
    ]


def membership_section(result: ClassifierResult) -> Section:
    """Return the results of the attack by the loss."""
    models = [name for name in MODELS if name in result.metrics]
    if "forget" not in result.metrics["after"].membership:
        return Section(
            "Membership inference", ["Not measured: the attack needs test images of the classes of the instances."]
        )
    rows = []
    for key in ("forget", "remaining"):
        attacks = [attack for name in models if (attack := result.metrics[name].membership.get(key)) is not None]
        if len(attacks) < len(models):
            continue
        label = SETS[key]
        rows.append(Row(f"{label}: AUC of a low loss", [auc_text(attack) for attack in attacks]))
        rows.append(Row(f"{label}: AUC of a high loss", [number_text(attack.auc_reversed) for attack in attacks]))
        found = {"low": [attack.tpr for attack in attacks], "high": [attack.tpr_reversed for attack in attacks]}
        rows += [
            Row(
                f"{label}: found by a {title} loss at {float(rate):.0%} false alarms",
                [share_text(shares[rate]) for shares in of_models],
                f"{attacks[0].members} against {attacks[0].others} test images",
            )
            for title, of_models in found.items()
            for rate in attacks[0].tpr
        ]
    return Section(
        "Membership inference",
        ["A low loss reveals what is remembered, a high loss what was over-forgotten; an AUC of 0.5 is no trace."],
        [
            Table(
                "Attack by the loss against test images of the same classes",
                [MODELS[name] for name in models],
                rows,
                "Measure",
            )
        ],
    )


def shadow_sections(result: ClassifierResult) -> list[Section]:
    """Return the results of the attacks with shadow models, if there were any."""
    return [] if result.shadow is None else [shadow_section(result.shadow)]


def shadow_section(shadow: Shadow) -> Section:
    """Return the results of U-LiRA and RMIA.

    Args:
        shadow: Results of :func:`~myosotis.unlearning.classifier.shadow.shadow_audit`.
    """
    lira = shadow.u_lira
    rows = [
        Row("U-LiRA: accuracy", [share_text(lira.accuracy)], f"{lira.trials} trials; 0.5 is no trace"),
        Row("U-LiRA: AUC", [f"{lira.auc:.3f}"]),
        *(
            Row(f"U-LiRA: found at {float(rate):.0%} false alarms", [share_text(value)])
            for rate, value in lira.tpr.items()
        ),
        Row("U-LiRA: this model's instances called unlearned", [f"{lira.called_unlearned:.3f}"]),
    ]
    for name, attack in shadow.rmia.items():
        rows.append(Row(f"RMIA, {MODELS[name].lower()}: AUC", [auc_text(attack)], "instances against test"))
        rows += [
            Row(f"RMIA, {MODELS[name].lower()}: found at {float(rate):.0%} false alarms", [share_text(value)])
            for rate, value in attack.tpr.items()
        ]
    return Section(
        "Attack by somebody who repeats the procedure",
        [
            f"{shadow.pairs} pairs of shadow models: one learned and unlearned the instances, the other never "
            "saw them. U-LiRA asks which of the two an instance's confidence resembles; RMIA asks whether it was a "
            "member. Instances of one model are not independent, so the intervals are narrower than they should be."
        ],
        [Table("U-LiRA and RMIA", ["Value"], rows, "Measure")],
    )


def stress_sections(result: ClassifierResult) -> list[Section]:
    """Return the accuracy on changed copies and the speed of relearning."""
    copies, relearning = result.stress.copies, result.stress.relearning
    tables = []
    paragraphs = []
    if copies is not None:
        models = [name for name in MODELS if name in copies]
        rows = [Row(label, [f"{copies[name][kind]:.3f}" for name in models]) for kind, label in _COPIES.items()]
        tables.append(Table("Accuracy on changed copies", [MODELS[name] for name in models], rows, "Copy"))
        worst = max(copies["after"], key=lambda kind: copies["after"][kind])
        paragraphs.append(
            f"Slightly changed copies of the instances: of those {_COPIES[worst]}, {copies['after'][worst]:.0%} get "
            "their true class. If that is far above the accuracy on the instances themselves, single answers were "
            "patched and the model's knowledge of such images is still there."
        )
    if relearning is not None:
        parts = [
            f"{_RELEARNING[name]}: {'not reached' if steps is None else steps}"
            for name, steps in relearning.steps_to_return.items()
        ]
        paragraphs.append(
            f"Steps of relearning until the accuracy on instances that are not shown is what it was before "
            f"({relearning.level:.0%}): {'; '.join(parts)}."
        )
    return [Section("Stress", paragraphs, tables)] if paragraphs else []


def class_section(result: ClassifierResult) -> Section:
    """Return accuracy by class."""
    metrics = result.metrics
    models = [name for name in MODELS if name in metrics]
    tables = []
    for key, label in SETS.items():
        figures = [of for model in models if (of := metrics[model].of(key)) is not None]
        if metrics["after"].of(key) is not None:
            rows = [Row(name, [f"{one.by_class[name]:.3f}" for one in figures]) for name in figures[0].by_class]
            tables.append(Table(f"{label}: accuracy by class", [MODELS[name] for name in models], rows, "Class"))
    return Section("By class", [], tables)


def instance_section(result: ClassifierResult) -> Section:
    """Return the outcome for every instance, and the duplicates among the remaining images."""
    classes = result.classes
    rows = [
        Row(
            instance.fingerprint[:_SHOWN],
            [
                classes[instance.label],
                classes[instance.answer_before],
                classes[instance.answer_after],
                f"{instance.probability_before:.3f}",
                f"{instance.probability_after:.3f}",
                f"{instance.margin:.2f}",
                "yes" if instance.forgotten else "no",
            ],
        )
        for instance in result.unlearning.instances
    ]
    columns = ["True class", "Before", "After", "p before", "p after", "Margin", "Forgotten"]
    duplicates = result.images.duplicates
    text = (
        f"Of the other training images, {duplicates['same']} equal an instance and {duplicates['near']} nearly do: "
        "the model may know it by them."
        if duplicates["same"] or duplicates["near"]
        else "No other training image equals, or nearly equals, one of the instances."
        if result.images.remaining
        else "There were no remaining images that could hold duplicates."
    )
    return Section("Instances", [text], [Table("Every instance", columns, rows, "Fingerprint")])


def done_section(result: ClassifierResult, config: Mapping[str, Any]) -> Section:
    """Return the method, how its training went, what it cost, and every setting."""
    unlearning, cost = result.unlearning, result.cost
    phases = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in cost.seconds.items())
    share = cost.share_of_retraining
    of_retraining = "" if share is None else f", {share:.1%} of the time of training"
    facts = "; ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in unlearning.facts.items())
    drift = unlearning.batch_norm_drift
    moved = (
        ""
        if drift is None
        else f" Running means of batch normalisation moved by {drift:.3f} standard deviations on average."
    )
    notes = [
        "The method trained on remaining images too."
        if result.reads_retain
        else "The method read no image but those to be forgotten; other images were used to measure only.",
        f"It ended after {count_text(unlearning.steps, 'step')} and {unlearning.seconds:.1f} s{of_retraining}: "
        f"{STOP_REASONS[unlearning.stop_reason]}.{moved}",
        *([f"Figures of its preparation: {facts}."] if facts else []),
        f"Wall time of the whole job: {phases}. Peak memory {cost.peak_memory_bytes / 1e9:.1f} GB; "
        f"{cost.parameters:,} parameters.",
        *(f"Warning: {warning}." for warning in unlearning.warnings),
    ]
    return method_section([METHODS.card(result.method)], config, notes=notes)


def request_and_lineage(result: ClassifierResult) -> Section:
    """Return the deletion request, if it is described, and the models and images that went in and out."""
    lineage = result.lineage
    untreated, tables = request_tables(result.request)
    notes = [
        "Whoever has the run's salt and an image can find the image by its fingerprint, of which the table of images "
        f"has the first {_SHOWN} digits and result.json all; an image cannot be recovered from its fingerprint.",
        *untreated,
    ]
    models = {"Model that came in": lineage.model_in, "Model that went out": lineage.model_out}
    section = lineage_section(models, lineage.data)
    return replace(section, paragraphs=[*section.paragraphs, *notes], tables=[*tables, *section.tables])


def limits(result: ClassifierResult) -> list[str]:
    """Return what the figures do not show."""
    wrong = (
        "A model that was made to misclassify an instance, or to give it another label, is not a model that never saw "
        "it: a retrained model gets most such instances right, and somebody who knows an instance can tell from the "
        "error that it was unlearned."
    )
    paragraphs = [
        *([wrong] if result.verdict.by_goal else []),
        "Copies elsewhere (the model that came in, checkpoints, backups, caches, the training set) are not checked.",
        "The tests cover answers, losses and representations. They do not try to reconstruct images, nor to model a "
        "stronger attacker.",
    ]
    if result.shadow is None:
        paragraphs.append("No shadow models were trained, so no attacker who repeats the whole procedure was tried.")
    if result.verdict.unseen is not None and "reference" not in result.metrics:
        paragraphs.append(
            "Without a retrained reference, the accuracy on test images of the same classes stands for that of a model "
            "that never saw the instances; on hard instances it would be lower."
        )
    if result.verdict.unseen is None:
        paragraphs.append("Without test images or a reference, the level of unseen instances is not known.")
    return paragraphs
