"""Fine-tuning: the base alone, task after task."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from myosotis.continual.selfsupervised.bases.base import Step
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class NoSettings:
    """Fine-tuning has no settings."""


class Finetune(SslLearner[NoSettings]):
    """The base's loss; network and base carry over to the next task."""

    card = MethodCard(
        "finetune", "Fine-tuning", "-", "current task", "-", "The lower bound, without any measure against forgetting."
    )
    Settings = NoSettings
    keeps_past = False

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        return {"ssl": self.base.loss(step)}
