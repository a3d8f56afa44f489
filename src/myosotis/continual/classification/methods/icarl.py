"""iCaRL: incremental classifier and representation learning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import distillation
from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class ICaRLSettings:
    """Settings of iCaRL.

    Attributes:
        loss: ``"bce"`` is the paper's: a sigmoid for each class, summed over classes, with the prediction of the old
            network as the target of old classes. ``"ce"`` is that of PyCIL: cross-entropy and distillation.
        weight: Weight of the distillation, for ``"ce"``.
        temperature: T, for ``"ce"``.
    """

    loss: Literal["bce", "ce"] = "bce"
    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0


class ICaRL(Learner[ICaRLSettings]):
    """Binary cross-entropy with new labels and old predictions; predicts the class with the nearest exemplar mean."""

    card = MethodCard(
        "icarl",
        "iCaRL",
        "Rebuffi, Kolesnikov, Sperl, Lampert, CVPR 2017",
        "current task, exemplars",
        "exemplars, the old network",
        "A robust classic: its nearest-mean rule has no bias towards new classes.",
    )
    Settings = ICaRLSettings
    needs_memory = True
    least_exemplars = 1
    reads_exemplars = True
    means: Tensor

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = net(batch.images).logits
        old = None if self.teacher is None else self._teach(batch.images).logits
        if self.settings.loss == "ce":
            terms = {"cross_entropy": functional.cross_entropy(logits, batch.labels)}
            if old is not None:
                retained = distillation(logits[:, : old.shape[1]], old, self.settings.temperature)
                terms["distillation"] = self.settings.weight * retained
            return terms
        target = torch.zeros_like(logits).scatter_(1, batch.labels[:, None], 1.0)
        if old is not None:
            target[:, : old.shape[1]] = old.sigmoid()
        return {"bce": functional.binary_cross_entropy_with_logits(logits, target, reduction="sum") / len(logits)}

    def after_task(self, task: TaskState) -> None:
        """Store the mean of the normalised exemplar features of each class."""
        self.restate(task)

    def restate(self, task: TaskState) -> None:
        """Compute the means of the exemplars that there are."""
        features_at = task.features(self.net)
        means = []
        for label in range(task.classes):
            indices = torch.tensor(task.memory.of_class(label), dtype=torch.long)
            means.append(functional.normalize(features_at(indices), dim=1).mean(0))
        self.means = functional.normalize(torch.stack(means), dim=1)

    def predict(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return the negative distance from the mean of each class."""
        features = functional.normalize(self.net(images).features, dim=1)
        return -torch.cdist(features, self.means)

    def end_state(self) -> dict[str, Tensor]:
        return {"means": self.means}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        self.means = state["means"]

    def linear_head(self) -> None:
        """Return None: predictions are by distances."""
