"""The verdict of a language unlearning run in words: four questions, and the table of their criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.evaluation.verdict import FEWEST_UNITS
from myosotis.report.criteria import criteria_table
from myosotis.report.document import Table, Verdict
from myosotis.report.sections import count_text
from myosotis.unlearning.language.job.report_suites import stress_sentence

_CRITERION_NAMES = {
    "fact_accuracy": "fact accuracy",
    "token_accuracy": "token accuracy",
    "memorization_accuracy": "memorisation accuracy",
    "extraction_likelihood": "extraction likelihood",
    "held_retain_fact_accuracy": "held-out fact accuracy",
    "held_retain_token_accuracy": "held-out token accuracy",
    "perplexity_ratio": "perplexity of general text, relative to before",
}
_SIGNS = {"<=": "at most", ">=": "at least"}


def verdicts_of(result: Mapping[str, Any]) -> list[Verdict]:
    """Return the four questions of a run and their answers.

    Args:
        result: Result of a run of the kind ``unlearn-language``.
    """
    verdict = result["verdict"]
    return [
        Verdict("Did the model know it?", _known_text(verdict), verdict["known"], verdict["known"] is None),
        Verdict("Is it forgotten?", _forgotten_text(result), verdict["forgotten"], verdict["forgotten"] is None),
        Verdict("Is the rest kept?", _kept_text(result), verdict["kept"], verdict["kept"] is None),
        Verdict("How sure are we?", _sure_text(result), verdict["sure"], verdict["sure"] is None),
    ]


def _figure(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def _known_text(verdict: Mapping[str, Any]) -> str:
    control = verdict["control"]
    if control is None:
        return (
            "There are neither unseen records nor a reference model, so nothing tells what a model shows on records "
            "that it never saw. Nothing is called forgotten."
        )
    text = (
        f"Before unlearning, {_CRITERION_NAMES[control['measure']]} on the forget set: "
        f"{_figure(control['value'], control['low'], control['high'])}; {_level_name(control['level_of'])}: "
        f"{_figure(control['level'], control['level_low'], control['level_high'])} ({control['units']} and "
        f"{control['level_units']} subjects; one-sided rank test, p = {control['p_value']:.2g})."
    )
    if verdict["known"]:
        return text
    if control["smallest_p_value"] > 1 - verdict["confidence"]:
        return (
            f"{text} With so few subjects no outcome could show it (the smallest possible p is "
            f"{control['smallest_p_value']:.2g}). Nothing is called forgotten."
        )
    return (
        f"{text} It is not shown that the model knew these records: there is nothing to forget, or this is not the "
        "template or the wording in which it learnt them. Nothing is called forgotten."
    )


def _level_name(source: str) -> str:
    return "on unseen records" if source == "unseen records" else f"of {source}"


def _criterion_text(row: Mapping[str, Any]) -> str:
    name = _CRITERION_NAMES[row["name"]]
    if row["incomparable"] is not None:
        return f"{name} cannot be compared ({row['incomparable']})"
    part = "" if row["count"] == row["total"] else f" ({row['count']} of {row['total']} records)"
    level = _figure(row["threshold"], row["threshold_low"], row["threshold_high"])
    met = "" if row["holds"] else ", not met"
    return (
        f"{name}{part} {_figure(row['value'], row['low'], row['high'])}; threshold: {_SIGNS[row['sign']]} {level} "
        f"({row['threshold_of']}){met}"
    )


def _criteria_text(criteria: Sequence[Mapping[str, Any]]) -> str:
    texts = [_criterion_text(row) for row in criteria]
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in texts)


def _forgotten_text(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    criteria = _criteria_text(verdict["forgetting_criteria"])
    reasons = {
        "not_known": "Not answered, because it is not shown that the model knew the records. ",
        "nothing_comparable": "No criterion can be compared with unseen records. ",
    }
    text = reasons.get(verdict["reasons"].get("forgotten", ""), "")
    text += criteria or "Without unseen records there is nothing to compare with."
    over = verdict["over_forgetting"]
    if over is not None and over["over_forgotten"]:
        text += (
            f" Over-forgotten: the answers to the forget set are now less likely than those to unseen records (AUC "
            f"{over['auc']:.3f}, p = {over['p_value']:.2g}), so someone who has a record can notice that it was erased."
        )
    elif over is not None and over["traceable"]:
        text += (
            f" The answers to the forget set are still more likely than those to unseen records (AUC "
            f"{over['auc']:.3f}, p = {over['p_value']:.2g}): who has a record can tell from "
            "its loss that the model was trained on it."
        )
    return text


def _kept_text(result: Mapping[str, Any]) -> str:
    verdict, metrics = result["verdict"], result["metrics"]
    reasons = {
        "nothing_held_out": "Not answered: no retain record was held out of the training. ",
        "not_known": (
            "Not answered: it is not shown that the model knew the held-out records better than unseen ones, so "
            "keeping them says nothing. "
        ),
        "nothing_to_compare": "Neither retain records nor general text were given.",
    }
    text = reasons.get(verdict["reasons"].get("kept", ""), "") + _criteria_text(verdict["keeping_criteria"])
    for row in verdict["keeping_criteria"]:
        measure = row["name"].removeprefix("held_retain_")
        if measure == row["name"]:
            continue
        was, trained = metrics["before"]["held_retain"][measure], metrics["after"].get("retain", {}).get(measure)
        text += (
            f" Before, {_figure(was['mean'], was['low'], was['high'])} of the held-out {measure.split('_')[0]}s were "
            f"right ({count_text(was['units'], 'subject')} that the unlearning did not read)."
        )
        if trained is not None:
            text += (
                f" On the retain records that the unlearning trained on (in sample, not judged): "
                f"{metrics['before']['retain'][measure]['mean']:.3f} before, {trained['mean']:.3f} after."
            )
        if row["units"] < FEWEST_UNITS:
            text += f" Fewer than {FEWEST_UNITS} subjects could be held out."
    return text


def _sure_text(result: Mapping[str, Any]) -> str:
    verdict = result["verdict"]
    criteria = [*verdict["forgetting_criteria"], *verdict["keeping_criteria"]]
    judged = [row for row in criteria if row["holds"] is not None]
    parts = []
    undecided = [row for row in judged if not row["decided"]]
    few = [row for row in undecided if min(row["units"], row["threshold_units"] or row["units"]) < FEWEST_UNITS]
    crossing = [row for row in undecided if row not in few]
    if few:
        parts.append(
            f"With fewer than {FEWEST_UNITS} subjects nothing is decided ({_names_of(few)}); more records of other "
            "subjects would."
        )
    if crossing:
        parts.append(
            f"Inconclusive: the interval crosses the threshold ({_names_of(crossing)}), so the answer rests on the "
            "mean alone."
        )
    if judged and not undecided:
        parts.append("Every comparison is decided by its interval.")
    forget = result["metrics"]["after"]["forget"]["nll"]
    parts.append(
        f"Intervals are at {verdict['confidence']:.0%}, over {count_text(forget['units'], 'independent subject')} to "
        f"forget ({count_text(forget['count'], 'record')}), and for one training run; another seed gives other "
        f"figures. A forget figure counts as decided when it is shown to lie less than {verdict['margin']:g} above the "
        "level of unseen records."
    )
    training = result["training"]
    if training["stop_reason"] == "forgotten":
        parts.append(
            "The stopping point was chosen on these very forget and unseen records, which makes these figures look "
            "somewhat better than they are."
        )
    if training.get("selected_epoch") is not None:
        parts.append("The epoch was chosen on these forget records, and on retain records of its own.")
    if result.get("shared"):
        common = "; ".join(f"{name}: {_shared_text(counts)}" for name, counts in result["shared"].items())
        parts.append(f"The sets share records, which was permitted (data.allow_shared): {common}.")
    parts.append(
        stress_sentence(result) + "This is evidence, not proof: a test that was not made may still find a trace."
    )
    return " ".join(parts)


def _names_of(criteria: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(_CRITERION_NAMES[row["name"]] for row in criteria)


def _shared_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} by {name}" for name, count in counts.items() if count)


def criteria_tables(result: Mapping[str, Any]) -> list[Table]:
    """Return the table of the comparisons that the verdict rests on, if there are any.

    Args:
        result: Result of a run of the kind ``unlearn-language``.
    """
    verdict = result["verdict"]
    criteria = [*verdict["forgetting_criteria"], *verdict["keeping_criteria"]]
    return [criteria_table(criteria, _CRITERION_NAMES, verdict["confidence"], "subject")] if criteria else []
