"""FOSTER: feature boosting and compression."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import distillation
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.network import IncrementalNet, Outputs, frozen_copy
from myosotis.engine.method import Fraction, MethodCard
from myosotis.engine.processes import to_device
from myosotis.engine.seeding import derive_seed, generator
from myosotis.models.backbone import Backbone
from myosotis.models.heads import LinearHead


def class_weights(counts: Tensor, beta: float) -> Float[Tensor, " classes"]:
    """Return ``(1 - β) / (1 - β^n_c)``, scaled to mean 1: rare classes weigh more (Cui et al., CVPR 2019).

    Example:
        >>> [round(value, 6) for value in class_weights(torch.tensor([20, 20, 500, 500]), 0.97).tolist()]
        [1.373432, 1.373432, 0.626568, 0.626568]
    """
    weights = (1 - beta) / (1 - beta ** counts.double())
    return (weights / weights.mean()).float()


class BoostedNet(nn.Module):
    """The old network, frozen, and a new backbone whose features correct it.

    Args:
        old: Old network, which stays in evaluation mode.
        backbone: New backbone.
        classes: C, the number of old and new classes.
        seed: Seed of the new heads.
    """

    old: IncrementalNet
    backbone: Backbone
    head: LinearHead
    own: LinearHead

    def __init__(self, old: IncrementalNet, backbone: Backbone, classes: int, seed: int) -> None:
        super().__init__()
        self.old = frozen_copy(old)
        self.backbone = backbone
        known_head = old.head
        assert isinstance(known_head, LinearHead)  # noqa: S101 - this method's networks have no other
        width, known = backbone.num_features, known_head.num_classes
        self.head, self.own = LinearHead(2 * width), LinearHead(width)
        for head in (self.head, self.own):
            head.grow(classes, generator(seed, "boosted"))
        self.to(known_head.weight.device)
        with torch.no_grad():
            self.head.weight[:known, :width] = known_head.weight
            self.head.bias[:known] = known_head.bias
            # The features of the old network start without influence on new classes.
            self.head.weight[known:, :width] = 0

    def train(self, mode: bool = True) -> "BoostedNet":
        """Set the mode of all modules but the old network."""
        super().train(mode)
        self.old.eval()
        return self

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return logits of both backbones; those of the new backbone alone and of the old network are in ``extra``."""
        with torch.no_grad():
            old = self.old(images)
        new = self.backbone(images)
        features = torch.cat([old.features, new.features], dim=1)
        extra = {"own": self.own(new.features), "old": old.logits}
        return Outputs(self.head(features), features, new.maps, extra)


@dataclass(frozen=True)
class FOSTERSettings:
    """Settings of FOSTER.

    Attributes:
        temperature: Temperature T of the distillation.
        weight: Weight of the distillation while boosting.
        enhancement: Weight of the loss of the new backbone alone.
        beta: Value of β of the class weights while boosting.
        beta_compression: Value of β of the class weights while compressing.
        compression_epochs: Epochs of the compression; None takes those of the task.
    """

    temperature: PositiveFloat = 2.0
    weight: NonNegativeFloat = 1.0
    enhancement: NonNegativeFloat = 1.0
    beta: Fraction = 0.97
    beta_compression: Fraction = 0.97
    compression_epochs: PositiveInt | None = None


class FOSTER(Learner[FOSTERSettings]):
    """Boost by ``CE(z / w, y) + λ_e CE(z_own, y) + λ KD_T(z_old, z')``, then distil both networks into one."""

    card = MethodCard(
        "foster",
        "FOSTER",
        "Wang, Zhou, Ye, Zhan, ECCV 2022",
        "current task, exemplars",
        "exemplars, twice the network while training",
        "The accuracy of an expanded network at the size of a single one.",
    )
    Settings = FOSTERSettings

    def before_task(self, task: TaskState) -> None:
        """Add a new backbone to the old network."""
        if not task.number:
            self.grow(0, task.new)
            return
        device = next(self.net.parameters()).device
        backbone = self._make_backbone(derive_seed(self.seed, "boost", task.number)).to(device)
        backbone.load_state_dict(self.net.backbone.state_dict())
        self.single = self.net
        stored = [len(task.memory.of_class(label)) for label in range(task.old)]
        fresh = [len(task.of_class(label)) for label in range(task.old, task.classes)]
        # A class without any exemplar weighs as one with a single exemplar.
        self.counts = torch.tensor([*stored, *fresh]).clamp(min=1)
        self.net = BoostedNet(self.net, backbone, task.classes, derive_seed(self.seed, task.number)).to(device)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield boosting, then compression into a student that starts as the old network."""
        yield Stage("learn", task.current, self.replayed(task), self.loss)
        if not task.number:
            return
        self.teacher = frozen_copy(self.net)
        self.net = self.single
        self.grow(task.number, task.new)
        yield Stage(
            "compress", task.current, self.replayed(task), self._compression, epochs=self.settings.compression_epochs
        )
        self.teacher = None

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        if not outputs.extra:
            return {"cross_entropy": functional.cross_entropy(outputs.logits, batch.labels)}
        weights = to_device(class_weights(self.counts, self.settings.beta), outputs.logits.device)
        old = outputs.extra["old"]
        retained = distillation(outputs.logits[:, : old.shape[1]], old, self.settings.temperature)
        own = functional.cross_entropy(outputs.extra["own"], batch.labels)
        return {
            "cross_entropy": functional.cross_entropy(outputs.logits / weights, batch.labels),
            "enhancement": self.settings.enhancement * own,
            "distillation": self.settings.weight * retained,
        }

    def _compression(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """The distillation of both networks into one, with targets that favour rare classes."""
        temperature = self.settings.temperature
        weights = to_device(class_weights(self.counts, self.settings.beta_compression), batch.images.device)
        target = (self._teach(batch.images).logits / temperature).softmax(dim=1) * weights
        target = target / target.sum(dim=1, keepdim=True)
        answers = (net(batch.images).logits / temperature).log_softmax(dim=1)
        return {"distillation": -(target * answers).sum(dim=1).mean()}
