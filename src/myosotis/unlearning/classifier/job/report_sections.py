"""The parts of a report about a classifier below its plots."""

from collections.abc import Mapping
from typing import Any

from myosotis.report.document import Row, Section, Table
from myosotis.report.sections import setting_rows
from myosotis.unlearning.classifier.job.report_terms import (
    MODELS,
    SETS,
    STOP_REASONS,
    forget_membership,
    interval_text,
    share_text,
)
from myosotis.unlearning.classifier.methods import METHODS

_COPIES = {
    "shifted": "shifted by a pixel",
    "mirrored": "mirrored",
    "noisy": "with noise",
    "lighting": "a tenth brighter or darker",
}


def variant_sections(result: Mapping[str, Any]) -> list[Section]:
    """Return the methods side by side, if the run compared some."""
    if not result["variants"]:
        return []
    own = {
        "name": f"{result['goal']}, {result['method']} (this run)",
        "converged": result["unlearning"]["converged"],
        "steps": result["unlearning"]["steps"],
        "seconds": result["unlearning"]["seconds"],
        "metrics": result["metrics"]["after"],
    }
    rows = []
    sets = [key for key in SETS if key in own["metrics"]]
    for one in (own, *result["variants"]):
        cells = [f"{one['metrics'][key]['accuracy']['mean']:.3f}" if key in one["metrics"] else "-" for key in sets]
        converged = "yes" if one["converged"] else "no"
        rows.append(Row(one["name"], [*cells, converged, str(one["steps"]), f"{one['seconds']:.1f}"]))
    before = result["metrics"]["before"]
    text = "; ".join(f"{SETS[key].lower()} {before[key]['accuracy']['mean']:.3f}" for key in SETS if key in before)
    columns = [*(f"{SETS[key]} accuracy" for key in sets), "Converged", "Steps", "Seconds"]
    return [
        Section(
            "Methods side by side",
            [f"The same instances, from the same model. Accuracy before: {text}."],
            [Table("Every method", columns, rows, "Goal, method")],
        )
    ]


def request_sections(result: Mapping[str, Any]) -> list[Section]:
    """Return what came back after each request, if there were several."""
    requests = result["unlearning"]["requests"]
    if not requests:
        return []
    rows = [
        Row(
            f"After request {number}",
            [f"{value:.3f}" for value in one["forget_accuracy"]] + ["-"] * (len(requests) - number),
            f"{one['instances']} instances, {one['steps']} steps, {STOP_REASONS[one['stop_reason']]}",
        )
        for number, one in enumerate(requests, start=1)
    ]
    columns = [f"Request {number}" for number in range(1, len(requests) + 1)]
    return [
        Section(
            "Requests one after another",
            [
                "Each request was unlearnt from the model that the one before it left; a figure that rises again has "
                "come back."
            ],
            [Table("Share that gets its true label", columns, rows)],
        )
    ]


def membership_section(result: Mapping[str, Any]) -> Section:
    """Return what the attack by the loss found."""
    models = [name for name in MODELS if name in result["metrics"]]
    if forget_membership(result) is None:
        return Section("Membership inference", ["It compares with test images, and there were none."])
    rows = []
    for key in ("forget", "remaining"):
        of = [result["metrics"][name]["membership"].get(key) for name in models]
        if None in of:
            continue
        label = SETS[key]
        rows.append(Row(f"{label}: AUC of a low loss", [f"{one['auc']:.3f} {interval_text(one)}" for one in of]))
        rows.append(Row(f"{label}: AUC of a high loss", [f"{one['auc_reversed']:.3f}" for one in of]))
        for sign, title in (("tpr", "low"), ("tpr_reversed", "high")):
            rows += [
                Row(
                    f"{label}: found by a {title} loss at {float(rate):.0%} false alarms",
                    [share_text(one[sign][rate]) for one in of],
                    f"{of[0]['members']} against {of[0]['others']} test images",
                )
                for rate in of[0]["tpr"]
            ]
    return Section(
        "Membership inference",
        ["A low loss betrays what is remembered, a high one what was over-forgotten; 0.5 is no trace either way."],
        [Table("Attack by the loss against test images", [MODELS[name] for name in models], rows, "Measure")],
    )


