"""WA: weight aligning."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveFloat
from torch import Tensor, nn

from myosotis.continual.classification.distillation import proportional_distillation
from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.engine.method import MethodCard


@torch.no_grad()
def align_rows(weight: Float[Tensor, "classes features"], known: int) -> float:
    """Scale the rows of new classes, in place, to the mean length of the rows of old classes; return the factor.

    Zhao et al., CVPR 2020; biases are unchanged.

    Example:
        >>> rows = torch.tensor([[3.0, 4.0], [0.0, 2.0], [6.0, 8.0], [5.0, 12.0]])
        >>> round(align_rows(rows, 2), 6)
        0.304348
    """
    lengths = weight.norm(dim=1)
    factor: float = (lengths[:known].mean() / lengths[known:].mean()).item()
    weight[known:] *= factor
    return factor


@dataclass(frozen=True)
class WASettings:
    """Settings of WA.

    Attributes:
        temperature: Temperature T of the distillation.
    """

    temperature: PositiveFloat = 2.0


class WA(Learner[WASettings]):
    """``L = (1 - λ) CE(z, y) + λ KD_T(z_old, z')`` with λ = C_o / C; then new rows get the length of old ones."""

    card = MethodCard(
        "wa",
        "Weight aligning",
        "Zhao, Xiao, Gan, Zhang, Xia, Maintaining discrimination and fairness, CVPR 2020",
        "current task, exemplars",
        "exemplars, the old network",
        "Removes the bias towards new classes without tuning.",
    )
    Settings = WASettings

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        old = None if self.teacher is None else self._teach(batch.images).logits
        return proportional_distillation(net(batch.images).logits, batch.labels, old, self.settings.temperature)

    def after_task(self, task: TaskState) -> None:
        if task.number:
            align_rows(self.net.head.weight, task.old)
