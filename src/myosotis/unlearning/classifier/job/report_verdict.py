"""The verdict of a classifier's unlearning run in words: a headline, the questions, and the table that they rest on."""

from collections.abc import Mapping, Sequence

from myosotis.evaluation.comparison import MIN_UNITS, Comparison
from myosotis.report.criteria import comparison_text, criteria_figure, criteria_table
from myosotis.report.document import Figure, Step, Table, Verdict
from myosotis.report.groups import interval_text
from myosotis.report.sections import count_text, value_at
from myosotis.unlearning.classifier.job.report_terms import SETS, STOP_REASONS, share_text
from myosotis.unlearning.classifier.job.result import ClassifierResult
from myosotis.unlearning.classifier.verdict import ClassifierVerdict

_CAPS = ("epochs", "steps")
_NAMES = {
    "log_odds": "log-odds of the true class, before",
    "log_odds_gain": "log-odds of the true class above those of the reference, before",
    "accuracy": "accuracy on the instances, before",
    "forget_accuracy": "accuracy on the instances",
    "copies_log_odds": "log-odds of the true class of noisy copies",
    **{name: f"{label.lower()} accuracy" for name, label in SETS.items()},
}


def headline_of(result: ClassifierResult) -> str:
    """Return the verdict in one sentence that can be repeated to somebody who reads no figures.

    Args:
        result: Result of a run.
    """
    verdict = result.verdict
    if not verdict.known:
        known = "did not know" if verdict.known is False else "was not shown to know"
        first = f"The model {known} these images better than images it never saw, so nothing is called forgotten"
    elif verdict.forgotten:
        first = "Forgotten as far as tested"
        if verdict.over_forgotten:
            first = "Over-forgotten: the model errs on these images more than on images it never saw, and that shows"
    elif verdict.forgotten is False:
        first = f"Not forgotten: {_uncapitalised(_plainly(verdict)).strip(' .')}"
    else:
        first = "Undecided: the tests cannot tell whether the images are forgotten"
    return f"{first}; {_rest(verdict)}."


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]


def _rest(verdict: ClassifierVerdict) -> str:
    worst = verdict.worst_kept
    if worst is None:
        return "whether the rest is kept was not measured"
    shares = f"from {worst.before:.0%} to {worst.after:.0%}"
    fell = f"right answers to '{worst.subject}', the worst class, went {shares}"
    if worst.whole:
        return f"the rest is not kept: {fell}"
    said = {True: "the rest is kept", False: "the rest is not kept", None: "whether the rest is kept is undecided"}
    return f"{said[verdict.kept]}: {fell}"


def verdicts_of(result: ClassifierResult) -> list[Verdict]:
    """Return the questions of a run and their answers.

    Args:
        result: Result of a run.
    """
    verdict = result.verdict
    verdicts = [
        Verdict("Did the model know it?", _known_text(result), verdict.known, verdict.known is None),
        Verdict("Is it forgotten?", _forgotten_text(result), verdict.forgotten, verdict.forgotten is None),
        Verdict("Is the rest kept?", _kept_text(result), verdict.kept, verdict.kept is None),
    ]
    if verdict.unseen is not None:
        unseen = verdict.as_unseen
        verdicts.append(Verdict("Is it as if it had never been seen?", _unseen_text(result), unseen, unseen is None))
    return [*verdicts, Verdict("How sure are we?", _sure_text(result), verdict.sure, verdict.sure is None)]


def next_steps(result: ClassifierResult, config: Mapping[str, object]) -> list[Step]:
    """Return what to do about every answer that is no or undecided.

    Args:
        result: Result of a run.
        config: Its configuration.
    """
    verdict, steps = result.verdict, []
    as_unseen = bool(value_at(config, "data.train")) and config.get("preset") != "as_unseen"
    retrained = ["reference=retrain"] if config.get("train") and config.get("reference") is None else []
    if not verdict.known:
        steps.append(
            Step(
                "Whether it was known can be shown with more images to forget, more test images of their classes, or a "
                "model that never saw them ('reference').",
                retrained,
            )
        )
    elif verdict.forgotten is False:
        capped = result.unlearning.stop_reason in _CAPS
        more = (
            [f"training.epochs={2 * value_at(config, 'training.epochs')}"] if capped and config.get("training") else []
        )
        steps.append(Step("Train longer, or with larger steps.", more))
    elif verdict.forgotten is None:
        steps.append(Step("More images, or a model that never saw them ('reference'), would decide.", retrained))
    if verdict.known and as_unseen and (verdict.over_forgotten or verdict.kept is False or verdict.as_unseen is False):
        steps.append(
            Step(
                "Have the images answered as by a model that never saw them: 'preset: as_unseen', in place of 'goal', "
                "'method' and 'training'."
            )
        )
    elif verdict.kept is False:
        steps.append(Step("Take smaller steps, and give the images that remain ('data.train')."))
    if verdict.kept is None:
        steps.append(Step("Whether the rest is kept takes more images that it does not train on ('data.test')."))
    return steps


