"""PLOP: pseudo-labels by the entropy of each class, and distances of pooled features at several scales."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.continual.segmentation.learner import SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.losses import local_pod_distance
from myosotis.continual.segmentation.pseudo_labels import normalised_entropy, pseudo_label
from myosotis.data.masks import IGNORE
from myosotis.engine.method import Count, MethodCard, NotNegative


@dataclass(frozen=True)
class PLOPSettings:
    """How PLOP weighs its terms.

    Attributes:
        features: Weight of the distances of the layers' maps, before the root of (all classes / new ones).
        logits: Weight of the distance of the logits, likewise.
        scales: Regions along each side of a map.
        least: The least that a median counts as, or nothing of a class would be sure.
    """

    features: NotNegative = 0.01
    logits: NotNegative = 0.0005
    scales: tuple[Count, ...] = (1, 2, 4)
    least: NotNegative = 0.001


class PLOP(SegmentationLearner[PLOPSettings]):
    """``L = ν CE(z, ŷ) + λ local POD``: background is what the old network says where its entropy is below the median
    of that class, and does not count elsewhere; ν is the share of an image's background that counts. New heads begin as
    MiB's. The distance of the logits, before they are enlarged, takes those of new classes for background; it is one
    more layer in the mean over layers.
    """

    card = MethodCard(
        "plop",
        "PLOP",
        "Douillard, Chen, Dapogny, Cord, CVPR 2021",
        "current task",
        "the old network",
        "No exemplars; keeps features at several scales.",
    )
    Settings = PLOPSettings
    balanced_start = True
    thresholds: Float[Tensor, " known"]

    def before_task(self, task: SegmentationState) -> None:
        """Find the median entropy of every class that the old network answers with on the task's background."""
        super().before_task(task)
        if task.number:
            self.thresholds = median_entropies(self.teacher, task)

    def task_state(self) -> dict[str, Tensor]:
        """Return the medians."""
        return {} if self.teacher is None else {"thresholds": self.thresholds}

    def load_task_state(self, state: Mapping[str, Tensor]) -> None:
        """Take them up."""
        if "thresholds" in state:
            self.thresholds = state["thresholds"]

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the terms."""
        seen = net(batch.images)
        if self.teacher is None:
            return {"cross_entropy": self.plain(seen.logits, batch.target)}
        old = self._teach(batch.images)
        probabilities = old.logits.float().softmax(dim=1)
        limits = self.thresholds.to(probabilities.device).clamp(min=self.settings.least)[probabilities.argmax(dim=1)]
        target = pseudo_label(batch.target, probabilities, normalised_entropy(probabilities) <= limits, "ignore")
        background = batch.target == 0
        accepted = (background & (target != IGNORE)).flatten(1).sum(1) / background.flatten(1).sum(1).clamp(min=1)
        each = torch.stack([self.plain(seen.logits[at : at + 1], target[at : at + 1]) for at in range(len(target))])
        # An image without background has nothing to be unsure of.
        weights = torch.where(background.flatten(1).any(1), accepted, 1.0)
        factor = math.sqrt((self.known + self.new) / self.new)
        layers = [
            local_pod_distance(one, other, self.settings.scales)
            for one, other in zip((*seen.maps, seen.features), (*old.maps, old.features), strict=True)
        ]
        own = torch.cat(
            [seen.small[:, :1] + seen.small[:, self.known :].sum(1, keepdim=True), seen.small[:, 1 : self.known]], dim=1
        )
        kept = local_pod_distance(own, old.small, self.settings.scales)
        return {
            "cross_entropy": (weights * each).mean(),
            "features": factor * self.settings.features * torch.stack(layers).sum() / (len(layers) + 1),
            "logits": factor * self.settings.logits * kept / (len(layers) + 1),
        }


def median_entropies(teacher: nn.Module, task: SegmentationState) -> Float[Tensor, " known"]:
    """Return the median normalised entropy of each class that the old network answers with on background; else 1.

    Exact medians; the authors' code reads them off a histogram of which it uses few bins.
    """
    found: list[list[Tensor]] = [[] for _ in range(task.known)]
    with torch.no_grad():
        for batch in task.batches():
            probabilities = teacher(batch.images).logits.float().softmax(dim=1)
            entropy, answer = normalised_entropy(probabilities), probabilities.argmax(dim=1)
            for channel in range(task.known):
                found[channel].append(entropy[(batch.target == 0) & (answer == channel)].cpu())
    every = [torch.cat([torch.ones(0), *parts]) for parts in found]
    return torch.stack([one.median() if len(one) else torch.ones(()) for one in every])
