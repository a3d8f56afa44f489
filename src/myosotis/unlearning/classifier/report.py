"""The report of a run that unlearnt instances from a classifier, and of several side by side."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.run import Run
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, image_sheet, line_chart
from myosotis.report.runs import (
    differing_settings,
    environment_section,
    read_settings,
    setting_rows,
    unlike_names,
)
from myosotis.unlearning.classifier.methods import METHODS

KIND = "unlearn-classifier"
"""What ``result.json`` calls runs of this job."""

_SETS = {"forget": "Forget", "remaining": "Remaining", "test": "Test"}
_COLOURS = {"forget": "forget", "remaining": "retain", "test": "unseen"}
_MODELS = {"before": "Before", "after": "After", "reference": "Reference"}
_MODEL_COLOURS = {"before": "neutral", "after": "forget", "reference": "unseen"}
_STOP_REASONS = {
    "goal": "the goal was reached",
    "reference": "accuracy and loss on the forget set reached those of the reference",
    "already": "nothing had to be done: the goal was reached from the start",
    "epochs": "its epochs were done",
    "steps": "its steps were done",
    "edited": "it changes the weights once and does not train",
    "came_back": "an instance of an earlier request came back",
    "diverged": "a loss was not finite; the model that came in is returned",
}
_CHANCE = 0.5
_CAPS = ("epochs", "steps")
_COPIES = {
    "shifted": "shifted by a pixel",
    "mirrored": "mirrored",
    "noisy": "with noise",
    "lighting": "a tenth brighter or darker",
}


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Of the kind ``unlearn-classifier``.
    """
    result, config = run.result(), read_settings(run)
    return Document(
        title=f"Unlearning report: {result['name']}",
        subtitle=_subtitle(result),
        verdicts=_verdicts(result),
        table=_main_table(result),
        figures=[*_sample_figures(run), *_figures(run, result)],
        sections=[
            *_variant_sections(result),
            *_request_sections(result),
            _membership_section(result),
            *_shadow_sections(result),
            *_stress_sections(result),
            _class_section(result),
            _instance_section(result),
            _method_section(result, config),
            _lineage_section(result),
            environment_section(run),
            _limits_section(result),
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
            [_share(result["metrics"]["after"].get(key, {}).get("accuracy")) for result in results],
        )
        for key, label in _SETS.items()
    ]
    rows += [
        Row("Steps", [str(result["unlearning"]["steps"]) for result in results]),
        Row("Ended because", [_STOP_REASONS[result["unlearning"]["stop_reason"]] for result in results]),
        Row("Seconds of unlearning", [f"{result['unlearning']['seconds']:.1f}" for result in results]),
    ]
    return Document(
        title="Unlearning runs side by side",
        subtitle=f"{len(runs)} runs, the model after unlearning in each",
        verdicts=verdicts,
        table=Table("After unlearning", names, rows, "Measure"),
        figures=[],
        sections=[differing_settings(runs, names), _limits_section(results[0])],
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
        Row(f"{label}: accuracy", [_share(reported[key]["accuracy"]), _share(found["metrics"][key]["accuracy"])])
        for key, label in _SETS.items()
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
        f"{count} of {reached['count']} instances {what}; accuracy on them {_share(accuracy)}, "
        f"{result['metrics']['before']['forget']['accuracy']['mean']:.3f} before. "
        f"The nearest to coming back is {unlearning['min_margin']:.2f} logits beyond the boundary."
    )
    if not verdict["forgotten"]:
        capped = "it hit its cap: " if unlearning["stop_reason"] in _CAPS else ""
        text += f" The run did not converge; {capped}{_STOP_REASONS[unlearning['stop_reason']]}."
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
        f"{_SETS[name].lower()} accuracy {row['before']:.3f} before, {row['after']:.3f} after"
        + ("" if row["holds"] else " (not met)")
        for name, row in verdict["kept_criteria"].items()
    ]
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}; a loss of up to {verdict['most_lost']:.3f} counts as kept."


def _membership(result: Mapping[str, Any], model: str = "after") -> Mapping[str, Any] | None:
    found: Mapping[str, Any] | None = result["metrics"].get(model, {}).get("membership", {}).get("forget")
    return found


def _as_unseen(result: Mapping[str, Any]) -> bool | None:
    """No as soon as one test finds a trace, yes only if there were tests that could have found one."""
    found, shadow = _membership(result), result.get("shadow")
    if result["verdict"]["over_forgotten"]:
        return False
    if shadow is not None and shadow["u_lira"]["accuracy"]["low"] > _CHANCE:
        return False
    if found is None or found["low"] is None:
        return None
    return bool(found["low"] <= _unseen_auc(result) <= found["high"])


