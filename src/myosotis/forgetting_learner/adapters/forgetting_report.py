"""The report of ``unlearn-adapters``, and of several runs side by side."""

from collections.abc import Sequence

from myosotis.engine.run import Run
from myosotis.forgetting_learner.adapters.learning_report import digest_section
from myosotis.forgetting_learner.adapters.method import METHODS
from myosotis.forgetting_learner.adapters.result import AdapterForgettingResult, RoutedFigures
from myosotis.report.comparison import side_by_side
from myosotis.report.document import Document, Row, Section, Table, Verdict
from myosotis.report.groups import mean_text, run_names
from myosotis.report.person import person_page
from myosotis.report.sections import (
    count_text,
    environment_section,
    fingerprints_text,
    method_section,
    request_tables,
    run_facts,
    value_at,
    without_folders,
)

_CARD = METHODS.card("subject-adapters")

_LIMITS = (
    "The digests prove which records adapters and router are made of. They say nothing about the frozen model, which "
    "must never have been trained on the forgotten records.",
    "The learner before, and every copy of it, still holds the records: the run that learned them, and adapters that "
    "were exported.",
    "A record of another subject that tells of a forgotten one without its whole name stays, and is not found.",
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: Run of ``unlearn-adapters``.
    """
    result, config = run.result_as(AdapterForgettingResult), run.settings()
    counts, lineage = result.records, result.lineage
    notes, tables = request_tables(result.request)
    gone = counts.forget
    prints = [Row(f"Records: {name}", [fingerprints_text(each)]) for name, each in lineage.data.items()]
    return Document(
        title=f"Exact forgetting: {result.name}",
        subtitle=f"{count_text(gone, 'record')} taken out of {count_text(counts.records_before, 'record')}.",
        facts=run_facts(
            run,
            _CARD.title,
            model=without_folders(value_at(config, "model.learner")),
            hashes=[lineage.model_in, lineage.model_out],
        ),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        table=_routing(result),
        sections=[
            digest_section(result.digests),
            Section("The request", notes, [*tables, _counts_table(result)]),
            method_section([_CARD], config),
            Section("Lineage", [], [Table("Fingerprints", ["Value"], prints)]),
            environment_section(run),
        ],
    )


def _verdicts(result: AdapterForgettingResult) -> list[Verdict]:
    counts, verdict = result.records, result.verdict
    gone = counts.forget
    did = [f"{count_text(counts.dropped, 'adapter')} dropped"] if counts.dropped else []
    did += [f"{count_text(counts.retrained, 'adapter')} trained anew on the records that stay"] * bool(counts.retrained)
    forgotten = (
        f"{' and '.join(did)}, and the sums of {count_text(gone, 'record')} subtracted from the router. What is left "
        f"is, byte for byte, a learner that never saw them, with the root {result.digests['after'].root[:16]}..."
    )
    if counts.copies_left:
        forgotten = (
            f"Not all: {count_text(counts.copies_left, 'record')} with the same words stayed; ask for this as well."
        )
    elif counts.named_left and verdict.forgotten is not False:
        forgotten += (
            f" But {count_text(counts.named_left, 'record')} that stay hold the whole name of a subject that was "
            "dropped. "
        )
        forgotten += (
            "By 'data.reviewed' somebody has read them, and none is about it."
            if verdict.forgotten
            else "Whether they are about it only a reader can say: ask in 'data.forget' for those that are, and then "
            "set 'data.reviewed'."
        )
    elif not verdict.forgotten:
        forgotten = (
            f"Not proved: {counts.relearned - counts.relearned_equal} of {counts.relearned} adapters that were trained "
            "again have other digests than those on file. Other records, an edited file, or a machine that computes "
            "other bits."
        )
    kept = Verdict("Is the rest kept?", "Nothing is left that could be kept.", undecided=True)
    if result.remaining is not None:
        before, after = result.remaining.before.mean, result.remaining.after.mean
        text = (
            f"{counts.unchanged} of {count_text(counts.subjects_after, 'adapter')} are, byte for byte, those before. "
            f"Of all {result.remaining.after.count:,} prompts that stay {after:.1%} go to the adapter of their subject "
            f"({before:.1%} before)."
        )
        kept = Verdict("Is the rest kept?", text, verdict.kept)
    checked = (
        f"{count_text(counts.relearned, 'adapter')} trained again from the records, {counts.relearned_equal} with the "
        "digest on file."
        if counts.relearned
        else "Whoever holds the remaining records checks it by 'data.relearn', which trains some adapters again."
    )
    return [
        Verdict(
            "Did the model know it?", f"All {count_text(gone, 'record')} were in its list of records.", verdict.known
        ),
        Verdict("Is it forgotten?", forgotten, verdict.forgotten, verdict.forgotten is None),
        kept,
        Verdict("How sure are we?", f"As sure as of SHA-256, if the learner before was right. {checked}"),
    ]


def _routing(result: AdapterForgettingResult) -> Table:
    def row(label: str, found: RoutedFigures | None, note: str) -> list[Row]:
        return [] if found is None else [Row(label, [mean_text(found.before), mean_text(found.after)], note)]

    rows = [
        *row("Forgotten prompts", result.forgotten, "to any adapter: after, a neighbour's; names not looked at"),
        *row("Prompts that stay", result.remaining, "to the adapter of their subject"),
    ]
    return Table("Prompts that go to an adapter, by their score", ["Before", "After"], rows)


def _counts_table(result: AdapterForgettingResult) -> Table:
    rows = [
        Row(name.replace("_", " ").capitalize(), [f"{getattr(result.records, name):,}"], result.records.note(name))
        for name in type(result.records).model_fields
    ]
    return Table("Numbers", ["Value"], rows)


def for_person(run: Run) -> str:
    """Return half a page about a finished run in plain words.

    Args:
        run: Run of ``unlearn-adapters``.
    """
    result = run.result_as(AdapterForgettingResult)
    return person_page(result, result.verdict, noun="record", count=result.records.forget, noticeable=False, exact=True)


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs, all of ``unlearn-adapters``.
    """
    results = [run.result_as(AdapterForgettingResult) for run in runs]
    rows = [
        Row("Subjects left", [f"{result.records.subjects_after:,}" for result in results]),
        Row("Records left", [f"{result.records.records_after:,}" for result in results]),
        Row("Root", [result.digests["after"].root[:16] for result in results]),
        Row("Forgotten prompts to a neighbour", [mean_text(result.forgotten.after) for result in results]),
    ]
    return side_by_side(
        runs,
        [_CARD.title for _ in runs],
        [_verdicts(result) for result in results],
        title="Exact forgettings side by side",
        subtitle=f"{len(runs)} runs",
        limits=_LIMITS,
        table=Table("Figures", run_names(runs), rows),
    )
