"""LwF: learning without forgetting."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import distillation
from myosotis.continual.classification.learner import Batch, Learner
from myosotis.engine.method import MethodCard

Columns = Literal["new", "seen"]


@dataclass(frozen=True)
class LwFSettings:
    """Settings of LwF.

    Attributes:
        weight: Weight of the distillation.
        temperature: Temperature T of the distillation.
        columns: Classes of the cross-entropy: ``"new"``, those of the task (FACIL, PyCIL), or ``"seen"``, all so far
            (Avalanche), which pushes old logits down.
    """

    weight: NonNegativeFloat = 3.0
    temperature: PositiveFloat = 2.0
    columns: Columns = "new"


class LwF(Learner[LwFSettings]):
    """``L = CE(z_new, y) + λ KD_T(z_old, z'_old)`` on the current task alone."""

    card = MethodCard(
        "lwf",
        "Learning without Forgetting",
        "Li, Hoiem, ECCV 2016",
        "current task",
        "the old network",
        "Where no old sample may be stored.",
    )
    Settings = LwFSettings
    reads_memory = False

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = net(batch.images).logits
        if self.teacher is None:
            return {"cross_entropy": functional.cross_entropy(logits, batch.labels)}
        old = self._teach(batch.images).logits
        known = old.shape[1]
        begin = known if self.settings.columns == "new" else 0
        return {
            "cross_entropy": functional.cross_entropy(logits[:, begin:], batch.labels - begin),
            "distillation": self.settings.weight * distillation(logits[:, :known], old, self.settings.temperature),
        }
