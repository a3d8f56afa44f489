"""PFR: projected functional regularisation, prediction of the past model's features."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from myosotis.continual.selfsupervised.bases.base import Step
from myosotis.continual.selfsupervised.cassle import cassle_loss
from myosotis.continual.selfsupervised.gather import gathered
from myosotis.continual.selfsupervised.learner import Distilled, SslBatch
from myosotis.continual.selfsupervised.network import Reads
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class PFRSettings:
    """Settings of PFR.

    Attributes:
        weight: Weight λ of the term.
        hidden: Width of the predictor.
    """

    weight: PositiveFloat = 1.0
    hidden: PositiveInt = 2048


class PFR(Distilled[PFRSettings]):
    """``L_SSL + λ ½ sum over views of (2 - 2 cos(g(f), f_past))`` on features, the input of the projector."""

    card = MethodCard(
        "pfr",
        "PFR",
        "Gomez-Villa, Twardowski, Yu, Bagdanov, van de Weijer, CVPR workshops 2022",
        "current task",
        "the past network",
        "Distils the features that are used later, not the projector.",
    )
    Settings = PFRSettings

    def reads(self) -> Reads:
        """Return ``"features"``."""
        return "features"

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return both terms; the first task has one."""
        terms = {"ssl": self.base.loss(step)}
        if self.past is not None and step.out.distilled is not None:
            past = gathered(self.past(step.views[0])[0]), gathered(self.past(step.views[1])[0])
            terms["distillation"] = self.settings.weight * cassle_loss(step.out.distilled, past, "byol")
        return terms
