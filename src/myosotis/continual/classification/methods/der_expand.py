"""DER: dynamically expandable representation. Dark experience replay is another method, ``dark_er``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.continual.classification.methods.wa import align_rows
from myosotis.continual.classification.network import Outputs
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed, seeded
from myosotis.models.backbone import Backbone
from myosotis.models.heads import LinearHead


class ExpandableNet(nn.Module):
    """A backbone for each task, all under one head; only the newest is trained, older ones stay in evaluation mode.

    Args:
        make_backbone: Function from a seed to a new backbone.
    """

    def __init__(self, make_backbone: Callable[[int], Backbone]) -> None:
        super().__init__()
        self._make_backbone = make_backbone
        self.backbones = nn.ModuleList()
        self.head = LinearHead(0)
        self.auxiliary: nn.Linear | None = None

    def grow(self, count: int, generator: torch.Generator) -> None:
        """Add a backbone, which starts from the newest one, and columns and rows to the head."""
        device = self.head.weight.device
        fresh = self._make_backbone(int(torch.randint(2**31, (1,), generator=generator)))
        if len(self.backbones):
            fresh.load_state_dict(self.backbones[-1].state_dict())
            self.backbones.requires_grad_(False)
        self.backbones.append(fresh.to(device))
        old, width = self.head, fresh.num_features
        self.head = LinearHead(width * len(self.backbones))
        self.head.grow(old.num_classes + count, generator)
        self.head.to(device)
        with torch.no_grad():
            self.head.weight[: old.num_classes, : old.weight.shape[1]] = old.weight
            self.head.bias[: old.num_classes] = old.bias
        self.auxiliary = None
        if len(self.backbones) > 1:
            with seeded(int(torch.randint(2**31, (1,), generator=generator))):
                self.auxiliary = nn.Linear(width, count + 1).to(device)

    def train(self, mode: bool = True) -> "ExpandableNet":
        """Set the mode of all modules but the old backbones."""
        super().train(mode)
        for backbone in self.backbones[:-1]:
            backbone.eval()
        return self

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return logits from all features together, and the auxiliary ones from the newest."""
        with torch.no_grad():
            old = [backbone(images).features for backbone in self.backbones[:-1]]
        newest = self.backbones[-1](images)
        features = torch.cat([*old, newest.features], dim=1)
        extra = {} if self.auxiliary is None else {"auxiliary": self.auxiliary(newest.features)}
        return Outputs(self.head(features), features, newest.maps, extra)


@dataclass(frozen=True)
class DERSettings:
    """Settings of DER.

    Attributes:
        auxiliary: Weight of the loss that separates new classes from each other and from all old ones.
        align: Whether the head is aligned afterwards, see ``wa``, as in PyCIL; the paper retrains it on a balanced set.
    """

    auxiliary: NonNegativeFloat = 1.0
    align: bool = True


class DER(Learner[DERSettings]):
    """A new backbone for each task beside frozen old ones, ``L = CE(z, y) + λ CE(auxiliary, old or which new)``.

    Without the channel masks and the pruning of the paper, as in PyCIL: the network grows with every task.
    """

    card = MethodCard(
        "der_expand",
        "DER (expandable)",
        "Yan, Xie, He, CVPR 2021",
        "current task, exemplars",
        "exemplars, a backbone for each task",
        "Where accuracy matters more than the size of the network.",
    )
    Settings = DERSettings
    leaves = "The bodies of earlier tasks are frozen: unlearning trains the newest one and the head."

    def build(self, seed: int) -> nn.Module:
        return ExpandableNet(lambda number: self._make_backbone(derive_seed(seed, "expand", number)))

    def before_task(self, task: TaskState) -> None:
        """Grow; the old backbones are the old network."""
        self.grow(task.number, task.new)

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        terms = {"cross_entropy": functional.cross_entropy(outputs.logits, batch.labels)}
        if "auxiliary" in outputs.extra:
            known = outputs.logits.shape[1] - outputs.extra["auxiliary"].shape[1] + 1
            target = (batch.labels - known + 1).clamp(min=0)
            terms["auxiliary"] = self.settings.auxiliary * functional.cross_entropy(outputs.extra["auxiliary"], target)
        return terms

    def encoder(self) -> Backbone:
        first: Backbone = self.net.backbones[0]
        return first

    def after_task(self, task: TaskState) -> None:
        if task.number and self.settings.align:
            align_rows(self.net.head.weight, task.old)

    def inference_parameters(self) -> int:
        """Return the number of parameters without the auxiliary head."""
        auxiliary = (
            0 if self.net.auxiliary is None else sum(weight.numel() for weight in self.net.auxiliary.parameters())
        )
        return super().inference_parameters() - auxiliary

    def linear_head(self) -> None:
        """Return None: there are several backbones."""
