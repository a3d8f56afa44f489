"""The report of an exact forgetting, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.run import Run
from myosotis.exact import HEADS
from myosotis.forgetting_learner.exact.result import ExactResult
from myosotis.report.comparison import side_by_side
from myosotis.report.criteria import comparison_text
from myosotis.report.document import Document, Row, Section, Table, Verdict
from myosotis.report.groups import interval_text, number_text, run_names
from myosotis.report.person import person_page
from myosotis.report.sections import (
    count_text,
    duration_text,
    environment_section,
    lineage_section,
    method_section,
    request_tables,
    run_facts,
    without_folders,
)

_SETS = {"forget": "forgotten images", "remaining": "remaining images", "test": "test images"}

_LIMITS = (
    "The digests prove which records the sums and the head are made of. They say nothing about the frozen body, which "
    "must never have been trained on the forgotten images.",
    "The learner before, and every copy of it, still holds the images: the run that learned them, its checkpoints, "
    "heads that were given away, and a feature cache that model.feature_cache did not name.",
    "Settings of the head, other than lambda, may have been chosen with the images at hand.",
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``unlearn-exact``.
    """
    result, config = run.result_as(ExactResult), run.settings()
    card, images = HEADS.card(result.head), result.images
    notes, tables = request_tables(result.request)
    lineage = result.lineage
    return Document(
        title=f"Exact forgetting: {result.name}",
        subtitle=(
            f"{count_text(images.forget, 'image')} taken out of {count_text(images.records_before, 'record')} of "
            f"a {card.title} head on a frozen body."
        ),
        facts=run_facts(
            run,
            "exact subtraction" if not result.recomputed else "sums of the remaining images",
            model=without_folders(config["model"]["learner"]),
            hashes=[lineage.model_in, lineage.model_out],
        ),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        table=_accuracies(result),
        sections=[
            _digest_section(result),
            Section("The images", notes, [*tables, _class_table(result)]),
            method_section([card], config),
            lineage_section(
                {"Sums that came in": lineage.model_in, "Sums that went out": lineage.model_out}, lineage.data
            ),
            environment_section(run),
        ],
    )


def _verdicts(result: ExactResult) -> list[Verdict]:
    images, verdict = result.images, result.verdict
    forgotten = (
        "Every one was taken out of the sums. Sums and head are, byte for byte, those of a learner that never saw "
        "them, with the digests "
        f"{result.digests.after.statistics[:16]}... and {result.digests.after.head[:16]}..."
    )
    if images.copies_left:
        names = ", ".join(images.copies_by_class) or "the same class"
        forgotten = (
            f"Not all, a copy is left: {count_text(images.copies_left, 'record')} with the same pixels, learned as "
            f"{names}, stayed in the sums; ask for this as well."
        )
    gone = result.classes_gone
    if gone:
        forgotten += f" The head has no row any more for {', '.join(gone)}: the last image of it went."
    features = "" if result.recomputed else ", with these features"
    kept = Verdict("Is the rest kept?", "Not measured: no test images were given.", undecided=True)
    for row in verdict.keeping:
        kept = Verdict(
            "Is the rest kept?",
            f"{comparison_text(row, 'accuracy on test images of classes that are left')} "
            f"A loss of {row.margin:.3f} was allowed.",
            verdict.kept,
            verdict.kept is None,
        )
    return [
        Verdict(
            "Did the model know it?",
            f"All {count_text(images.forget, 'image')} were in its list of records{features}.",
            verdict.known,
        ),
        Verdict("Is it forgotten?", forgotten, verdict.forgotten),
        kept,
        Verdict(
            "How sure are we?",
            "Of the forgetting as sure as of SHA-256, if the sums before were right: whoever holds the remaining "
            "images checks it by `myosotis audit classifier RUN --against FOLDER`, without trust in who ran this.",
        ),
    ]


