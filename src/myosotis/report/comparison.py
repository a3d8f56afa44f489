"""Finished runs side by side: the frame that the comparisons of all kinds of jobs share."""

import json
from collections.abc import Sequence
from dataclasses import replace

from myosotis.engine.run import Run
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.groups import run_names
from myosotis.report.sections import differing_settings, moment_text


def side_by_side(
    runs: Sequence[Run],
    methods: Sequence[str],
    verdicts: Sequence[Sequence[Verdict]],
    *,
    title: str,
    subtitle: str,
    table: Table,
    answers: Sequence[Verdict] | None = None,
    limits: Sequence[str] = (),
    figures: Sequence[Figure] = (),
    sections: Sequence[Section] = (),
) -> Document:
    """Return a report on several runs: each run with its verdicts, what is compared, and the settings that differ.

    Args:
        runs: At least two finished runs of one kind.
        methods: Titles of their methods.
        verdicts: Verdicts of each.
        title: Title of the page.
        subtitle: What the runs are, in a sentence or two.
        table: The main table.
        answers: Verdicts on the comparison; the verdicts of every run, with its name, unless given.
        limits: What the comparison does not show.
        figures: Plots.
        sections: What else this kind compares.
    """
    names = run_names(runs)
    other = [
        key
        for key in ("model", "data")
        if len({json.dumps(run.settings().get(key), sort_keys=True) for run in runs}) > 1
    ]
    if other:
        limits = [f"The runs differ in {' and '.join(other)}: see Settings that differ.", *limits]
    if answers is None:
        answers = [replace(verdict, subject=name) for name, own in zip(names, verdicts, strict=True) for verdict in own]
    return Document(
        title=title,
        subtitle=subtitle,
        verdicts=answers,
        limits=limits,
        overview=[_runs_table(runs, names, methods, verdicts)],
        table=table,
        figures=figures,
        sections=[*sections, _verdicts_section(names, verdicts), differing_settings(runs, names)],
    )


def _runs_table(
    runs: Sequence[Run], names: Sequence[str], methods: Sequence[str], verdicts: Sequence[Sequence[Verdict]]
) -> Table:
    """A row for each run: its method, its end, and the answer to each question that has a yes or no."""
    marks = [{verdict.question: verdict.mark for verdict in own if verdict.mark} for own in verdicts]
    questions = list(dict.fromkeys(question for own in marks for question in own))
    rows = []
    for run, name, method, own in zip(runs, names, methods, marks, strict=True):
        result = run.result()
        head = [method, str(result["seed"]), moment_text(result["finished"])]
        rows.append(Row(name, [*head, *(own.get(question, "-") for question in questions)]))
    return Table("The runs and their verdicts", ["Method", "Seed", "Finished", *questions], rows, "Run")


def ahead(question: str, answer: str, classes: Sequence[Sequence[str]], tests: Sequence[int]) -> Verdict:
    """Return who is ahead, or that it cannot be said, as the runs learned or were tested on different things.

    Args:
        question: Question of the comparison.
        answer: Its answer if they compare.
        classes: Names of the classes of each run.
        tests: Number of test samples of each run.

    Example:
        >>> ahead("Which is best?", "a", [("ash", "elm"), ("elm", "ash")], [10, 10]).answer
        'a'
        >>> ahead("Which is best?", "a", [("ash",), ("elm",)], [10, 10]).mark
        'undecided'
    """
    if len({frozenset(names) for names in classes}) > 1:
        reason = "the runs learned different classes"
    elif len(set(tests)) > 1:
        counts = ", ".join(f"{count:,}" for count in sorted(set(tests)))
        reason = f"the runs were tested on different samples ({counts})"
    else:
        return Verdict(question, answer)
    return Verdict(question, f"Not answered: {reason}, so their figures cannot be compared.", undecided=True)


def _verdicts_section(names: Sequence[str], verdicts: Sequence[Sequence[Verdict]]) -> Section:
    """The sentences of every verdict of every run."""
    tables = [
        Table(
            f"Verdicts of {name}",
            ["Answer", "Figures"],
            [Row(verdict.question, [verdict.mark or "-", verdict.answer]) for verdict in own],
            "Question",
        )
        for name, own in zip(names, verdicts, strict=True)
    ]
    return Section("What each verdict rests on", [], tables)