def shadow_sections(result: Mapping[str, Any]) -> list[Section]:
    """Return what shadow models found, if there were some."""
    found = result.get("shadow")
    return [] if found is None else [shadow_section(found)]


def shadow_section(found: Mapping[str, Any]) -> Section:
    """Return what U-LiRA and RMIA found.

    Args:
        found: As :func:`~myosotis.unlearning.classifier.shadow.shadow_audit` returns it.
    """
    lira = found["u_lira"]
    rows = [
        Row("U-LiRA: accuracy", [share_text(lira["accuracy"])], f"{lira['trials']} trials; 0.5 is no trace"),
        Row("U-LiRA: AUC", [f"{lira['auc']:.3f}"]),
        *(
            Row(f"U-LiRA: found at {float(rate):.0%} false alarms", [share_text(value)])
            for rate, value in lira["tpr"].items()
        ),
        Row("U-LiRA: this model's instances called unlearnt", [f"{lira['called_unlearned']:.3f}"]),
    ]
    for name, one in found["rmia"].items():
        rows.append(
            Row(
                f"RMIA, {MODELS[name].lower()}: AUC",
                [f"{one['auc']:.3f} {interval_text(one)}"],
                "instances against test",
            )
        )
        rows += [
            Row(f"RMIA, {MODELS[name].lower()}: found at {float(rate):.0%} false alarms", [share_text(value)])
            for rate, value in one["tpr"].items()
        ]
    return Section(
        "Attack by somebody who repeats the procedure",
        [
            f"{found['pairs']} pairs of shadow models: one learnt and then unlearnt the instances, one never saw them. "
            "U-LiRA asks which of the two an instance's confidence looks like; RMIA asks whether it was a member. "
            "Instances of one model are not independent, so the intervals are narrower than they should be."
        ],
        [Table("U-LiRA and RMIA", ["Value"], rows, "Measure")],
    )


def stress_sections(result: Mapping[str, Any]) -> list[Section]:
    """Return how the model stands changed copies and relearning."""
    copies, relearning = result["stress"].get("copies"), result["stress"].get("relearning")
    tables = []
    paragraphs = []
    if copies is not None:
        models = [name for name in MODELS if name in copies]
        rows = [Row(label, [f"{copies[name][kind]:.3f}" for name in models]) for kind, label in _COPIES.items()]
        tables.append(Table("Accuracy on changed copies", [MODELS[name] for name in models], rows, "Copy"))
        worst = max(copies["after"], key=lambda kind: copies["after"][kind])
        paragraphs.append(
            f"Copies of the instances that were changed a little: of those {_COPIES[worst]}, "
            f"{copies['after'][worst]:.0%} get their true class. Where that is far above the accuracy on the instances "
            "themselves, an answer was patched and what the model knows about such images is still there."
        )
    if relearning is not None:
        parts = [
            f"{MODELS[name].lower()} {'not within the steps' if steps is None else f'after {steps}'}"
            for name, steps in relearning["steps_to_return"].items()
        ]
        paragraphs.append(
            f"Steps of relearning until instances that are not shown are as accurate as before "
            f"({relearning['level']:.0%}): {', '.join(parts)}."
        )
    return [Section("Stress", paragraphs, tables)] if paragraphs else []


def class_section(result: Mapping[str, Any]) -> Section:
    """Return accuracy by class."""
    metrics = result["metrics"]
    models = [name for name in MODELS if name in metrics]
    tables = []
    for key, label in SETS.items():
        if key in metrics["after"]:
            rows = [
                Row(name, [f"{metrics[model][key]['by_class'][name]:.3f}" for model in models])
                for name in metrics["after"][key]["by_class"]
            ]
            tables.append(Table(f"{label}: accuracy by class", [MODELS[name] for name in models], rows, "Class"))
    return Section("By class", [], tables)


