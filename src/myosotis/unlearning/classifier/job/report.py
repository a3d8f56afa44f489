"""The report of a classifier unlearning run, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.comparison import side_by_side
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.groups import number_text, run_names
from myosotis.report.person import person_page
from myosotis.report.sections import (
    count_text,
    environment_section,
    run_facts,
    without_folders,
)
from myosotis.unlearning.classifier.job.report_figures import run_figures, sample_figures
from myosotis.unlearning.classifier.job.report_sections import (
    class_section,
    done_section,
    instance_section,
    limits,
    membership_section,
    request_and_lineage,
    request_sections,
    shadow_section,
    shadow_sections,
    stress_sections,
    variant_sections,
)
from myosotis.unlearning.classifier.job.report_terms import MODELS, SETS, STOP_REASONS, accuracy_text
from myosotis.unlearning.classifier.job.report_verdict import (
    criteria_figures,
    criteria_tables,
    headline_of,
    next_steps,
    verdicts_of,
)
from myosotis.unlearning.classifier.job.result import ClassifierResult, ModelFigures, Shadow
from myosotis.unlearning.classifier.methods import METHODS

_MODELS = ("path", "architecture", "learner")


def describe(run: Run, model: type[ClassifierResult] = ClassifierResult) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``unlearn-classifier``.
        model: Model of its result.
    """
    result, config = run.result_as(model), run.settings()
    return Document(
        title=f"Unlearning report: {result.name}",
        subtitle=_subtitle(result),
        headline=headline_of(result),
        facts=run_facts(
            run,
            METHODS.card(result.method).title,
            model=without_folders(next(config["model"][key] for key in _MODELS if config["model"].get(key))),
            hashes=[result.lineage.model_in, result.lineage.model_out],
        ),
        verdicts=verdicts_of(result),
        next_steps=next_steps(result, config),
        limits=limits(result),
        overview=criteria_tables(result),
        table=_main_table(result),
        figures=[*criteria_figures(result), *sample_figures(run), *run_figures(run, result)],
        sections=[
            *variant_sections(result),
            *request_sections(result),
            membership_section(result),
            *shadow_sections(result),
            *stress_sections(result),
            class_section(result),
            instance_section(result),
            done_section(result, config),
            request_and_lineage(result),
            environment_section(run),
        ],
    )


def for_person(run: Run, model: type[ClassifierResult] = ClassifierResult) -> str:
    """Return half a page about a finished run in plain words.

    Args:
        run: A run of the kind ``unlearn-classifier``.
        model: Model of its result.
    """
    result = run.result_as(model)
    verdict = result.verdict
    return person_page(
        result,
        verdict,
        noun="picture",
        count=result.images.forget,
        noticeable=verdict.as_unseen is not True,
        by_guessing=verdict.control.against_of == "chance",
    )


def compare(runs: Sequence[Run], model: type[ClassifierResult] = ClassifierResult) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs, all of the kind ``unlearn-classifier``.
        model: Model of their results.
    """
    results = [run.result_as(model) for run in runs]
    names = run_names(runs)
    verdicts = [verdicts_of(result) for result in results]
    methods = [METHODS.card(result.method).title for result in results]
    rows = [
        Row(
            f"{label}: accuracy",
            [accuracy_text(result.metrics["after"].of(key)) for result in results],
        )
        for key, label in SETS.items()
    ]
    rows += [
        Row("Steps", [str(result.unlearning.steps) for result in results]),
        Row("Stop reason", [STOP_REASONS[result.unlearning.stop_reason] for result in results]),
        Row("Goal", [result.goal for result in results]),
        Row("Seconds of unlearning", [f"{result.unlearning.seconds:.1f}" for result in results]),
    ]
    return side_by_side(
        runs,
        methods,
        verdicts,
        title="Unlearning runs side by side",
        subtitle=f"{len(runs)} runs, the model after unlearning in each",
        limits=list(dict.fromkeys(limit for result in results for limit in limits(result))),
        table=Table("After unlearning", names, rows, "Measure"),
    )


def describe_audit(run: Run, results: Mapping[str, Any], model: type[ClassifierResult] = ClassifierResult) -> Document:
    """Return the report of a second audit of a run's model.

    Args:
        run: A finished run.
        results: Return value of
            :meth:`~myosotis.unlearning.classifier.job.job.ClassifierUnlearningJob.audit_again`.
        model: Model of its result.
    """
    result = run.result_as(model)
    reported, again = result.metrics["after"], ModelFigures.model_validate(results["metrics"])
    rows = [
        Row(f"{label}: accuracy", [accuracy_text(reported.of(key)), accuracy_text(again.of(key))])
        for key, label in SETS.items()
        if again.of(key) is not None
    ]
    sections = []
    if "shadow" in results:
        sections.append(shadow_section(Shadow.model_validate(results["shadow"])))
        rows += [Row(row.name, ["-", *row.cells], row.note) for table in sections[0].tables for row in table.rows]
    return Document(
        title=f"Audit: {result.name}",
        subtitle="",
        verdicts=[
            Verdict("Is it the model that was reported?", "By the hash of its weights.", results["model_matches"]),
            Verdict("Are the images those of the run?", "By their fingerprints.", results["data_matches"]),
            Verdict("Are its figures reproduced?", "Every accuracy, to the last digit.", results["reproduced"]),
        ],
        table=Table("Reported and measured again", ["Reported", "Again"], rows, "Measure"),
        sections=sections,
    )


def _subtitle(result: ClassifierResult) -> str:
    images = result.images
    goal = {
        "misclassify": "any other answer than the true one",
        "relabel": "a new label",
        "as_unseen": "the answer of a model that never saw it",
    }[result.goal]
    return (
        f"{count_text(images.forget, 'instance')} to forget of {len(result.classes)} classes; "
        f"{images.remaining} other training images and {images.test} test images. Goal: {goal}. "
        f"Method: {METHODS.card(result.method).title}. Seed {result.seed}."
    )


def _main_table(result: ClassifierResult) -> Table:
    metrics = result.metrics
    models = [name for name in MODELS if name in metrics]
    rows = []
    for key, label in SETS.items():
        measured = [figures for name in models if (figures := metrics[name].of(key)) is not None]
        if not measured:
            continue
        note = f"of {result.images.audited[key]} images"
        rows.append(Row(f"{label}: accuracy", [accuracy_text(values) for values in measured], note))
        rows.append(
            Row(f"{label}: loss", [number_text(values.loss) for values in measured], "mean cross-entropy, nats")
        )
        rows.append(
            Row(
                f"{label}: calibration error",
                [number_text(values.calibration_error) for values in measured],
                "gap between confidence and accuracy",
            )
        )
        if key != "forget":
            worst = [f"{values.worst_class.accuracy:.3f} ({values.worst_class.name})" for values in measured]
            rows.append(Row(f"{label}: worst class", worst))
    about = "; the reference never saw the forgotten instances" if "reference" in models else ""
    return Table(
        f"Share with {result.verdict.confidence:.0%} interval{about}",
        [MODELS[name] for name in models],
        rows,
        "Measure",
    )
