"""Several forget and retain terms at once, each logged by name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Alternates, Method
from myosotis.unlearning.language.methods.retain import RETAIN_TERMS, RetainName
from myosotis.unlearning.language.methods.term import Sides, WeightedTerm


@dataclass(frozen=True)
class Composite(Method):
    """A weighted sum of the forget terms of other methods and of any retain terms.

    Attributes:
        forget: Methods whose forget terms are summed, each with its own ``forget_weight``; their names must differ.
        retain_terms: Weights of the retain terms by name, e.g. ``{"nll": 1.0, "kl": 0.5}``.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="composite",
        title="Composite of several terms",
        paper="of each part",
        reads="the sets that its parts read",
        memory="that of its parts",
        purpose="Several ways of forgetting or of retaining, weighted and logged separately.",
    )
    retain: RetainName | None = None
    forget: tuple[Method, ...] = field(default=(), kw_only=True)
    retain_terms: Mapping[RetainName, float] = field(default_factory=dict, kw_only=True)

    def __post_init__(self) -> None:
        if not self.forget:
            raise ValueError("forget must name at least one method")
        super().__post_init__()
        if self.retain is not None or self.retain_weight != 1.0 or self.forget_weight != 1.0:
            raise ValueError("a composite takes retain_terms instead of retain, and weights within each part of forget")
        for part in self.forget:
            has_teacher = part.strangers or part.teacher_model
            if part.dual is not None or part.negation is not None or has_teacher or isinstance(part, Composite):
                raise ValueError(f"{part.card.name} cannot be a part of a composite")
        if any(weight < 0 for weight in self.retain_terms.values()):
            raise ValueError("the weights of retain_terms must be >= 0")
        names = [term.name for _, term in self.terms()]
        if len(set(names)) < len(names):
            raise ValueError(f"two terms have the same name: {', '.join(names)}")
        if len({part.alternates for part in self.forget} - {None}) > 1:
            raise ValueError("parts need both refusals and generated alternates as alternate answers; choose one")

    @property
    def alternates(self) -> Alternates | None:  # type: ignore[override]
        """Where the alternate answers of its parts come from."""
        return next((part.alternates for part in self.forget if part.alternates is not None), None)

    def losses(self, sides: Sides) -> Tensor:  # noqa: ARG002
        """Raise ``TypeError``: every part has losses of its own, see :meth:`terms`."""
        raise TypeError("a composite has several forget terms; terms() returns them")

    def terms(self) -> list[WeightedTerm]:
        terms: list[WeightedTerm] = [(part.forget_weight, part.forget_term()) for part in self.forget]
        return terms + [(weight, RETAIN_TERMS[name]) for name, weight in self.retain_terms.items()]


def parts_of(settings: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return name and settings of each forget part of a configuration.

    Raises:
        ValueError: ``forget`` is not a list of mappings with a ``name``.

    Example:
        >>> parts_of({"forget": [{"name": "npo", "beta": 0.2}]})
        [('npo', {'beta': 0.2})]
    """
    parts = settings.get("forget", ())
    if not isinstance(parts, list | tuple) or any(
        not isinstance(part, Mapping) or "name" not in part for part in parts
    ):
        raise ValueError("forget must be a list of methods, each a mapping with its name and settings")
    for part in parts:
        misplaced = [key for key in ("retain", "retain_weight", "projection") if key in part]
        if misplaced:
            raise ValueError(f"'{misplaced[0]}' belongs to the composite as a whole, not to one part of it")
    return [(part["name"], {key: value for key, value in part.items() if key != "name"}) for part in parts]
