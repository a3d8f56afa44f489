"""The card of exact forgetting, so that the lists of methods name it."""

from dataclasses import dataclass
from typing import ClassVar

from myosotis.engine.method import MethodCard
from myosotis.engine.registry import Registry


@dataclass(frozen=True)
class Exact:
    """Subtraction from the sums of a head; see :class:`~myosotis.exact.ExactClassifier`. It has no settings."""

    card: ClassVar[MethodCard] = MethodCard(
        "exact",
        "Exact forgetting",
        "ours, of heads by Zhou et al. (SimpleCIL), McDonnell et al. (RanPAC) and Goswami et al. (FeCAM)",
        "forget",
        "none",
        "A proof instead of an estimate, for learners by simplecil, ranpac or fecam: model: {learner: RUN}.",
    )


METHODS: Registry[Exact] = Registry(Exact, (Exact,))
"""The one method of learners whose heads are sums."""
