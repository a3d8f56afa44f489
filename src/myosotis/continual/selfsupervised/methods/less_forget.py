"""Less-forget: distillation of the direction of embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor

from myosotis.continual.selfsupervised.bases.base import Step
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, past_of
from myosotis.continual.selfsupervised.losses import negative_cosine
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class LessForgetSettings:
    """Settings of less-forget.

    Attributes:
        weight: Weight λ of the term.
    """

    weight: PositiveFloat = 1.0


class LessForget(SslLearner[LessForgetSettings]):
    """``L_SSL + λ ½ sum over views of (2 - 2 cos(z, r))``, without a predictor."""

    card = MethodCard(
        "less_forget",
        "Less-forget",
        "Hou, Pan, Loy, Wang, Lin, CVPR 2019, on embeddings",
        "current task",
        "the past network",
        "Plain distillation, to measure the gain of a predictor.",
    )
    Settings = LessForgetSettings

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return both terms; the first task has one."""
        terms = {"ssl": self.base.loss(step)}
        if self.past is not None:
            past = past_of(self.past, step, unit=self.base.unit)
            parts = [negative_cosine(new, old) for new, old in zip(step.out.embeddings, past, strict=True)]
            terms["distillation"] = self.settings.weight * (parts[0] + parts[1]) / 2
        return terms