def criteria_tables(result: ClassifierResult) -> list[Table]:
    """Return the table of the comparisons that the verdict rests on, if there are any.

    Args:
        result: Result of a run.
    """
    verdict = result.verdict
    criteria = [*verdict.forgetting, *verdict.keeping]
    return [criteria_table(criteria, _NAMES, verdict.confidence, dict.fromkeys(_NAMES, "image"))] if criteria else []


def criteria_figures(result: ClassifierResult) -> list[Figure]:
    """Return the plot of these comparisons, if there are any.

    Args:
        result: Result of a run.
    """
    return criteria_figure([*result.verdict.forgetting, *result.verdict.keeping], _NAMES)


def _known_text(result: ClassifierResult) -> str:
    verdict, control, chance = result.verdict, result.verdict.control, result.verdict.chance
    figures = comparison_text(control, _NAMES[control.name])
    if control.value is not None and control.p_value is not None:
        how = "" if control.against_of == "chance" else ", each image among those of its class"
        units = count_text(control.value.units, "instance")
        figures += f" One-sided test on {units}{how}: p = {control.p_value:.2g}."
    if chance.at_chance:
        where = "test images" if chance.of == "test" else "the instances"
        return (
            f"Not answered, because its answers on {where} are no better than chance: these are not the model's "
            "classes or not in its order, or the model has learnt nothing. Nothing is called forgotten or kept. "
            f"{chance.accuracy:.3f} are right, {chance.level:.3f} would be by chance."
        )
    if verdict.known and control.against_of == "chance":
        return (
            "Before unlearning it gets more of the instances right than chance would. Without test images this shows "
            f"that it knows the classes, not that it knows these very images. {figures}"
        )
    if verdict.known:
        return f"Before unlearning the model knows the instances better than images that it never saw. {figures}"
    if verdict.known is False:
        return (
            "The model is shown not to know the instances better than images that it never saw. Nothing is called "
            f"forgotten. {figures}"
        )
    if verdict.reasons.get("known") == "no_test_images":
        return f"Not answered, for want of test images of these classes ('data.test'). {figures}"
    if not control.could_show:
        return f"Not answered: with so few images no outcome could show it. Nothing is called forgotten. {figures}"
    return (
        "It is not shown that the model remembers these images more than images it never saw: there is nothing to "
        f"forget, or they were not in its training set. Nothing is called forgotten. {figures}"
    )


def _forgotten_text(result: ClassifierResult) -> str:
    verdict, unlearning = result.verdict, result.unlearning
    reasons = {
        "all_wrong_before": "Not answered: every instance had a wrong answer before. ",
        "at_chance": "Not answered: the model's answers are no better than chance. ",
        "not_known": "Not answered, because it is not shown that the model knew them. ",
        "no_reference": (
            "Not answered: the method does not aim at wrong answers, so only test images of these classes "
            "('data.test') or a reference that never saw the instances ('reference: retrain') could tell. "
        ),
        "nothing_comparable": (
            "Not answered: before unlearning the model got no more of the instances right than of what it never saw, "
            "so their accuracy does not tell what is left. "
        ),
    }
    text = reasons.get(verdict.reasons.get("forgotten", "")) or _plainly(verdict)
    before, after = (result.metrics[name].forget.accuracy for name in ("before", "after"))
    reached = verdict.goal_reached
    if verdict.by_goal and reached is not None:
        what = {"misclassify": "get another answer than the true one", "relabel": "get their new label"}[result.goal]
        count = round(reached.mean * reached.count)
        text += f"{count} of the {reached.count} instances that were right before {what}. "
    if verdict.wrong_before:
        text += f"{verdict.wrong_before} were wrong before and do not count. "
    text += f"Accuracy on all of them {share_text(after)}, {before.mean:.3f} before."
    for row in verdict.forgetting:
        text += f" {comparison_text(row, _NAMES[row.name])}"
        if row.incomparable is None:
            text += f" At most {row.margin:.3f} above may be left."
    if verdict.by_goal and unlearning.converged:
        text += f" The least certain of these answers leads by {unlearning.min_margin:.2f} logits."
    if verdict.by_goal and not unlearning.converged:
        capped = "it hit its cap: " if unlearning.stop_reason in _CAPS else ""
        text += f" The run did not converge; {capped}{STOP_REASONS[unlearning.stop_reason]}."
    return text


def _plainly(verdict: ClassifierVerdict) -> str:
    """One sentence for the answer to *Is it forgotten?*."""
    reached = verdict.goal_reached
    at_goal = verdict.by_goal and reached is not None and reached.mean == 1
    comparable = [row for row in verdict.forgetting if row.incomparable is None]
    if verdict.forgotten:
        if not verdict.by_goal:
            return "What is left of what the model had learnt of them is shown to be within the margin. "
        copies = ", and of slightly changed copies no more is left than the margin" if comparable else ""
        return f"The model answers every one of them as asked{copies}. "
    if verdict.forgotten is None:
        who = "The goal is reached, but the" if at_goal else "The"
        return f"{who} data do not tell whether what is left is within the margin. "
    if at_goal and any(row.holds is False for row in comparable):
        return "Single answers were patched: slightly changed copies show what the model had learnt of them. "
    if verdict.by_goal:
        return "The goal is not reached. "
    return "Too much of what the model had learnt of them is left. "


