"""The verdict of a classifier's unlearning run in words, and the table that it rests on."""

from collections.abc import Mapping
from typing import Any

from myosotis.evaluation.verdict import FEWEST_UNITS
from myosotis.report.criteria import criteria_table
from myosotis.report.document import Table, Verdict
from myosotis.report.groups import interval_text
from myosotis.unlearning.classifier.job.report_terms import (
    SETS,
    STOP_REASONS,
    auc_text,
    forget_membership,
    share_text,
)

_CAPS = ("epochs", "steps")
_NAMES = {
    "forget_accuracy": "accuracy on the instances",
    **{name: f"{label.lower()} accuracy" for name, label in SETS.items()},
}


def verdicts_of(result: Mapping[str, Any]) -> list[Verdict]:
    """Return the questions of a run and their answers.

    Args:
        result: Content of the ``result.json`` of a run of the kind ``unlearn-classifier``.
    """
    verdict = result["verdict"]
    verdicts = [
        Verdict("Did the model know it?", _known_text(verdict), verdict["known"], verdict["known"] is None),
        Verdict("Is it forgotten?", _forgotten_text(result), verdict["forgotten"], verdict["forgotten"] is None),
        Verdict("Is the rest kept?", _kept_text(result), verdict["kept"], verdict["kept"] is None),
    ]
    if verdict["unseen"]["level"] is not None:
        unseen = verdict["as_unseen"]
        verdicts.append(Verdict("Is it as if it had never been seen?", _unseen_text(result), unseen, unseen is None))
    return [*verdicts, Verdict("How sure are we?", _sure_text(result), verdict["sure"], verdict["sure"] is None)]


