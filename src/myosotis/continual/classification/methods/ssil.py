"""SS-IL: separated softmax."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import task_distillation
from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.engine.method import MethodCard

_IGNORED = -100  # torch's label of samples without one


def separated_softmax(logits: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], known: int) -> Float[Tensor, ""]:
    """Return the cross-entropy of each sample within the old or within the new classes, by its label.

    A new sample then does not push the logits of old classes down (Ahn et al., SS-IL, ICCV 2021).

    Args:
        logits: Logits of all classes.
        labels: Classes of the samples.
        known: C_o.

    Example:
        >>> round(separated_softmax(torch.tensor([[2.0, 0.0, 1.0, 3.0]]), torch.tensor([0]), 2).item(), 6)
        0.126928
    """
    total = logits.new_zeros(())
    # Of the others the label is ignored: a selection of rows would wait for the device to know how many.
    for part, shifted in ((logits[:, :known], labels), (logits[:, known:], labels - known)):
        if part.shape[1]:
            own = (shifted >= 0) & (shifted < part.shape[1])
            total = total + functional.cross_entropy(part, torch.where(own, shifted, _IGNORED), reduction="sum")
    return total / len(labels)


@dataclass(frozen=True)
class SSILSettings:
    """Settings of SS-IL.

    Attributes:
        weight: Weight of the distillation; 0 turns it off.
        temperature: Temperature T of the distillation.
    """

    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0


class SSIL(Learner[SSILSettings]):
    """Cross-entropy within old and within new classes, and distillation within each old task."""

    card = MethodCard(
        "ssil",
        "SS-IL",
        "Ahn, Kwak, Lim, Bang, Kim, Moon, ICCV 2021",
        "current task, exemplars",
        "exemplars, the old network",
        "Avoids the bias towards new classes while training; best with a fixed share of exemplars in a batch.",
    )
    Settings = SSILSettings

    def before_task(self, task: TaskState) -> None:
        """Copy the old network, and store the sizes of its tasks."""
        super().before_task(task)
        self.taught = task.sizes[:-1]

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = net(batch.images).logits
        known = sum(self.taught)
        terms = {"separated": separated_softmax(logits, batch.labels, known)}
        if self.teacher is not None and self.settings.weight:
            old = self._teach(batch.images).logits
            retained = task_distillation(logits[:, :known], old, self.taught, self.settings.temperature)
            terms["distillation"] = self.settings.weight * retained
        return terms