def _unseen_auc(result: Mapping[str, Any]) -> float:
    """What the attack finds of a model that never saw the instances: that of the reference, or chance."""
    reference = _membership(result, "reference")
    return _CHANCE if reference is None else float(reference["auc"])


def _unseen_text(result: Mapping[str, Any]) -> str:
    verdict, found = result["verdict"], _membership(result)
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
            f"{_interval(found)} (reversed {found['auc_reversed']:.3f}); from a model that never saw them it would be "
            f"{_unseen_auc(result):.3f}."
        )
    if "shadow" in result:
        text += f" U-LiRA tells unlearnt from unseen in {result['shadow']['u_lira']['accuracy']['mean']:.1%} of trials."
    return text


def _share(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "-"
    return f"{value['mean']:.3f} {_interval(value)}"


def _interval(value: Mapping[str, Any]) -> str:
    return "" if value["low"] is None else f"[{value['low']:.3f}, {value['high']:.3f}]"


def _main_table(result: Mapping[str, Any]) -> Table:
    metrics = result["metrics"]
    models = [name for name in _MODELS if name in metrics]
    rows = []
    for key, label in _SETS.items():
        if key not in metrics["after"]:
            continue
        of = [metrics[name][key] for name in models]
        note = f"of {result['images']['audited'][key]} images"
        rows.append(Row(f"{label}: accuracy", [_share(one["accuracy"]) for one in of], note))
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
        [_MODELS[name] for name in models],
        rows,
        "Measure",
    )


