"""The verdict of a learning job in words: has it learnt, has it kept?"""

from myosotis.evaluation.comparison import Comparison
from myosotis.evaluation.learning import LearningVerdict
from myosotis.report.criteria import comparison_text
from myosotis.report.document import Verdict

LEARNT, KEPT = "Has it learnt?", "Has it kept?"


def learnt_verdict(verdict: LearningVerdict | None, more: str = "", question: str = LEARNT) -> Verdict:
    """Return whether something was learnt, with each figure against its control.

    Args:
        verdict: ``verdict`` of the result; None where nothing was measured, or by an earlier version.
        more: Further sentences.
        question: The question, where it is another one.
    """
    if verdict is None:
        return Verdict(question, f"Not compared with a model that learnt nothing. {more}".strip())
    holds = verdict.learnt
    text = " ".join(map(basis_text, verdict.learnt_basis)) or "There is nothing that it could be measured with."
    if holds is False:
        levels = [row.against_of for row in verdict.learnt_basis if row.holds is False]
        text += f" This has not learnt: the interval includes, or lies below, the level of {' and of '.join(levels)}."
    elif holds is None and verdict.learnt_basis:
        text += " With so few samples no outcome could show it."
    return Verdict(question, f"{text} {more}".strip(), holds, holds is None)


def kept_verdict(verdict: LearningVerdict | None, more: str = "") -> Verdict:
    """Return whether earlier tasks were kept, each figure against its control.

    Args:
        verdict: ``verdict`` of the result; None for one of an earlier version.
        more: Further sentences.
    """
    if verdict is None:
        return Verdict(KEPT, f"Not compared with anything. {more}".strip())
    holds, basis = verdict.kept, verdict.kept_basis
    text = " ".join(map(basis_text, basis))
    if not verdict.learnt:
        text = f"Not answered: what was not shown to be learnt cannot be kept. {text}".strip()
    elif not basis:
        text = "Not answered: it is not shown that the earlier tasks were learnt."
    elif holds is None:
        text += " Inconclusive: the interval crosses the threshold."
    return Verdict(KEPT, f"{text} {more}".strip(), holds, holds is None)


def basis_text(row: Comparison) -> str:
    """Return a figure, its control, their difference, and what counts as kept, in words."""
    text = comparison_text(row)
    return text if not row.margin else f"{text} A loss of up to {row.margin:g} counts as kept."
