"""What all comparisons of runs share: the runs, and the verdict of each."""

from collections.abc import Sequence

from myosotis.engine.run import Run
from myosotis.report.document import Row, Section, Table, Verdict
from myosotis.report.sections import moment_text


def runs_table(
    runs: Sequence[Run], names: Sequence[str], methods: Sequence[str], verdicts: Sequence[Sequence[Verdict]]
) -> Table:
    """Return a row for each run: its method, its end, and the answer to each question that has a yes or no.

    Args:
        runs: Finished runs.
        names: Their names.
        methods: Titles of their methods.
        verdicts: Verdicts of each.
    """
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


def verdicts_section(names: Sequence[str], verdicts: Sequence[Sequence[Verdict]]) -> Section:
    """Return the sentences of every verdict of every run.

    Args:
        names: Names of the runs.
        verdicts: Verdicts of each.
    """
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
