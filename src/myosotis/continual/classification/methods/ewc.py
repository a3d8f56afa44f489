"""EWC: elastic weight consolidation."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner, TaskState
from myosotis.continual.classification.methods.lwf import Columns
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating

_CHUNK = 32


def fisher_diagonal(net: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of the squared gradients of single samples' cross-entropy, for every parameter.

    This is not the square of the mean gradient of a batch, which some implementations take.

    Args:
        net: Network that returns :class:`~myosotis.continual.classification.network.Outputs`; used in evaluation mode.
        batches: Images in [0, 1], and their true labels: the empirical Fisher information. A batch takes as many copies
            of the parameters as it has images.
    """
    with evaluating(net):
        parameters = {name: value.detach() for name, value in net.named_parameters()}
        buffers = dict(net.named_buffers())

        def sample_loss(values: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            outputs: Any = torch.func.functional_call(net, (values, buffers), (image.unsqueeze(0),))
            return functional.cross_entropy(outputs.logits, label.unsqueeze(0))

        gradient = torch.func.vmap(torch.func.grad(sample_loss), in_dims=(None, 0, 0))
        total = {name: torch.zeros_like(value) for name, value in parameters.items()}
        count = 0
        for images, labels in batches:
            count += len(labels)
            for name, value in gradient(parameters, images, labels).items():
                total[name] += value.square().sum(0)
    return {name: value / count for name, value in total.items()}


@dataclass(frozen=True)
class EWCSettings:
    """Settings of EWC.

    Attributes:
        strength: Strength λ of the penalty.
        clip: Largest importance of a weight.
        samples: Number of samples that importance is estimated from; None takes all of the task.
        columns: Classes of the cross-entropy, see :class:`~myosotis.continual.classification.methods.lwf.LwFSettings`.
    """

    strength: NonNegativeFloat = 1000.0
    clip: PositiveFloat | None = 1e-4
    samples: PositiveInt | None = None
    columns: Columns = "new"


class EWC(Learner[EWCSettings]):
    """``L = CE(z_new, y) + λ/2 Σ F_i (θ_i - θ'_i)²`` on the current task alone.

    F is the diagonal of the empirical Fisher information, merged over tasks by their share of the classes.
    """

    card = MethodCard(
        "ewc",
        "Elastic weight consolidation",
        "Kirkpatrick et al., PNAS 2017",
        "current task",
        "old weights and their importance",
        "Where neither old samples nor the old network may be used while training.",
    )
    Settings = EWCSettings
    reads_memory = False
    leaves = "The importance of the weights was summed over training samples, the forgotten ones among them."
    importance: Mapping[str, Tensor] | None = None
    anchor: Mapping[str, Tensor]

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = net(batch.images).logits
        if self.importance is None:
            return {"cross_entropy": functional.cross_entropy(logits, batch.labels)}
        known = len(self.anchor["head.weight"])
        begin = known if self.settings.columns == "new" else 0
        return {
            "cross_entropy": functional.cross_entropy(logits[:, begin:], batch.labels - begin),
            "penalty": self.settings.strength / 2 * self._distance(),
        }

    def _distance(self) -> Tensor:
        """The weighted squared distance from the old weights, without the rows of new classes."""
        assert self.importance is not None  # noqa: S101 - checked by the caller
        parts = [
            (self.importance[name] * (value[: len(old)] if value.ndim else value).sub(old).square()).sum()
            for name, value in self.net.named_parameters()
            if (old := self.anchor.get(name)) is not None
        ]
        return torch.stack(parts).sum()

    def after_task(self, task: TaskState) -> None:
        """Estimate the importance of every weight for this task, and merge it with that for earlier tasks."""
        order = torch.randperm(len(task.current), generator=generator(task.seed, "fisher", task.number))
        indices = task.current[order[: self.settings.samples]]
        device = next(self.net.parameters()).device
        batches = ((task.images(chunk), task.labels[chunk].to(device)) for chunk in indices.split(_CHUNK))
        importance = fisher_diagonal(self.net, batches)
        if self.settings.clip is not None:
            importance = {name: value.clamp(max=self.settings.clip) for name, value in importance.items()}
        if self.importance is not None:
            share = task.old / task.classes
            for name, old in self.importance.items():
                rows = slice(len(old)) if old.ndim else ...
                importance[name][rows] = share * old + (1 - share) * importance[name][rows]
        self.importance = importance
        self.anchor = {name: value.detach().clone() for name, value in self.net.named_parameters()}

    def end_state(self) -> dict[str, Tensor]:
        """Return the importance; the old weights are those of the network."""
        return dict(self.importance or {})

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        self.importance = dict(state)
        self.anchor = {name: value.detach().clone() for name, value in self.net.named_parameters()}
