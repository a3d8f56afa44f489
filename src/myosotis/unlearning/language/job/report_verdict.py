"""The verdict of a language unlearning run in words: a headline, the questions, and the table of their criteria."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.evaluation.comparison import MIN_UNITS, Comparison, WorstSubject
from myosotis.report.criteria import allowed_text, criteria_figure, criteria_table, difference_text, sentence
from myosotis.report.document import Figure, Row, Section, Table, Verdict
from myosotis.report.groups import interval_text, mean_text
from myosotis.report.sections import count_text, times_text, value_at
from myosotis.unlearning.language.audit.doses import CLEARLY, packaged_doses
from myosotis.unlearning.language.audit.verdict import LanguageVerdict
from myosotis.unlearning.language.job.report_suites import stress_sentence
from myosotis.unlearning.language.job.result import LanguageResult

_NAMES = {
    "fact_probability": "probability of the facts",
    "token_probability": "probability of the answer's tokens",
    "top5_recall": "facts among the five likeliest tokens, in all wordings",
    "memorization_accuracy": "memorisation accuracy",
    "extraction_likelihood": "extraction likelihood",
    "extraction_strength": "extraction strength",
    "greedy_recall": "what greedy answers give away",
    "sampled_recall": "what sampled answers give away",
    "held_retain_fact_probability": "probability of held-out facts",
    "held_retain_token_probability": "probability of the tokens of held-out answers",
    "held_retain_answer_recall": "what answers to held-out questions still say",
    "perplexity_ratio": "perplexity of general text, relative to before",
} | {
    f"{split}_{figure}": f"{name}, {where}"
    for split, where in (
        ("forget", "in answers to forget"),
        ("held_retain", "in held-out answers"),
        ("retain", "in answers to retain"),
    )
    for figure, name in (
        ("answer_repetition", "token pairs that come again"),
        ("answer_runs_on", "answers that do not end"),
        ("answer_surprise", "tokens that the model before would not expect"),
        ("answer_silence", "answers that say nothing"),
    )
}
_WHY = {
    "not_known": "Not answered, because it is not shown that the model knew the records.",
    "nothing_comparable": "No figure can be compared.",
    "nothing_held_out": "Not answered: no retain record was held out of the training.",
    "no_subjects": (
        "Not answered: there are records without a 'subject', and records of one subject are not independent. Give "
        "each record its subject, or say with 'rows_per_subject: 1' that each is about another one."
    ),
}


def headline_of(result: LanguageResult) -> str:
    """Return the verdict in one sentence that can be repeated to somebody who reads no figures.

    Args:
        result: Result of a run.
    """
    verdict = result.verdict
    if not verdict.known:
        known = "did not know" if verdict.known is False else "was not shown to know"
        return f"The model {known} these records before, so nothing is called forgotten."
    units = _units(verdict.forgetting)
    about = f"about the {count_text(units, verdict.unit)} to forget" if units else "about the records to forget"
    level = "it gives away about subjects that it never met"
    if verdict.unit == "record":
        about = f"of these {count_text(units, 'record')}"
        level = "it gives away under invented names" if by_names(verdict) else "a model gives away that never saw them"
    if verdict.forgotten and verdict.over_forgotten:
        first = (
            f"Over-forgotten: the model now gives away less {about} than {level}, so that somebody who looks for the "
            "gap can find it"
        )
    elif verdict.forgotten:
        first = f"Forgotten as far as tested: what the model gives away {about} is what {level}"
    elif verdict.forgotten is False:
        first = f"Not forgotten: the model still gives away more {about} than {level}"
        if all(row.holds is not False for row in verdict.forgetting):
            first = "Not forgotten: a subject that was to be forgotten is wholly remembered"
    else:
        first = f"Undecided: the tests cannot tell whether the model gives away more {about} than {level}"
    broken = "; its own answers are broken" if verdict.works is False else ""
    return f"{first}; {_rest(verdict)}{broken}."


def _rest(verdict: LanguageVerdict) -> str:
    hurt = verdict.hurt
    if hurt is None:
        return "whether the rest is kept was not measured"
    none = f"of {count_text(hurt.subjects, 'other subject')} none lost anything"
    some = f"{hurt.hurt} of {count_text(hurt.subjects, 'other subject')} lost something"
    if verdict.kept:
        return none if not hurt.hurt else f"{some}, which is within what was allowed"
    if verdict.kept is False:
        return f"the rest is not kept: {some}" if hurt.hurt else "the rest is not kept"
    return f"{none if not hurt.hurt else some}, which is too few to decide whether the rest is kept"


def verdicts_of(result: LanguageResult, attempts: int = 1) -> list[Verdict]:
    """Return the questions of a run and their answers.

    Args:
        result: Result of a run.
        attempts: Runs of this name that are known: the best of several looks better than a single one.
    """
    verdict = result.verdict
    rows = [
        ("Did the model know it?", _known_text(verdict), verdict.known),
        ("Is it forgotten?", _forgotten_text(verdict), verdict.forgotten),
        ("Is the rest kept?", _kept_text(verdict, result.metrics), verdict.kept),
        ("Does it still work?", _works_text(verdict), verdict.works),
        ("Is it as if it had never been seen?", _unseen_text(verdict), verdict.as_unseen),
        ("How sure are we?", _sure_text(verdict, result, attempts), verdict.sure),
    ]
    return [Verdict(question, text, answer, answer is None) for question, text, answer in rows]


def criteria_tables(result: LanguageResult) -> list[Table]:
    """Return the table of the comparisons that the verdict rests on, if there are any.

    Args:
        result: Result of a run.
    """
    verdict, rows = result.verdict, _criteria(result.verdict)
    names = {row.name: _name(row.name) for row in rows}
    units = dict.fromkeys(names, "subject") | {row.name: verdict.unit for row in verdict.forgetting}
    subjects = value_at(result.metrics, "before.forget.nll.units")
    # Before and after are a pair, so that of few subjects the records count, with a reference or without one.
    units |= {
        row.name: "record"
        for row in verdict.working
        if row.name.startswith("forget_") and row.value is not None and row.value.units != subjects
    }
    return [criteria_table(rows, names, verdict.confidence, units)] if rows else []


def doses_section(result: LanguageResult) -> list[Section]:
    """Return what the criteria of forgetting can see at all, by the meter; nothing where there are none.

    Args:
        result: Result of a run.
    """
    doses = result.meter or packaged_doses()
    figures = [row.name for row in result.verdict.forgetting if row.name in doses.told]
    if not figures:
        return []
    own = (
        "This was measured on a model of this network."
        if result.meter is not None
        else "That is another model, unless it is yours: 'myosotis init meter MODEL' measures it on your own."
    )
    first, *others = doses.doses
    rows = []
    for figure in figures:
        told, clear = doses.told[figure], doses.clear_dose(figure)
        cells = [f"more than {doses.doses[-1]}" if clear is None else f"{clear:.1f}", mean_text(told[str(first)].auc)]
        cells += [f"{told[str(dose)].auc.mean:.2f}" for dose in others]
        rows.append(Row(sentence(_name(figure)), cells))
    return [
        Section(
            "What the criteria can see",
            [
                f"Made-up people were taught to {doses.model} so many times, and others never. For each criterion the "
                "probability that somebody who was taught has the higher figure, as a mean over five records: 0.5 "
                f"sees nothing. First the exposures at which it is {CLEARLY}. {own}",
            ],
            [
                Table(
                    f"AUC by exposures; {count_text(doses.people, 'person')} of each, {doses.unseen} never taught, "
                    f"{count_text(doses.runs, 'run')}",
                    ["Exposures", times_text(first).capitalize(), *(times_text(dose) for dose in others)],
                    rows,
                    "Criterion",
                )
            ],
        )
    ]


def criteria_figures(result: LanguageResult) -> list[Figure]:
    """Return the plot of these comparisons, if there are any.

    Args:
        result: Result of a run.
    """
    rows = _criteria(result.verdict)
    return criteria_figure(rows, {row.name: _name(row.name) for row in rows})


def _criteria(verdict: LanguageVerdict) -> list[Comparison]:
    return [*verdict.forgetting, *verdict.keeping, *verdict.working]


def _name(figure: str) -> str:
    plain, _, test = figure.partition(", ")
    return _NAMES[plain] + (f", {test}" if test else "")


def _units(rows: Sequence[Comparison]) -> int:
    return max((row.value.units for row in rows if row.value is not None), default=0)


def by_names(verdict: LanguageVerdict) -> bool:
    """Return whether the records are compared with themselves under invented names.

    Args:
        verdict: A verdict.
    """
    return any("invented names" in row.against_of for row in verdict.forgetting)


def _known_text(verdict: LanguageVerdict) -> str:
    control = verdict.control
    if control is None or control.value is None or control.against is None:
        return (
            "There are neither unseen records nor a reference model, so nothing tells what a model shows on records "
            "that it never saw. Nothing is called forgotten."
        )
    source = "on unseen records" if control.against_of == "unseen records" else f"of {control.against_of}"
    figures = (
        f"Before unlearning, {_name(control.name)} on the forget set: {mean_text(control.value)}; {source}: "
        f"{mean_text(control.against)} ({count_text(control.value.units, verdict.unit)}; one-sided rank test, "
        f"p = {control.p_value:.2g})."
    )
    if "known" in verdict.reasons:
        return f"{_WHY[verdict.reasons['known']]} {figures}"
    if verdict.known:
        return figures
    if not control.could_show:
        return (
            f"{figures} With so few {verdict.unit}s no outcome could show it (the smallest possible p is "
            f"{control.smallest_p_value:.2g}). Nothing is called forgotten."
        )
    return (
        f"{figures} It is not shown that the model knew these records: there is nothing to forget, or this is not the "
        "template or the wording in which it learnt them. Nothing is called forgotten."
    )


def _comparison_text(row: Comparison) -> str:
    if row.value is None or row.against is None or row.difference is None or row.incomparable is not None:
        return f"{_name(row.name)} cannot be compared ({row.incomparable})"
    part = "" if row.value.count == row.total else f" ({row.value.count} of {row.total} records)"
    shown = {True: "", False: "; not met", None: "; undecided"}[row.holds]
    figure = f"{_name(row.name)}{part} {row.value.mean:.3f}"
    allowed = f"allowed {allowed_text(row.rule, row.margin, row.against)}{shown}"
    if not row.against.units:
        return f"{figure}, {allowed}"
    return f"{figure} against {row.against.mean:.3f}, difference {difference_text(row.difference)}, {allowed}"


def _forgotten_text(verdict: LanguageVerdict) -> str:
    if not verdict.forgetting:
        return "Without unseen records or a reference there is nothing to compare with."
    why = verdict.reasons.get("forgotten")
    parts = [] if why is None else [_WHY[why]]
    if verdict.unit == "record":
        parts.append("This is about these records, not about such subjects in general, of whom there are too few.")
    judged = [row for row in verdict.forgetting if row.incomparable is None]
    level = verdict.forgetting[0].against_of
    if judged:
        counts = {answer: sum(row.holds is answer for row in judged) for answer in (True, False, None)}
        than = "than of records that it never saw"
        if "the same records" in level:
            than = "than under invented names" if by_names(verdict) else "than a model that never saw them"
        first = {
            True: f"It gives away no more of these records {than}",
            False: f"It gives away more of these records {than}",
            None: f"It cannot be told whether it gives away more of these records {than}",
        }[verdict.forgotten]
        parts.append(
            f"{first}. At most {verdict.margin:.0%} of what had been learnt may be left: shown for "
            f"{counts[True]} of {count_text(len(judged), 'figure')}"
            + (f", shown not to be so for {counts[False]}" if counts[False] else "")
            + (f", undecided for {counts[None]}" if counts[None] else "")
            + f". {sentence(_comparison_text(judged[0]))}."
        )
        others = [row for row in judged[1:] if row.holds is not True]
        parts += [f"{sentence(_comparison_text(row))}." for row in others[:3]]
        if len(others) > 3:
            parts.append(f"{count_text(len(others) - 3, 'more figure')} likewise: see the table.")
    worst = verdict.worst_remembered
    if worst is not None:
        parts.append(_worst_text(worst, "The subject that is best remembered", "it is wholly remembered"))
    return " ".join(parts)


def _worst_text(worst: WorstSubject, what: str, whole: str) -> str:
    level = "" if worst.level is None else f"; never seen it would be about {worst.level:.3f}"
    text = f"{what} ({worst.subject[:12]}): {worst.before:.3f} before, {worst.after:.3f} after{level}"
    if worst.unseen:
        text += f"; {worst.unseen_as_high} of {worst.unseen} unseen subjects are known as well or better"
    return f"{text}: {whole}." if worst.whole else f"{text}."


def _works_text(verdict: LanguageVerdict) -> str:
    if not verdict.working:
        return "Its own answers were not measured."
    if verdict.works:
        return (
            "Its own answers, to what was to be forgotten and to what is to be kept, are as sound as before: they do "
            "not stutter, run on or fall silent, and the model before would have expected their tokens."
        )
    rows = [row for row in verdict.working if row.holds is verdict.works and row.incomparable is None]
    shown = "; ".join(_working_text(row) for row in rows)
    said = "Its own answers are not as sound as before" if verdict.works is False else "The figures cannot tell"
    if any(row.value is None for row in verdict.working):
        shown = shown or "what the model before would have expected was not measured"
    return f"{said}: {shown or 'there are too few records'}."


def _working_text(row: Comparison) -> str:
    assert row.value is not None and row.against is not None  # noqa: S101, PT018 - only what was measured is compared
    return f"{_name(row.name)}: {row.value.mean:.2f}, before {row.against.mean:.2f}"


def _unseen_text(verdict: LanguageVerdict) -> str:
    trace = verdict.trace
    parts = []
    if verdict.over_forgotten:
        low = [_name(row.name) for row in verdict.forgetting if row.beyond]
        names = f" ({', '.join(low[:3])})" if low else ""
        parts.append(
            f"Over-forgotten: the model knows less of these records than a model that never saw them{names}, so "
            "someone who has a record can notice that it was erased."
        )
    if trace is not None:
        parts.append(
            f"By its loss, a record to forget is likelier than an unseen one with probability "
            f"{interval_text(trace.auc, trace.low, trace.high)}"
            f"; 0.5 is no trace (compared with {trace.against}, p = {trace.p_value:.2g})."
        )
        if trace.traceable:
            parts.append("Who has a record can tell from its loss that the model was trained on it.")
    if verdict.as_unseen is None:
        parts.append("Neither is shown: a yes needs every figure within the margin on both sides, and no trace.")
    return " ".join(parts)


def _kept_text(verdict: LanguageVerdict, metrics: Mapping[str, Any]) -> str:
    if not verdict.keeping:
        return "Neither retain records nor general text were given."
    parts = []
    why = verdict.reasons.get("kept")
    if why is not None:
        parts.append(
            "Not answered: it is not shown that the model knew the held-out records better than unseen ones, so "
            "keeping them says nothing."
            if why == "not_known"
            else _WHY[why]
        )
    hurt = verdict.hurt
    if hurt is not None:
        lost = "none" if not hurt.hurt else f"{hurt.hurt}"
        parts.append(
            f"Of {count_text(hurt.subjects, 'subject')} that the unlearning did not read, {lost} lost more than "
            f"{hurt.loss:.0%} of what was known: at most {hurt.at_most:.0%} of such subjects do "
            f"({verdict.confidence:.0%}), where {hurt.allowed:.0%} are allowed."
        )
    parts += [f"{sentence(_comparison_text(row))}." for row in verdict.keeping]
    if verdict.worst_kept is not None:
        parts.append(_worst_text(verdict.worst_kept, "The subject that lost most", "it is wholly lost"))
    figure = "fact_accuracy" if "fact_accuracy" in metrics["before"].get("retain", {}) else "token_accuracy"
    if figure in metrics["after"].get("retain", {}):
        was, now = (metrics[name]["retain"][figure]["mean"] for name in ("before", "after"))
        parts.append(
            f"On the retain records that the unlearning trained on (in sample, not judged), accuracy was {was:.3f} "
            f"before, {now:.3f} after."
        )
    return " ".join(parts)


def _sure_text(verdict: LanguageVerdict, result: LanguageResult, attempts: int) -> str:
    judged = [row for row in (*verdict.forgetting, *verdict.keeping) if row.incomparable is None]
    open_rows = [row for row in judged if row.holds is None]
    few = [row for row in open_rows if row.difference is not None and 0 < row.difference.units < MIN_UNITS]
    parts = []
    if few:
        parts.append(
            f"With fewer than {MIN_UNITS} subjects some are not decided ({_names_of(few)}); records of other subjects "
            "would."
        )
    if len(open_rows) > len(few):
        rows = [row for row in open_rows if row not in few]
        remedy = (
            f"more {verdict.unit}s" if "the same records" in rows[0].against_of else "more subjects, or a reference"
        )
        parts.append(f"The data cannot tell for {_names_of(rows)}; {remedy} would.")
    if verdict.hurt is not None and verdict.hurt.holds is None:
        parts.append("Too few subjects were held out to bound how many lose something.")
    if judged and not open_rows:
        parts.append("Every comparison is decided.")
    forget = result.metrics["after"]["forget"]["nll"]
    parts.append(
        f"Each bound is at {verdict.confidence:.0%}, over {count_text(forget['units'], 'independent subject')} to "
        f"forget ({count_text(forget['count'], 'record')}), and for one training run; another seed gives other figures."
    )
    if attempts > 1:
        parts.append(f"{attempts} runs of this name are known: the best of several looks better than a single one.")
    training = result.training
    if training.stop_reason == "forgotten":
        parts.append(
            "The stopping point was chosen on these very forget and unseen records, which makes these figures look "
            "somewhat better than they are."
        )
    if training.selected_epoch is not None:
        parts.append("The epoch was chosen on these forget records, and on retain records of its own.")
    if result.shared:
        common = "; ".join(f"{name}: {_shared_text(counts)}" for name, counts in result.shared.items())
        parts.append(f"The sets share records, which was permitted (data.allow_shared): {common}.")
    parts.append(
        stress_sentence(result) + "This is evidence, not proof: a test that was not made may still find a trace."
    )
    return " ".join(parts)


def _names_of(rows: Sequence[Comparison]) -> str:
    names = [_name(row.name) for row in rows]
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _shared_text(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} by {name}" for name, count in counts.items() if count)