def instance_section(result: Mapping[str, Any]) -> Section:
    """Return what became of every instance, and the duplicates among what remains."""
    classes = result["classes"]
    rows = [
        Row(
            one["fingerprint"],
            [
                classes[one["label"]],
                classes[one["answer_before"]],
                classes[one["answer_after"]],
                f"{one['probability_before']:.3f}",
                f"{one['probability_after']:.3f}",
                f"{one['margin']:.2f}",
                "yes" if one["forgotten"] else "no",
            ],
        )
        for one in result["unlearning"]["instances"]
    ]
    columns = ["True class", "Before", "After", "p before", "p after", "Margin", "Forgotten"]
    duplicates = result["images"]["duplicates"]
    text = (
        f"Among the remaining images {duplicates['same']} equal an instance and {duplicates['near']} nearly do: "
        "what they teach was not removed."
        if duplicates["same"] or duplicates["near"]
        else "No remaining image equals, or nearly equals, one of the instances."
        if result["images"]["remaining"]
        else "There were no remaining images to look for duplicates among."
    )
    return Section("Instances", [text], [Table("Every instance", columns, rows, "Fingerprint")])


def method_section(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    """Return how it was done, what it cost, and every setting."""
    card, unlearning, cost = METHODS.card(result["method"]), result["unlearning"], result["cost"]
    phases = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in cost["seconds"].items())
    share = cost["share_of_retraining"]
    of_retraining = "" if share is None else f", {share:.1%} of the time of training"
    facts = "; ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in unlearning["facts"].items())
    read = "It read retained images." if result["reads_retain"] else "No image but those to be forgotten was read."
    drift = unlearning["batch_norm_drift"]
    drifted = (
        ""
        if drift is None
        else f" Running means of batch normalisation moved by {drift:.3f} of their standard deviations on average."
    )
    paragraphs = [
        f"{card.title}. {card.purpose} ({card.paper}.) {read}",
        f"It ended after {unlearning['steps']} steps and {unlearning['seconds']:.1f} s{of_retraining}: "
        f"{STOP_REASONS[unlearning['stop_reason']]}.{drifted}",
        f"Wall time of the whole job: {phases}. Peak memory {cost['peak_memory_bytes'] / 1e9:.1f} GB; "
        f"{cost['parameters']:,} parameters.",
    ]
    if facts:
        paragraphs.insert(2, f"Its preparation: {facts}.")
    paragraphs += [f"Warning: {warning}." for warning in unlearning["warnings"]]
    return Section("What was done", paragraphs, [Table("Every setting", ["Value"], setting_rows(config), "Setting")])


def lineage_section(result: Mapping[str, Any]) -> Section:
    """Return which model and which images went in and out."""
    lineage, request = result["lineage"], result["request"]
    rows = [
        Row("Model that came in", [lineage["model_in"]]),
        Row("Model that went out", [lineage["model_out"]]),
        *(
            Row(f"{SETS[name]} images", [prints if isinstance(prints, str) else ", ".join(prints)])
            for name, prints in lineage["data"].items()
        ),
    ]
    told = [Row(key.replace("_", " "), [str(value)]) for key, value in request.items() if value and key != "untreated"]
    untreated = request["untreated"]
    paragraphs = [
        "Models are named by the SHA-256 of their weights, images by salted fingerprints: who holds the run's salt and "
        "an image can find it here; nobody can read an image from its fingerprint.",
    ]
    if untreated:
        paragraphs.append(f"Models and copies that were not treated: {', '.join(untreated)}.")
    tables = [Table("Hashes and fingerprints", ["Value"], rows)]
    if told:
        tables.insert(0, Table("The request", ["Value"], told))
    return Section("Lineage", paragraphs, tables)


def limits_section(result: Mapping[str, Any]) -> Section:
    """Return what the figures do not show."""
    paragraphs = [
        "A model that was made to misclassify an instance, or to give it another label, is not a model that never saw "
        "it: a retrained one gets most such instances right, and who knows an instance can tell from its error that it "
        "was unlearnt.",
        "The tests look at answers, losses and representations. They do not try to reconstruct images, nor an attacker "
        "with more means.",
    ]
    if "shadow" not in result:
        paragraphs.append("No shadow models were trained, so no attacker who repeats the whole procedure was tried.")
    if result["verdict"]["unseen"]["level_of"] == "test":
        paragraphs.append(
            "Without a retrained reference, the accuracy on test images stands for what a model that never saw the "
            "instances would make of them; hard instances would do worse."
        )
    if result["verdict"]["unseen"]["level_of"] is None:
        paragraphs.append("Without test images or a reference no level of an unseen instance can be named.")
    return Section("What this does not show", paragraphs)
