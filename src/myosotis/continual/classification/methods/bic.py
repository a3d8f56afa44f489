"""Bias correction."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from pydantic import PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import proportional_distillation
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.network import IncrementalNet, Outputs
from myosotis.engine.method import Fraction, MethodCard
from myosotis.engine.seeding import generator
from myosotis.models.backbone import Backbone
from myosotis.models.heads import LinearHead


class BiasCorrectedNet(IncrementalNet):
    """A network whose logits of task t are ``a_t z + b_t``, with a pair of parameters for each task."""

    def __init__(self, backbone: Backbone, head: LinearHead) -> None:
        super().__init__(backbone, head)
        self.sizes: list[int] = []
        self.pairs = nn.ParameterList()

    def grow(self, count: int, generator: torch.Generator) -> None:
        """Add new classes, with the identity as their correction."""
        super().grow(count, generator)
        self.sizes.append(count)
        pair = torch.tensor([1.0, 0.0], device=self.head.weight.device)
        self.pairs.append(nn.Parameter(pair, requires_grad=False))

    def correct(self, logits: Float[Tensor, "n classes"]) -> Float[Tensor, "n classes"]:
        """Return the logits with the correction of each task."""
        parts = [a_b[0] * part + a_b[1] for a_b, part in zip(self.pairs, logits.split(self.sizes, dim=1), strict=True)]
        return torch.cat(parts, dim=1)

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        outputs = super().forward(images)
        return Outputs(self.correct(outputs.logits), outputs.features, outputs.maps)


@dataclass(frozen=True)
class BiCSettings:
    """Settings of BiC.

    Attributes:
        temperature: Temperature T of the distillation.
        validation: Share of the exemplars, and as many new samples, that are held out for the correction.
        bias_epochs: Epochs of the correction; None takes those of the task.
        bias_learning_rate: Learning rate of the correction; None takes that of the task.
    """

    temperature: PositiveFloat = 2.0
    validation: Fraction = 0.1
    bias_epochs: PositiveInt | None = None
    bias_learning_rate: PositiveFloat | None = None


class BiC(Learner[BiCSettings]):
    """First ``(1 - λ) CE + λ KD_T`` with λ = C_o / C, then two parameters for new classes, fitted on held-out samples.

    Every task has two parameters of its own, in the old network too.
    """

    card = MethodCard(
        "bic",
        "Bias correction",
        "Wu, Chen, Wang, Ye, Liu, Guo, Fu, Large scale incremental learning, CVPR 2019",
        "current task, exemplars",
        "exemplars, the old network",
        "For memories that are large enough to hold some exemplars out.",
    )
    Settings = BiCSettings
    needs_memory = True
    least_exemplars = 2

    def build(self, seed: int) -> nn.Module:
        backbone = self._make_backbone(seed)
        return BiasCorrectedNet(backbone, LinearHead(backbone.num_features))

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield the training of the network, then that of the new correction."""
        if not task.number:
            yield Stage("learn", task.current, self.replayed(task), self.loss)
            return
        current, old, held_current, held_old = self._split(task)
        yield Stage("learn", current, old, self.loss)
        pair = self.net.pairs[-1].requires_grad_(True)
        yield Stage(
            "bias",
            held_current,
            held_old,
            self._bias_loss,
            epochs=self.settings.bias_epochs,
            learning_rate=self.settings.bias_learning_rate,
            parameters=[pair],
            weight_decay=0.0,
            train=False,
            balanced=True,
        )
        pair.requires_grad_(False)

    def _split(self, task: TaskState) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Training samples, current and old, and held-out samples, equally many of every class, current and old."""
        stored = min(len(task.memory.of_class(label)) for label in range(task.old))
        count = min(max(1, round(self.settings.validation * stored)), stored - 1)
        held: dict[bool, list[int]] = {False: [], True: []}
        for label in range(task.classes):
            indices = torch.tensor(task.memory.of_class(label)) if label < task.old else task.of_class(label)
            stream = generator(task.seed, "bias validation", task.number, label)
            held[label < task.old] += indices[torch.randperm(len(indices), generator=stream)[:count]].tolist()
        held_current, held_old = (torch.tensor(sorted(held[is_old])) for is_old in (False, True))
        current, old = task.current, task.memory.indices()
        return (
            current[~torch.isin(current, held_current)],
            old[~torch.isin(old, held_old)],
            held_current,
            held_old,
        )

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        old = None if self.teacher is None else self._teach(batch.images).logits
        return proportional_distillation(net(batch.images).logits, batch.labels, old, self.settings.temperature)

    def _bias_loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(net(batch.images).logits, batch.labels)}

    def linear_head(self) -> tuple[Float[Tensor, "classes features"], Float[Tensor, " classes"]]:
        """Fold the corrections into the head."""
        sizes = torch.tensor(self.net.sizes)
        a_b = torch.stack([pair.detach().cpu() for pair in self.net.pairs]).repeat_interleave(sizes, dim=0)
        a, b = a_b.to(self.net.head.weight.device).unbind(1)
        return a.unsqueeze(1) * self.net.head.weight.detach(), a * self.net.head.bias.detach() + b