def _kept_text(result: ClassifierResult) -> str:
    verdict, metrics = result.verdict, result.metrics
    if not verdict.keeping:
        held = result.unlearning.facts.get("held_accuracy_after")
        proxy = (
            ""
            if held is None
            else f" On the adversarial examples that stand in for the rest, {held:.0%} of answers stay the same."
        )
        return f"Not answered: there were no images that the unlearning did not train on.{proxy}"
    worst = verdict.worst_kept
    if verdict.reasons.get("kept") == "at_chance":
        text = "Not answered: the model's answers are no better than chance."
    elif worst is not None and worst.whole:
        text = f"The class '{worst.subject}' is lost."
    else:
        text = {
            True: "What other images lost is shown to be within the limit.",
            False: "Other images are shown to have lost more than the limit.",
            None: "The data do not tell whether what other images lost is within the limit.",
        }[verdict.kept]
    text += f" A loss of accuracy of up to {verdict.most_lost:.3f} counts as kept."
    text += "".join(f" {comparison_text(row, _NAMES[row.name])}" for row in verdict.keeping)
    if worst is not None:
        text += f" Worst class: '{worst.subject}', {worst.before:.3f} before, {worst.after:.3f} after."
    judged = {row.name for row in verdict.keeping}
    remaining = [figures for name in ("before", "after") if (figures := metrics[name].remaining) is not None]
    if remaining and "remaining" not in judged:
        before, after = (figures.accuracy.mean for figures in remaining)
        text += f" Remaining images that it trained on (in sample, not judged): {before:.3f} before, {after:.3f} after."
    return text


def _unseen_text(result: ClassifierResult) -> str:
    verdict = result.verdict
    unseen, trace = verdict.unseen, verdict.trace
    if verdict.as_unseen is False:
        text = (
            "The model answers on these images differently than on images that it never saw: somebody who has one of "
            "them can notice that it was in the training set or was deleted."
        )
    elif verdict.as_unseen:
        text = "Nothing tells these images from images that the model never saw."
    else:
        text = (
            "Neither is shown: a yes needs both the accuracy and the attack to be those of a model that never saw them."
        )
    if verdict.over_forgotten:
        text += " Over-forgotten: it errs on them more than a model that never saw them would."
    if unseen is not None:
        text += f" {comparison_text(unseen, _NAMES[unseen.name])} Up to {unseen.margin:.3f} either way counts as none."
    if trace is not None:
        auc = interval_text(trace.auc, trace.low, trace.high)
        text += (
            f" An attack by the loss tells them from {trace.against}, class by class, with AUC {auc} "
            f"(p = {trace.p_value:.2g}); 0.5 is no trace."
        )
    if result.shadow is not None:
        accuracy = result.shadow.u_lira.accuracy.mean
        text += f" U-LiRA distinguishes unlearned from unseen instances in {accuracy:.1%} of trials."
    return text


def _sure_text(result: ClassifierResult) -> str:
    verdict = result.verdict
    undecided = [row for row in [*verdict.forgetting, *verdict.keeping] if row.holds is None]
    crossing = [row for row in undecided if row.incomparable is None and _units(row) >= MIN_UNITS]
    parts = ["Whether it is forgotten and whether the rest is kept are both decided."] if verdict.sure else []
    if not verdict.sure:
        parts.append("Not every question could be answered.")
    if any(row.incomparable is None and _units(row) < MIN_UNITS for row in undecided):
        parts.append(f"With fewer than {MIN_UNITS} images no comparison is decided.")
    if crossing:
        names = ", ".join(_NAMES[row.name] for row in crossing)
        parts.append(f"Inconclusive, because the bounds of the difference include the margin: {names}.")
    if verdict.untested:
        parts.append(f"Not tested: {_listed(verdict.untested)}.")
    parts.append(
        f"One training run with seed {result.seed}; another gives other figures. Intervals are at "
        f"{verdict.confidence:.0%} over images, which are taken as independent. "
        + _stopping_text(result)
        + "This is evidence, not proof: a test that was not made may still find a trace."
    )
    return " ".join(parts)


def _units(row: Comparison) -> int:
    return 0 if row.difference is None else int(row.difference.units)


def _listed(names: Sequence[str]) -> str:
    return " and ".join(names)


def _stopping_text(result: ClassifierResult) -> str:
    chosen = result.unlearning.stop_reason in ("goal", "reference")
    return "Unlearning stopped when these very instances looked forgotten. " if chosen else ""