def _accuracies(result: ExactResult) -> Table:
    rows = []
    for key, label in _SETS.items():
        figures = [result.metrics[model].get(key) for model in ("before", "after")]
        cells = ["-" if each is None else interval_text(each.accuracy, each.low, each.high) for each in figures]
        if figures[0] is not None and set(cells) != {"-"}:
            rows.append(Row(label, cells, f"{figures[0].count:,} measured"))
    return Table("Accuracy, with its exact interval", ["Before", "After"], rows)


def _digest_section(result: ExactResult) -> Section:
    digests = result.digests
    rows = [Row(name, [getattr(digests.before, name), getattr(digests.after, name)]) for name in ("statistics", "head")]
    seconds = result.cost.seconds.get("forget", 0.0)
    how = "were made anew from the remaining images" if result.recomputed else "were subtracted"
    return Section(
        "The proof",
        [
            "Features are rounded to a grid of integers, whose sums do not depend on order or batches. The sums "
            f"{how} in {duration_text(seconds)}. A learner of the same body, head, settings and key that learns only "
            "the remaining images has these digests. The key is in the learner's list of records: without it nobody "
            "can try which images a digest is of."
        ],
        [Table("HMAC-SHA256", ["Before", "After"], rows)],
    )


def _class_table(result: ExactResult) -> Table:
    rows = [Row(name, [str(count)]) for name, count in result.images.by_class.items()]
    return Table("Forgotten images by class", ["Images"], rows)


def for_person(run: Run) -> str:
    """Return half a page about a finished run in plain words.

    Args:
        run: A run of the kind ``unlearn-exact``.
    """
    result = run.result_as(ExactResult)
    return person_page(result, result.verdict, noun="picture", count=result.images.forget, noticeable=False, exact=True)


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs, all of the kind ``unlearn-exact``.
    """
    results = [run.result_as(ExactResult) for run in runs]
    names, verdicts = run_names(runs), [_verdicts(result) for result in results]
    titles = [HEADS.card(result.head).title for result in results]
    rows = [
        Row("Forgotten images", [str(result.images.forget) for result in results]),
        Row("Records left", [f"{result.images.records_after:,}" for result in results]),
        Row("Seconds of forgetting", [f"{result.cost.seconds.get('forget', 0.0):.2f}" for result in results]),
        *(
            Row(f"Accuracy after: {label}", [_accuracy(result, key) for result in results])
            for key, label in _SETS.items()
        ),
        Row("Digest of the sums", [result.digests.after.statistics[:16] for result in results]),
        Row("Digest of the head", [result.digests.after.head[:16] for result in results]),
    ]
    return side_by_side(
        runs,
        titles,
        verdicts,
        title="Exact forgettings side by side",
        subtitle=f"{len(runs)} runs",
        limits=_LIMITS,
        table=Table("Figures", names, rows),
    )


def describe_audit(found: Mapping[str, Any]) -> str:
    """Return what an auditor's recomputation found, in a few lines.

    Args:
        found: What :func:`~myosotis.forgetting_learner.exact.job.audit_against` returned.
    """
    lines = [
        f"{found['learned']:,} of {found['images']:,} images are in the list of {found['records']:,} records",
        *(
            f"{name}: claimed {found['claimed'][name]}\n{name}: computed {found['recomputed'][name]}"
            for name in ("statistics", "head")
        ),
    ]
    if found["equal"]:
        verdict = "equal: the learner is, byte for byte, one that learned exactly these images"
    elif found["statistics_equal"]:
        verdict = "the sums are equal, the head is not: it was solved elsewhere, or changed"
    elif found["learned"] == found["images"] == found["records"]:
        verdict = "different, though the records are the same: sums or head were changed"
    else:
        verdict = "different: it learned other images, fewer, or more, or this machine computes other bits"
    return "\n".join([*lines, verdict])


def _accuracy(result: ExactResult, key: str) -> str:
    figure = result.metrics["after"].get(key)
    return number_text(None if figure is None else figure.accuracy)
