"""PLOP: pseudo-labels by the entropy of each class, and distances of pooled features at several scales."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.losses import local_pod_distance
from myosotis.continual.segmentation.pseudo_labels import normalised_entropy, pseudo_label
from myosotis.data.masks import IGNORE
from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device


@dataclass(frozen=True)
class PLOPSettings:
    """Settings of PLOP.

    Attributes:
        features: Weight of the distances of the layers' maps, before the root of (all classes / new ones).
        logits: Weight of the distance of the logits, before the same root.
        scales: Number of regions along each side of a map.
        least: Lower bound of the medians, without which a class may have no confident pixel.
    """

    features: NonNegativeFloat = 0.01
    logits: NonNegativeFloat = 0.0005
    scales: tuple[PositiveInt, ...] = (1, 2, 4)
    least: NonNegativeFloat = 0.001


class PLOP(SegmentationLearner[PLOPSettings]):
    """``L = ν CE(z, ŷ) + λ local POD``: background gets the prediction of the old network if its entropy is below the
    median of the predicted class, and is ignored elsewhere; ν is the share of an image's background that counts. New
    heads start as in MiB. The distance of the logits, before they are enlarged, adds those of new classes to the
    background; it is one more layer in the mean over layers.
    """

    card = MethodCard(
        "plop",
        "PLOP",
        "Douillard, Chen, Dapogny, Cord, CVPR 2021",
        "current task",
        "the old network",
        "No exemplars; distils features at several scales.",
    )
    Settings = PLOPSettings
    balanced_start = True
    thresholds: Float[Tensor, " known"]

    def before_task(self, task: SegmentationState) -> None:
        """Compute the median entropy of every class that the old network predicts on the task's background."""
        super().before_task(task)
        if task.number:
            self.thresholds = median_entropies(self.teacher, task)

    def task_state(self) -> dict[str, Tensor]:
        return {} if self.teacher is None else {"thresholds": self.thresholds}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        if "thresholds" in state:
            self.thresholds = state["thresholds"]

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        if self.teacher is None:
            return {"cross_entropy": self.plain(outputs.logits, batch.target)}
        old = self._teach(batch.images)
        probabilities = old.logits.float().softmax(dim=1)
        limits = to_device(self.thresholds, probabilities.device).clamp(min=self.settings.least)[
            probabilities.argmax(dim=1)
        ]
        target = pseudo_label(batch.target, probabilities, normalised_entropy(probabilities) <= limits, "ignore")
        background = batch.target == 0
        accepted = (background & (target != IGNORE)).flatten(1).sum(1) / background.flatten(1).sum(1).clamp(min=1)
        each = torch.stack(
            [self.plain(outputs.logits[row : row + 1], target[row : row + 1]) for row in range(len(target))]
        )
        # An image without background has no pixel to pseudo-label.
        weights = torch.where(background.flatten(1).any(1), accepted, 1.0)
        factor = math.sqrt((self.known + self.new) / self.new)
        layers = [
            local_pod_distance(new_map, old_map, self.settings.scales)
            for new_map, old_map in zip((*outputs.maps, outputs.features), (*old.maps, old.features), strict=True)
        ]
        own = torch.cat(
            [
                outputs.small[:, :1] + outputs.small[:, self.known :].sum(1, keepdim=True),
                outputs.small[:, 1 : self.known],
            ],
            dim=1,
        )
        logits = local_pod_distance(own, old.small, self.settings.scales)
        return {
            "cross_entropy": (weights * each).mean(),
            "features": factor * self.settings.features * torch.stack(layers).sum() / (len(layers) + 1),
            "logits": factor * self.settings.logits * logits / (len(layers) + 1),
        }


def median_entropies(teacher: nn.Module, task: SegmentationState) -> Float[Tensor, " known"]:
    """Return the median normalised entropy of each class that the old network predicts on background; 1 for others.

    The medians are exact; the authors' code reads them off a histogram of which it uses few bins.
    """
    entropies: list[list[Tensor]] = [[] for _ in range(task.known)]
    with torch.no_grad():
        for batch in task.batches():
            probabilities = teacher(batch.images).logits.float().softmax(dim=1)
            entropy, predicted = normalised_entropy(probabilities), probabilities.argmax(dim=1)
            for channel in range(task.known):
                entropies[channel].append(entropy[(batch.target == 0) & (predicted == channel)].cpu())
    joined = [torch.cat([torch.ones(0), *parts]) for parts in entropies]
    return torch.stack([values.median() if len(values) else torch.ones(()) for values in joined])