def criteria_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the table of the comparisons that the verdict rests on, if there are any.

    Args:
        result: Content of the ``result.json`` of a run of the kind ``unlearn-classifier``.
    """
    verdict = result["verdict"]
    criteria = [*verdict["forgetting_criteria"], *verdict["kept_criteria"]]
    return [criteria_table(criteria, _NAMES, verdict["confidence"], "image")] if criteria else []


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _known_text(verdict: Mapping[str, Any]) -> str:
    control = verdict["control"]
    text = f"Before unlearning it gets {control['accuracy']:.3f} of the {control['units']} instances right; "
    text += {
        "test": f"of test images {control['level']:.3f}. Test of a lower loss on the instances than on test images",
        "reference": f"the reference gets {control['level']:.3f}. Test of a lower loss on them than the reference's",
        "chance": f"chance would get {control['level']:.3f}. Test of more right answers than by chance",
    }[control["against"]]
    text += f": p = {control['p_value']:.2g} (one-sided)."
    if control["at_chance"]:
        where = "test images" if control["chance_of"] == "test" else "the instances"
        return (
            f"Its answers on {where} are no better than chance ({control['chance_accuracy']:.3f} right, "
            f"{control['chance']:.3f} by chance): these are not the model's classes or not in its order, or the model "
            "has learnt nothing. Nothing is called forgotten or kept."
        )
    if verdict["known"]:
        if control["against"] == "chance":
            text += (
                " Without test images or a reference this shows that it knows the classes, not that it knows these "
                "very images."
            )
        return text
    if control["smallest_p_value"] > 1 - verdict["confidence"]:
        return f"{text} With so few images no outcome could show it. Nothing is called forgotten."
    return (
        f"{text} It is not shown that the model remembers these images more than images it never saw: there is "
        "nothing to forget, or they were not in its training set. Nothing is called forgotten."
    )


def _forgotten_text(result: Mapping[str, Any]) -> str:
    verdict, unlearning = result["verdict"], result["unlearning"]
    reasons = {
        "all_wrong_before": "Not answered: every instance had a wrong answer before. ",
        "at_chance": "Not answered: the model's answers are no better than chance. ",
        "not_known": "Not answered, because it is not shown that the model knew them. ",
        "no_reference": (
            "Not answered: the method does not aim at wrong answers, so only a reference that never saw the instances "
            "could tell ('reference: retrain'). "
        ),
    }
    text = reasons.get(verdict["reasons"].get("forgotten", ""), "")
    before, after = (result["metrics"][name]["forget"]["accuracy"] for name in ("before", "after"))
    reached = verdict["goal_reached"]
    if reached is not None:
        what = {"misclassify": "get another answer than the true one", "relabel": "get their new label"}[result["goal"]]
        count = round(reached["mean"] * reached["count"])
        text += f"{count} of the {reached['count']} instances that were right before {what}. "
    if verdict["wrong_before"]:
        text += f"{verdict['wrong_before']} were wrong before and do not count. "
    text += f"Accuracy on all of them {share_text(after)}, {before['mean']:.3f} before."
    for row in verdict["forgetting_criteria"]:
        text += (
            f" The reference gets {interval_text(row['threshold'], row['threshold_low'], row['threshold_high'])} right."
        )
    if verdict["by_goal"] and unlearning["converged"]:
        text += f" The least certain of these answers leads by {unlearning['min_margin']:.2f} logits."
    if verdict["by_goal"] and not unlearning["converged"]:
        capped = "it hit its cap: " if unlearning["stop_reason"] in _CAPS else ""
        text += f" The run did not converge; {capped}{STOP_REASONS[unlearning['stop_reason']]}."
    return text


def _kept_text(result: Mapping[str, Any]) -> str:
    verdict, metrics = result["verdict"], result["metrics"]
    if not verdict["kept_criteria"]:
        held = result["unlearning"]["facts"].get("held_accuracy_after")
        proxy = (
            ""
            if held is None
            else f" On the adversarial examples that stand in for the rest, {held:.0%} of answers stay the same."
        )
        return f"There were no images that the unlearning did not train on.{proxy}"
    parts = [
        f"{_NAMES[row['name']]} {metrics['before'][row['name']]['accuracy']['mean']:.3f} before, "
        f"{interval_text(row['value'], row['low'], row['high'])} after" + ("" if row["holds"] else " (not met)")
        for row in verdict["kept_criteria"]
    ]
    text = f"{_sentence('; '.join(parts))}; a loss of up to {verdict['most_lost']:.3f} counts as kept."
    if verdict["reasons"].get("kept") == "at_chance":
        text = f"Not answered: the model's answers are no better than chance. {text}"
    judged = {row["name"] for row in verdict["kept_criteria"]}
    if "remaining" in metrics["after"] and "remaining" not in judged:
        before, after = (metrics[name]["remaining"]["accuracy"]["mean"] for name in ("before", "after"))
        text += f" Remaining images that it trained on (in sample, not judged): {before:.3f} before, {after:.3f} after."
    return text


def _unseen_text(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    unseen, attack = verdict["unseen"], forget_membership(result)
    level = {
        "reference": "the reference, which never saw them, gets {:.3f} of them right",
        "test": "of test images, {:.3f} were right before",
    }[unseen["level_of"]].format(unseen["level"])
    after = result["metrics"]["after"]["forget"]["accuracy"]["mean"]
    text = f"{_sentence(level)}; this model gets {after:.3f} of the instances right"
    text += (
        f" (difference {unseen['difference_low']:.3f} to {unseen['difference_high']:.3f})."
        if unseen["difference_low"] is not None
        else "."
    )
    if verdict["over_forgotten"]:
        text += " Over-forgotten: it errs on them more than a model that never saw them would."
    if attack is not None:
        text += (
            f" An attack by the loss tells them from test images with AUC {auc_text(attack)} "
            f"(p = {attack['p_value']:.2g}; {attack['auc_reversed']:.3f} if a high loss is looked for); for a model "
            f"that never saw them it would be {unseen['auc_unseen']:.3f}."
        )
    if "shadow" in result:
        accuracy = result["shadow"]["u_lira"]["accuracy"]["mean"]
        text += f" U-LiRA distinguishes unlearned from unseen instances in {accuracy:.1%} of trials."
    if verdict["as_unseen"] is False:
        text += (
            " The model answers on these images differently than on images that it never saw: somebody who has one of "
            "them can notice that it was in the training set or was deleted."
        )
    if verdict["as_unseen"] is None:
        text += (
            f" Neither is shown: a yes needs both intervals within {verdict['margin']:g} of what a model that never "
            "saw them would give."
        )
    return text


def _sure_text(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    criteria = [*verdict["forgetting_criteria"], *verdict["kept_criteria"]]
    undecided = [row for row in criteria if not row["decided"]]
    parts = []
    count = result["images"]["forget"] - verdict["wrong_before"]
    if count < FEWEST_UNITS:
        parts.append(f"With {count} instances that the model got right, fewer than {FEWEST_UNITS}, nothing is decided.")
    crossing = [row for row in undecided if row["units"] >= FEWEST_UNITS]
    if crossing:
        names = ", ".join(_NAMES[row["name"]] for row in crossing)
        parts.append(
            f"Inconclusive: the interval crosses the threshold ({names}), so the answer rests on the mean alone."
        )
    if criteria and not undecided:
        parts.append("Every comparison is decided by its interval.")
    parts.append(
        f"One training run with seed {result['seed']}; another gives other figures. Intervals are at "
        f"{verdict['confidence']:.0%} over images, which are taken as independent. "
        + _stopping_text(result)
        + "This is evidence, not proof: a test that was not made may still find a trace."
    )
    return " ".join(parts)


def _stopping_text(result: Mapping[str, Any]) -> str:
    chosen = result["unlearning"]["stop_reason"] in ("goal", "reference")
    return "Unlearning stopped when these very instances looked forgotten. " if chosen else ""
