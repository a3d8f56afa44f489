"""CaSSLe: prediction of the past model's embeddings, by the loss of the base."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor

from myosotis.continual.selfsupervised.bases.base import Step
from myosotis.continual.selfsupervised.cassle import cassle_loss
from myosotis.continual.selfsupervised.learner import Distilled, SslBatch, past_of
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class CaSSLeSettings:
    """Settings of CaSSLe.

    Attributes:
        weight: Weight λ; None is 25 for VICReg, else 1.
        temperature: Temperature of the contrastive form.
        hidden: Width of the predictor.
    """

    weight: PositiveFloat | None = None
    temperature: PositiveFloat = 0.2
    hidden: PositiveInt = 2048


class CaSSLe(Distilled[CaSSLeSettings]):
    """``L_SSL + λ L_D(g(z), r)``, r of the past model, L_D of :mod:`myosotis.continual.selfsupervised.cassle`."""

    card = MethodCard(
        "cassle",
        "CaSSLe",
        "Fini, da Costa, Alameda-Pineda, Ricci, Alahari, Mairal, CVPR 2022",
        "current task",
        "the past network",
        "The reference; no stored samples.",
    )
    Settings = CaSSLeSettings

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return both terms; the first task has one."""
        terms = {"ssl": self.base.loss(step)}
        if self.past is not None and step.out.distilled is not None:
            kind, settings = self.base.distillation, self.settings
            weight = settings.weight or (25.0 if kind == "vicreg" else 1.0)
            past = past_of(self.past, step, unit=self.base.unit)
            terms["distillation"] = weight * cassle_loss(
                step.out.distilled, past, kind, settings.temperature, **self.base.distillation_options
            )
        return terms
