"""``result.json`` of ``meter``."""

from typing import Literal

from myosotis.engine.result import Result, ResultPart
from myosotis.evaluation.comparison import Comparison
from myosotis.unlearning.language.audit.doses import Doses, Told


class MeterVerdict(ResultPart):
    """Whether the meter itself is sound; null where that cannot be told."""

    sound: bool | None
    """Whether the control shows nothing and the highest dose is told."""
    control_p: float
    """Smallest p-value of the control, people never taught against others never taught, times the number of figures."""
    taught: list[Comparison]
    """AUC of the highest dose against what counts as clearly told."""
    confidence: float
    """Level of confidence."""


class MeterResult(Result):
    """Result of ``meter``."""

    kind: Literal["meter"]
    exposures: int
    """Records that were taught, each as often as it was."""
    doses: Doses
    """How far each figure tells who was seen."""
    tests: dict[str, dict[str, dict[str, Told]]]
    """The same of the figures of a single pass under tests: ``rewording``, ``other people``, ``general text``,
    ``4 bits``."""
    verdict: MeterVerdict
    """Whether the meter is sound."""
