"""The report of ``learn-language``, and of several runs side by side."""

from collections.abc import Sequence

from myosotis.engine.run import Run
from myosotis.evaluation.comparison import Comparison
from myosotis.evaluation.intervals import Interval
from myosotis.forgetting_learner.adapters.method import METHODS
from myosotis.forgetting_learner.adapters.result import LanguageLearningResult, LearnerDigestsPart, PromptFigures
from myosotis.report.comparison import side_by_side
from myosotis.report.criteria import comparison_text, criteria_table
from myosotis.report.document import Document, Row, Section, Table, Verdict
from myosotis.report.groups import mean_text, run_names
from myosotis.report.sections import (
    count_text,
    duration_text,
    environment_section,
    fingerprints_text,
    method_section,
    run_facts,
    value_at,
)

_CARD = METHODS.card("subject-adapters")

SETS = {
    "learnt": "learnt questions",
    "reworded": "the same in other words",
    "unseen": "questions about subjects never learnt",
    "general": "general text",
}
"""Sets of prompts and what a report calls them."""

_NAMES = {
    "learnt": "facts of the learnt questions",
    "reworded": "facts of the same questions in other words",
    "unseen": "questions about subjects never learnt that go to an adapter",
    "general": "general texts that go to an adapter",
}

_LIMITS = (
    "The model itself must never have been trained on the records: what it knew before no adapter takes back.",
    "A question that needs the facts of two subjects is answered with the adapter of one of them.",
    "Whoever may ask the model can learn from its answers who is among its subjects.",
    "Equal digests need the same kind of processor and the same library versions; elsewhere bits may differ.",
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Run of ``learn-language``.
    """
    result, config = run.result_as(LanguageLearningResult), run.settings()
    rows = [*result.verdict.learning, *result.verdict.parting]
    units = dict.fromkeys(_NAMES, "subject") | {"general": "text"}
    return Document(
        title=f"Learning by subject: {result.name}",
        subtitle=(
            f"{count_text(result.records, 'record')} of {count_text(result.subjects, 'subject')}, each with an adapter "
            f"of {result.adapter_bytes / 1e6:.1f} MB on a frozen model."
        ),
        facts=run_facts(
            run,
            _CARD.title,
            model=value_at(config, "model.name"),
            hashes=[result.lineage.model_in, result.lineage.model_out],
        ),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        overview=[criteria_table(rows, _NAMES, result.verdict.confidence, units)] if rows else [],
        table=_figures_table(result),
        sections=[
            digest_section(result.digests),
            method_section([_CARD], config),
            _lineage_section(result),
            environment_section(run),
        ],
    )


def _verdicts(result: LanguageLearningResult) -> list[Verdict]:
    verdict, out = (
        result.verdict,
        (
            "To the bit: its adapter is dropped and its sums are subtracted from the router, by a job of "
            "'unlearn-adapters'. What is left has the digests of a learner that never saw it."
        ),
    )
    if result.naming_others:
        out += (
            f" Its own records, that is: {count_text(result.naming_others, 'record')} hold the whole name of another "
            "subject, and stay when that one is forgotten."
        )
    return [
        _answered("Has it learnt?", verdict.learnt, verdict.learning, "no record has a fact to ask for"),
        _answered(
            "Are others left alone?",
            verdict.apart,
            verdict.parting,
            "no unseen subjects and no general text were given",
        ),
        Verdict("Can a subject be taken out again?", out, True),
    ]


def _answered(question: str, holds: bool | None, rows: Sequence[Comparison], missing: str) -> Verdict:
    if not rows:
        return Verdict(question, f"Not measured: {missing}.", undecided=True)
    text = "; ".join(comparison_text(row, _NAMES[row.name]).rstrip(".") for row in rows)
    return Verdict(question, f"{text}.", holds, holds is None)


def _figures_table(result: LanguageLearningResult) -> Table:
    columns = ["Facts right", "by the model alone", "To the right adapter", "To any adapter"]

    def cells(found: PromptFigures) -> list[str]:
        figures: list[Interval | None] = [found.facts, found.facts_of_model, found.right, found.any]
        return [mean_text(figure) for figure in figures]

    rows = [
        Row(label, cells(result.figures[name]), f"{result.figures[name].any.count:,} prompts")
        for name, label in SETS.items()
        if name in result.figures
    ]
    return Table("What is answered, and by what; intervals by subject", columns, rows)


def digest_section(digests: dict[str, LearnerDigestsPart]) -> Section:
    """Return the digests of learners, and what they prove.

    Args:
        digests: Digests before and after.
    """
    parts = {"root": "Root of all", "router": "Sums of the router", "head": "Head of the router"}
    rows = [Row(label, [getattr(each, name) for each in digests.values()]) for name, label in parts.items()]
    return Section(
        "The proof",
        [
            "Each adapter is trained on the records of its subject alone, in an order and from a start that follow "
            "from them, the name and the seed. The router is solved from sums of integers, which depend on no order. A "
            "learner of the same model, settings and key that learns the same records has these digests. The key is in "
            "the learner's list of records: without it nobody can try which records a digest is of."
        ],
        [Table("Digests", [name.capitalize() for name in digests], rows)],
    )


def _lineage_section(result: LanguageLearningResult) -> Section:
    lineage = result.lineage
    rows = [Row("Model that came in", [str(lineage.model_in)]), Row("Learner that went out", [str(lineage.model_out)])]
    rows += [Row(f"Records: {name}", [fingerprints_text(prints)]) for name, prints in lineage.data.items()]
    text = "Models are named by digests, records by salted fingerprints."
    return Section("Lineage", [text], [Table("Digests and fingerprints", ["Value"], rows)])


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs, all of ``learn-language``.
    """
    results = [run.result_as(LanguageLearningResult) for run in runs]
    rows = [
        Row("Subjects", [f"{result.subjects:,}" for result in results]),
        Row("Bytes of an adapter", [f"{result.adapter_bytes:,}" for result in results]),
        Row("Learning", [duration_text(result.cost.seconds.get("learn", 0.0)) for result in results]),
    ]
    for name, label in SETS.items():
        found = [result.figures.get(name) for result in results]
        if any(found):
            rows.append(Row(f"Facts right: {label}", [mean_text(each.facts if each else None) for each in found]))
            rows.append(Row(f"To any adapter: {label}", [mean_text(each.any if each else None) for each in found]))
    return side_by_side(
        runs,
        [_CARD.title for _ in runs],
        [_verdicts(result) for result in results],
        title="Learning by subject, side by side",
        subtitle=f"{len(runs)} runs",
        limits=_LIMITS,
        table=Table("Figures", run_names(runs), rows),
    )
