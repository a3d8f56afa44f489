"""The report of a run that unlearnt instances from a classifier, and of several side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.groups import run_names
from myosotis.report.sections import (
    differing_settings,
    environment_section,
)
from myosotis.unlearning.classifier.job.report_figures import run_figures, sample_figures
from myosotis.unlearning.classifier.job.report_sections import (
    class_section,
    instance_section,
    limits_section,
    lineage_section,
    membership_section,
    method_section,
    request_sections,
    shadow_section,
    shadow_sections,
    stress_sections,
    variant_sections,
)
from myosotis.unlearning.classifier.job.report_terms import MODELS, SETS, STOP_REASONS, share_text
from myosotis.unlearning.classifier.job.report_verdict import criteria_section, verdicts_of
from myosotis.unlearning.classifier.methods import METHODS


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Of the kind ``unlearn-classifier``.
    """
    result, config = run.result(), run.settings()
    return Document(
        title=f"Unlearning report: {result['name']}",
        subtitle=_subtitle(result),
        verdicts=verdicts_of(result),
        table=_main_table(result),
        figures=[*sample_figures(run), *run_figures(run, result)],
        sections=[
            criteria_section(result),
            *variant_sections(result),
            *request_sections(result),
            membership_section(result),
            *shadow_sections(result),
            *stress_sections(result),
            class_section(result),
            instance_section(result),
            method_section(result, config),
            lineage_section(result),
            environment_section(run),
            limits_section(result),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two, all of the kind ``unlearn-classifier``.
    """
    results = [run.result() for run in runs]
    names = run_names(runs, results)
    verdicts = [
        replace(
            verdict,
            question=f"{name} ({METHODS.card(result['method']).title}, {result['goal']}): {verdict.question}",
        )
        for name, result in zip(names, results, strict=True)
        for verdict in verdicts_of(result)
    ]
    rows = [
        Row(
            f"{label}: accuracy",
            [share_text(result["metrics"]["after"].get(key, {}).get("accuracy")) for result in results],
        )
        for key, label in SETS.items()
    ]
    rows += [
        Row("Steps", [str(result["unlearning"]["steps"]) for result in results]),
        Row("Ended because", [STOP_REASONS[result["unlearning"]["stop_reason"]] for result in results]),
        Row("Seconds of unlearning", [f"{result['unlearning']['seconds']:.1f}" for result in results]),
    ]
    return Document(
        title="Unlearning runs side by side",
        subtitle=f"{len(runs)} runs, the model after unlearning in each",
        verdicts=verdicts,
        table=Table("After unlearning", names, rows, "Measure"),
        figures=[],
        sections=[differing_settings(runs, names), limits_section(results[0])],
    )


def describe_audit(run: Run, found: Mapping[str, Any]) -> Document:
    """Return what looking at a run's model anew has shown.

    Args:
        run: Finished.
        found: As :meth:`~myosotis.unlearning.classifier.job.job.ClassifierUnlearningJob.audit_again` returns it.
    """
    result = run.result()
    reported = result["metrics"]["after"]
    rows = [
        Row(
            f"{label}: accuracy", [share_text(reported[key]["accuracy"]), share_text(found["metrics"][key]["accuracy"])]
        )
        for key, label in SETS.items()
        if key in found["metrics"]
    ]
    sections = []
    if "shadow" in found:
        sections.append(shadow_section(found["shadow"]))
        rows += [Row(row.name, ["-", *row.cells], row.note) for table in sections[0].tables for row in table.rows]
    return Document(
        title=f"Audit: {result['name']}",
        subtitle="",
        verdicts=[
            Verdict("Is it the model that was reported?", "By the hash of its weights.", found["model_matches"]),
            Verdict("Are the images those of the run?", "By their fingerprints.", found["data_matches"]),
            Verdict("Do its figures come out again?", "Every accuracy, to the last digit.", found["reproduced"]),
        ],
        table=Table("Reported and measured anew", ["Reported", "Anew"], rows, "Measure"),
        sections=sections,
    )


def _subtitle(result: Mapping[str, Any]) -> str:
    images = result["images"]
    asked = {"misclassify": "any other answer than the true one", "relabel": "a new label"}[result["goal"]]
    return (
        f"{images['forget']} instances to forget of {len(result['classes'])} classes; {images['remaining']} other "
        f"training images and {images['test']} test images to look at. Goal: {asked}. "
        f"Method: {METHODS.card(result['method']).title}. Seed {result['seed']}."
    )


def _main_table(result: Mapping[str, Any]) -> Table:
    metrics = result["metrics"]
    models = [name for name in MODELS if name in metrics]
    rows = []
    for key, label in SETS.items():
        if key not in metrics["after"]:
            continue
        of = [metrics[name][key] for name in models]
        note = f"of {result['images']['audited'][key]} images"
        rows.append(Row(f"{label}: accuracy", [share_text(one["accuracy"]) for one in of], note))
        rows.append(Row(f"{label}: loss", [f"{one['loss']:.3f}" for one in of], "mean cross-entropy, nats"))
        rows.append(
            Row(
                f"{label}: calibration error",
                [f"{one['calibration_error']:.3f}" for one in of],
                "gap between certainty and accuracy",
            )
        )
        if key != "forget":
            worst = [f"{one['worst_class']['accuracy']:.3f} ({one['worst_class']['name']})" for one in of]
            rows.append(Row(f"{label}: worst class", worst))
    about = "; the reference never saw the forgotten instances" if "reference" in models else ""
    return Table(
        f"Share with {result['verdict']['confidence']:.0%} interval{about}",
        [MODELS[name] for name in models],
        rows,
        "Measure",
    )
