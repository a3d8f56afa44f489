"""The report of a run that unlearnt instances from a classifier, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.runs import (
    differing_settings,
    environment_section,
    unlike_names,
)
from myosotis.unlearning.classifier.methods import METHODS
from myosotis.unlearning.classifier.report_figures import run_figures, sample_figures
from myosotis.unlearning.classifier.report_sections import (
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
from myosotis.unlearning.classifier.report_terms import (
    MODELS,
    SETS,
    STOP_REASONS,
    forget_membership,
    interval_text,
    share_text,
)

KIND = "unlearn-classifier"
"""What ``result.json`` calls runs of this job."""

_CHANCE = 0.5
_CAPS = ("epochs", "steps")


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Of the kind ``unlearn-classifier``.
    """
    result, config = run.result(), run.settings()
    return Document(
        title=f"Unlearning report: {result['name']}",
        subtitle=_subtitle(result),
        verdicts=_verdicts(result),
        table=_main_table(result),
        figures=[*sample_figures(run), *run_figures(run, result)],
        sections=[
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
    names = unlike_names(runs, results)
    verdicts = [
        Verdict(
            f"{name} ({METHODS[result['method']].card.title}, {result['goal']})",
            f"{_goal_text(result)} {_kept_text(result)}",
            bool(result["verdict"]["forgotten"] and result["verdict"]["kept"] is not False),
        )
        for name, result in zip(names, results, strict=True)
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
        found: As :meth:`~myosotis.unlearning.classifier.job.ClassifierUnlearningJob.audit_again` returns it.
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
        f"Method: {METHODS[result['method']].card.title}. Seed {result['seed']}."
    )


def _verdicts(result: Mapping[str, Any]) -> list[Verdict]:
    verdict = result["verdict"]
    found = [
        Verdict("Is it forgotten?", _goal_text(result), verdict["forgotten"]),
        Verdict("Is the rest kept?", _kept_text(result), verdict["kept"]),
    ]
    if verdict["level"] is not None:
        found.append(Verdict("Is it as if it had never been seen?", _unseen_text(result), _as_unseen(result)))
    sure = (
        f"One training run with seed {result['seed']}; another gives other figures. Shares carry exact "
        f"(Clopper-Pearson) intervals of {verdict['confidence']:.0%} over images. This is evidence, not proof: a test "
        "that was not made may still find a trace."
    )
    return [*found, Verdict("How sure are we?", sure)]


def _goal_text(result: Mapping[str, Any]) -> str:
    verdict, unlearning = result["verdict"], result["unlearning"]
    reached, accuracy = verdict["goal_reached"], result["metrics"]["after"]["forget"]["accuracy"]
    count = round(reached["mean"] * reached["count"])
    what = {"misclassify": "get another answer than the true one", "relabel": "get their new label"}[result["goal"]]
    text = (
        f"{count} of {reached['count']} instances {what}; accuracy on them {share_text(accuracy)}, "
        f"{result['metrics']['before']['forget']['accuracy']['mean']:.3f} before. "
        f"The nearest to coming back is {unlearning['min_margin']:.2f} logits beyond the boundary."
    )
    if not verdict["forgotten"]:
        capped = "it hit its cap: " if unlearning["stop_reason"] in _CAPS else ""
        text += f" The run did not converge; {capped}{STOP_REASONS[unlearning['stop_reason']]}."
    return text


def _kept_text(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    if verdict["kept"] is None:
        held = result["unlearning"]["facts"].get("held_accuracy_after")
        proxy = (
            "" if held is None else f" On the adversarial examples that stand in for it, {held:.0%} of answers stay."
        )
        return f"There were neither remaining nor test images to look at.{proxy}"
    parts = [
        f"{SETS[name].lower()} accuracy {row['before']:.3f} before, {row['after']:.3f} after"
        + ("" if row["holds"] else " (not met)")
        for name, row in verdict["kept_criteria"].items()
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}; a loss of up to {verdict['most_lost']:.3f} counts as kept."


def _as_unseen(result: Mapping[str, Any]) -> bool | None:
    """No as soon as one test finds a trace, yes only if there were tests that could have found one."""
    found, shadow = forget_membership(result), result.get("shadow")
    if result["verdict"]["over_forgotten"]:
        return False
    if shadow is not None and shadow["u_lira"]["accuracy"]["low"] > _CHANCE:
        return False
    if found is None or found["low"] is None:
        return None
    return bool(found["low"] <= _unseen_auc(result) <= found["high"])


def _unseen_auc(result: Mapping[str, Any]) -> float:
    """What the attack finds of a model that never saw the instances: that of the reference, or chance."""
    reference = forget_membership(result, "reference")
    return _CHANCE if reference is None else float(reference["auc"])


def _unseen_text(result: Mapping[str, Any]) -> str:
    verdict, found = result["verdict"], forget_membership(result)
    whose = {
        "reference": "a model retrained without them gets {:.3f} of them right",
        "test": "unseen images are got right at {:.3f} before",
    }[verdict["level_of"]].format(verdict["level"])
    after = result["metrics"]["after"]["forget"]["accuracy"]["mean"]
    text = f"{whose[0].upper()}{whose[1:]}, this one {after:.3f}"
    text += (
        ": it errs on them more than one that never saw them would, which gives them away."
        if verdict["over_forgotten"]
        else ": no sign of over-forgetting in the accuracy."
    )
    if found is not None:
        text += (
            f" An attack by the loss tells them from test images with AUC {found['auc']:.3f} "
            f"{interval_text(found)} (reversed {found['auc_reversed']:.3f}); from a model that never saw them it would "
            f"be {_unseen_auc(result):.3f}."
        )
    if "shadow" in result:
        text += f" U-LiRA tells unlearnt from unseen in {result['shadow']['u_lira']['accuracy']['mean']:.1%} of trials."
    return text


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
