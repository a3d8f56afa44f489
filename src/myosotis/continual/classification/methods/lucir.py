"""LUCIR: learning a unified classifier incrementally via rebalancing."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import feature_distance
from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.engine.method import MethodCard
from myosotis.models.heads import CosineHead, GrowingHead


def margin_ranking(
    cosines: Float[Tensor, "n classes"], labels: Int[Tensor, " n"], known: int, hardest: int, margin: float
) -> Float[Tensor, ""]:
    """Return the loss of old classes that do not exceed the hardest new ones by a margin (Hou et al., CVPR 2019).

    ``mean_n mean_k max(0, m - cos_y + cos_k)`` over the K new classes with the largest cosine; zero if no
    sample is of an old class.

    Args:
        cosines: Cosines between features and class vectors.
        labels: Classes of the samples.
        known: C_o; samples of newer classes do not count.
        hardest: Number K of the hardest new classes.
        margin: Margin m of the ranking loss.
    """
    if known == cosines.shape[1]:
        return cosines.sum() * 0
    # A mask, as a selection of rows would wait for the device to know how many.
    old = (labels < known).to(cosines.dtype)
    true = cosines.gather(1, labels.unsqueeze(1))
    rivals = cosines[:, known:].topk(min(hardest, cosines.shape[1] - known), dim=1).values
    losses = functional.relu(margin - true + rivals).mean(dim=1)
    return (losses * old).sum() / old.sum().clamp(min=1)


@dataclass(frozen=True)
class LUCIRSettings:
    """Settings of LUCIR.

    Attributes:
        less_forget: Weight λ_b; the distance of features weighs λ_b √(C_o / C_n). The paper takes 5 for CIFAR-100 and
            10 for ImageNet.
        ranking: Weight of the margin ranking.
        hardest: Number K of the hardest new classes.
        margin: Margin m of the ranking loss.
        scale: Initial scale of the cosines.
        freeze_old: Whether the vectors of old classes stay, as in the authors' code.
    """

    less_forget: NonNegativeFloat = 5.0
    ranking: NonNegativeFloat = 1.0
    hardest: PositiveInt = 2
    margin: NonNegativeFloat = 0.5
    scale: PositiveFloat = 1.0
    freeze_old: bool = True


class LUCIR(Learner[LUCIRSettings]):
    """Cosine head, ``L = CE + λ (1 - cos(f, f')) + margin ranking`` on remembered samples, new rows imprinted."""

    card = MethodCard(
        "lucir",
        "LUCIR",
        "Hou, Pan, Loy, Wang, Lin, CVPR 2019",
        "current task, exemplars",
        "exemplars, the old network",
        "Keeps the direction of features; strong after a large first task.",
    )
    Settings = LUCIRSettings
    signed_features = True

    def head(self, num_features: int) -> GrowingHead:
        return CosineHead(num_features, self.settings.scale)

    def before_task(self, task: TaskState) -> None:
        """Initialise each new row with the mean feature of its class."""
        super().before_task(task)
        if not task.number:
            return
        self.net.head.frozen = task.old if self.settings.freeze_old else 0
        features_at = task.features(self.net)
        with torch.no_grad():
            # With the length of old rows, so that a step rotates both equally.
            length = self.net.head.weight[: task.old].norm(dim=1).mean()
            for label in range(task.old, task.classes):
                features = functional.normalize(features_at(task.of_class(label)), dim=1)
                self.net.head.weight[label] = length * functional.normalize(features.mean(0), dim=0)

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        terms = {"cross_entropy": functional.cross_entropy(outputs.logits, batch.labels)}
        if self.teacher is None:
            return terms
        old = self._teach(batch.images)
        known, classes = old.logits.shape[1], outputs.logits.shape[1]
        weight = self.settings.less_forget * math.sqrt(known / (classes - known))
        terms["less_forget"] = weight * feature_distance(outputs.features, old.features)
        cosines = outputs.logits / self.net.head.factor
        terms["ranking"] = self.settings.ranking * margin_ranking(
            cosines, batch.labels, known, self.settings.hardest, self.settings.margin
        )
        return terms
