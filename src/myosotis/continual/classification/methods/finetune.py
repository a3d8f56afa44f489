"""Fine-tuning: training on each task without any measure against forgetting."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class FinetuneSettings:
    """Fine-tuning has no settings."""


class Finetune(Learner[FinetuneSettings]):
    """``L = CE(z, y)`` over all classes so far, on the current task alone: the lower bound."""

    card = MethodCard(
        "finetune", "Fine-tuning", "the usual lower bound", "current task", "nothing", "Shows the cost of forgetting."
    )
    Settings = FinetuneSettings
    reads_memory = False

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(net(batch.images).logits, batch.labels)}
