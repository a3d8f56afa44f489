"""Whether a stream was learnt and kept, from the accuracies after each task."""

from collections.abc import Sequence

from myosotis.evaluation.comparison import Comparison
from myosotis.evaluation.learning import (
    LearningVerdict,
    Share,
    above_level,
    above_share,
    learning_verdict,
    not_below,
)
from myosotis.report.document import Verdict
from myosotis.report.learning import KEPT, basis_text

WHEN_LEARNT = "right after each of these tasks was learnt"


def earlier_tasks(matrix: Sequence[Sequence[float]], counts: Sequence[int]) -> tuple[Share, Share] | None:
    """Return the accuracy on all tasks but the last at the end and right after each was learnt; None for one task.

    Args:
        matrix: Row k: accuracy on each task after task k; further columns do not count.
        counts: Test samples of each task.
    """
    earlier = len(matrix) - 1
    if not earlier or not sum(counts[:earlier]):
        return None
    return (
        Share.of(matrix[-1][:earlier], counts[:earlier]),
        Share.of([matrix[task][task] for task in range(earlier)], counts[:earlier]),
    )


def kept_since_learnt(
    matrix: Sequence[Sequence[float]], counts: Sequence[int], *, measure: str, confidence: float
) -> list[Comparison]:
    """Return the comparison of earlier tasks at the end with what they were when learnt; empty for one task.

    Args:
        matrix: As in :func:`earlier_tasks`.
        counts: Test samples of each task.
        measure: Name of the figure.
        confidence: Level of confidence.
    """
    pair = earlier_tasks(matrix, counts)
    if pair is None:
        return []
    now, before = pair
    return [not_below(now, before, measure=measure, against_of=WHEN_LEARNT, confidence=confidence)]


def classes_verdict(
    confusion: Sequence[Sequence[int]],
    matrix: Sequence[Sequence[float]],
    counts: Sequence[int],
    sizes: Sequence[int],
    confidence: float,
) -> LearningVerdict:
    """Return the verdict on a stream of classes: against the most frequent class, and against the time of learning.

    Args:
        confusion: Test samples of each class (rows) predicted as each class (columns) at the end.
        matrix: Row k: accuracy on each task so far after task k.
        counts: Test samples of each task.
        sizes: Classes of each task.
        confidence: Level of confidence.
    """
    final = Share(sum(row[label] for label, row in enumerate(confusion)), sum(map(sum, confusion)))
    learnt = [
        above_level(
            final,
            majority(confusion),
            measure="final accuracy on all classes",
            against_of="always predicting the most frequent class",
            confidence=confidence,
        )
    ]
    kept = kept_since_learnt(matrix, counts, measure="accuracy on all tasks but the last", confidence=confidence)
    pair = earlier_tasks(matrix, counts)
    if pair is not None:
        known = [sum(sizes[: task + 1]) for task in range(len(matrix) - 1)]
        chance = Share.of([1 / number for number in known], counts[: len(known)]).mean
        # What was not learnt cannot have been kept.
        control = above_level(pair[1], chance, measure="", against_of="", confidence=confidence)
        kept = kept if control.holds else []
    return learning_verdict(learnt, kept)


def against_finetuning(verdict: Verdict, own: Share, control: Share, *, measure: str, confidence: float) -> Verdict:
    """Return ``Has it kept?`` answered against fine-tuning, with the sentences of the run's own verdict behind it.

    Args:
        verdict: Verdict of the run alone.
        own: Hits of the run on all tasks but the last.
        control: Hits of fine-tuning on the same tasks.
        measure: Name of the figure.
        confidence: Level of confidence.
    """
    compared = above_share(own, control, measure=measure, against_of="fine-tuning", confidence=confidence)
    more = "" if compared.holds else " It has not kept more than fine-tuning, as far as this interval shows."
    text = f"{basis_text(compared)}{more} {verdict.answer}"
    return Verdict(KEPT, text, compared.holds, compared.holds is None)


def majority(confusion: Sequence[Sequence[int]]) -> float:
    """Return the accuracy of always predicting the most frequent class.

    Example:
        >>> majority([[2, 1], [1, 0]])
        0.75
    """
    return max(map(sum, confusion)) / sum(map(sum, confusion))