def _curve(events: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    points = [(place, event[key]) for place, event in enumerate(events, start=1) if event.get(key) is not None]
    return [float(x) for x, _ in points], [y for _, y in points]


def _figures(run: Run, result: Mapping[str, Any]) -> list[Figure]:
    events = [event for event in run.events() if event.get("phase") == "unlearn"]
    figures = []
    if any("forget_accuracy" in event for event in events):
        x, y = _curve(events, "forget_accuracy")
        levels = {}
        if result["verdict"]["level"] is not None:
            whose = {"reference": "the reference", "test": "test images, before"}[result["verdict"]["level_of"]]
            levels = {whose: (result["verdict"]["level"], "unseen")}
        start = result["metrics"]["before"]["forget"]["accuracy"]["mean"]
        again = " It rises where the next request begins." if result["unlearning"]["requests"] else ""
        figures.append(
            Figure(
                line_chart(
                    [Line("forget set", [0, *x], [start, *y], "forget")],
                    x_label="optimisation step",
                    y_label="accuracy",
                    levels=levels,
                    name="forget-accuracy",
                ),
                "Accuracy on the forget set while it is unlearnt. Below the line the model errs more on the instances "
                f"than on images that it never saw.{again}",
            )
        )
    terms = [
        key
        for key in dict.fromkeys(name for event in events for name in event)
        if key not in ("phase", "request", "step", "forget_accuracy", "forget_loss")
    ]
    if events and terms:
        colours = ("forget", "retain", "general", "neutral")
        lines = [
            Line(term, *_curve(events, term), colours[place % len(colours)])
            for place, term in enumerate(terms)
            if _curve(events, term)[0]
        ]
        figures.append(
            Figure(
                line_chart(lines, x_label="optimisation step", y_label="loss term", name="terms"),
                "The terms of the loss: the forget term should fall, what holds the rest should stay low.",
            )
        )
    relearning = result["stress"].get("relearning")
    if relearning is not None:
        lines = [
            Line(
                _MODELS[name].lower(),
                [point["step"] for point in curve],
                [point["held"] for point in curve],
                _MODEL_COLOURS[name],
            )
            for name, curve in relearning["curves"].items()
        ]
        figures.append(
            Figure(
                line_chart(lines, x_label="relearning step", y_label="accuracy, not shown", name="relearning"),
                "Trained on the true labels of some forgotten instances: how soon the others, which are not shown, "
                "come back. A curve that jumps up was hiding what it knew.",
            )
        )
    similarity = result.get("cka")
    if similarity is not None:
        layers = list(range(1, len(similarity["layers"]) + 1))
        lines = [
            Line(
                _SETS[name].lower(),
                [place for place, layer in zip(layers, similarity["layers"], strict=True) if values[layer] is not None],
                [values[layer] for layer in similarity["layers"] if values[layer] is not None],
                _COLOURS[name],
            )
            for name, values in similarity["similarity"].items()
        ]
        few = min(result["images"]["forget"], similarity["images"])
        caution = "" if few >= similarity["images"] else f" With {few} images the forget curve is too high."
        figures.append(
            Figure(
                line_chart(lines, x_label="layer, first to last", y_label="linear CKA", name="cka"),
                "Similarity of the representations before and after, layer by layer; 1 is unchanged. Where a curve "
                f"falls, there the model was changed.{caution}",
            )
        )
    return figures


def _sample_figures(run: Run) -> list[Figure]:
    path = run.path / "samples.json"
    if not path.is_file():
        return []
    rows = json.loads(path.read_text(encoding="utf-8"))
    sheet = image_sheet(
        [row["png"] for row in rows], [f"{row['label']}: {row['before']} → {row['after']}" for row in rows]
    )
    return [
        Figure(
            sheet,
            "The forgotten instances, shown because --show-samples was given: true class, answer before and after.",
        )
    ]


def _variant_sections(result: Mapping[str, Any]) -> list[Section]:
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
    for one in (own, *result["variants"]):
        cells = [f"{one['metrics'][key]['accuracy']['mean']:.3f}" if key in one["metrics"] else "-" for key in _SETS]
        converged = "yes" if one["converged"] else "no"
        rows.append(Row(one["name"], [*cells, converged, str(one["steps"]), f"{one['seconds']:.1f}"]))
    before = result["metrics"]["before"]
    text = "; ".join(f"{_SETS[key].lower()} {before[key]['accuracy']['mean']:.3f}" for key in _SETS if key in before)
    columns = [*(f"{label} accuracy" for label in _SETS.values()), "Converged", "Steps", "Seconds"]
    return [
        Section(
            "Methods side by side",
            [f"The same instances, from the same model. Accuracy before: {text}."],
            [Table("Every method", columns, rows, "Goal, method")],
        )
    ]


def _request_sections(result: Mapping[str, Any]) -> list[Section]:
    requests = result["unlearning"]["requests"]
    if not requests:
        return []
    rows = [
        Row(
            f"After request {number}",
            [f"{value:.3f}" for value in one["forget_accuracy"]] + ["-"] * (len(requests) - number),
            f"{one['instances']} instances, {one['steps']} steps, {_STOP_REASONS[one['stop_reason']]}",
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


def _membership_section(result: Mapping[str, Any]) -> Section:
    models = [name for name in _MODELS if name in result["metrics"]]
    if _membership(result) is None:
        return Section("Membership inference", ["It compares with test images, and there were none."])
    rows = []
    for key in ("forget", "remaining"):
        of = [result["metrics"][name]["membership"].get(key) for name in models]
        if None in of:
            continue
        label = _SETS[key]
        rows.append(Row(f"{label}: AUC of a low loss", [f"{one['auc']:.3f} {_interval(one)}" for one in of]))
        rows.append(Row(f"{label}: AUC of a high loss", [f"{one['auc_reversed']:.3f}" for one in of]))
        for sign, title in (("tpr", "low"), ("tpr_reversed", "high")):
            rows += [
                Row(
                    f"{label}: found by a {title} loss at {float(rate):.0%} false alarms",
                    [_share(one[sign][rate]) for one in of],
                    f"{of[0]['members']} against {of[0]['others']} test images",
                )
                for rate in of[0]["tpr"]
            ]
    return Section(
        "Membership inference",
        ["A low loss betrays what is remembered, a high one what was over-forgotten; 0.5 is no trace either way."],
        [Table("Attack by the loss against test images", [_MODELS[name] for name in models], rows, "Measure")],
    )


def _shadow_sections(result: Mapping[str, Any]) -> list[Section]:
    found = result.get("shadow")
    return [] if found is None else [shadow_section(found)]


def shadow_section(found: Mapping[str, Any]) -> Section:
    """Return what U-LiRA and RMIA found.

    Args:
        found: As :func:`~myosotis.unlearning.classifier.shadow.shadow_audit` returns it.
    """
    lira = found["u_lira"]
    rows = [
        Row("U-LiRA: accuracy", [_share(lira["accuracy"])], f"{lira['trials']} trials; 0.5 is no trace"),
        Row("U-LiRA: AUC", [f"{lira['auc']:.3f}"]),
        *(
            Row(f"U-LiRA: found at {float(rate):.0%} false alarms", [_share(value)])
            for rate, value in lira["tpr"].items()
        ),
        Row("U-LiRA: this model's instances called unlearnt", [f"{lira['called_unlearned']:.3f}"]),
    ]
    for name, one in found["rmia"].items():
        rows.append(
            Row(f"RMIA, {_MODELS[name].lower()}: AUC", [f"{one['auc']:.3f} {_interval(one)}"], "instances against test")
        )
        rows += [
            Row(f"RMIA, {_MODELS[name].lower()}: found at {float(rate):.0%} false alarms", [_share(value)])
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


def _stress_sections(result: Mapping[str, Any]) -> list[Section]:
    copies, relearning = result["stress"].get("copies"), result["stress"].get("relearning")
    tables = []
    paragraphs = []
    if copies is not None:
        models = [name for name in _MODELS if name in copies]
        rows = [Row(label, [f"{copies[name][kind]:.3f}" for name in models]) for kind, label in _COPIES.items()]
        tables.append(Table("Accuracy on changed copies", [_MODELS[name] for name in models], rows, "Copy"))
        worst = max(copies["after"], key=lambda kind: copies["after"][kind])
        paragraphs.append(
            f"Copies of the instances that were changed a little: of those {_COPIES[worst]}, "
            f"{copies['after'][worst]:.0%} get their true class. Where that is far above the accuracy on the instances "
            "themselves, an answer was patched and what the model knows about such images is still there."
        )
    if relearning is not None:
        parts = [
            f"{_MODELS[name].lower()} {'not within the steps' if steps is None else f'after {steps}'}"
            for name, steps in relearning["steps_to_return"].items()
        ]
        paragraphs.append(
            f"Steps of relearning until instances that are not shown are as accurate as before "
            f"({relearning['level']:.0%}): {', '.join(parts)}."
        )
    return [Section("Stress", paragraphs, tables)] if paragraphs else []


def _class_section(result: Mapping[str, Any]) -> Section:
    metrics = result["metrics"]
    models = [name for name in _MODELS if name in metrics]
    tables = []
    for key, label in _SETS.items():
        if key in metrics["after"]:
            rows = [
                Row(name, [f"{metrics[model][key]['by_class'][name]:.3f}" for model in models])
                for name in metrics["after"][key]["by_class"]
            ]
            tables.append(Table(f"{label}: accuracy by class", [_MODELS[name] for name in models], rows, "Class"))
    return Section("By class", [], tables)


def _instance_section(result: Mapping[str, Any]) -> Section:
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


def _method_section(result: Mapping[str, Any], config: Mapping[str, Any]) -> Section:
    card, unlearning, cost = METHODS[result["method"]].card, result["unlearning"], result["cost"]
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
        f"{_STOP_REASONS[unlearning['stop_reason']]}.{drifted}",
        f"Wall time of the whole job: {phases}. Peak memory {cost['peak_memory_bytes'] / 1e9:.1f} GB; "
        f"{cost['parameters']:,} parameters.",
    ]
    if facts:
        paragraphs.insert(2, f"Its preparation: {facts}.")
    paragraphs += [f"Warning: {warning}." for warning in unlearning["warnings"]]
    return Section("What was done", paragraphs, [Table("Every setting", ["Value"], setting_rows(config), "Setting")])


def _lineage_section(result: Mapping[str, Any]) -> Section:
    lineage, request = result["lineage"], result["request"]
    rows = [
        Row("Model that came in", [lineage["model_in"]]),
        Row("Model that went out", [lineage["model_out"]]),
        *(
            Row(f"{_SETS[name]} images", [prints if isinstance(prints, str) else ", ".join(prints)])
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


def _limits_section(result: Mapping[str, Any]) -> Section:
    paragraphs = [
        "A model that was made to misclassify an instance, or to give it another label, is not a model that never saw "
        "it: a retrained one gets most such instances right, and who knows an instance can tell from its error that it "
        "was unlearnt.",
        "The tests look at answers, losses and representations. They do not try to reconstruct images, nor an attacker "
        "with more means.",
    ]
    if "shadow" not in result:
        paragraphs.append("No shadow models were trained, so no attacker who repeats the whole procedure was tried.")
    if result["verdict"]["level_of"] == "test":
        paragraphs.append(
            "Without a retrained reference, the accuracy on test images stands for what a model that never saw the "
            "instances would make of them; hard instances would do worse."
        )
    if result["verdict"]["level_of"] is None:
        paragraphs.append("Without test images or a reference no level of an unseen instance can be named.")
    return Section("What this does not show", paragraphs)
