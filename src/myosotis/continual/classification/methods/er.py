"""ER: experience replay of exemplars together with the current task."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.learner import Batch, Learner
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class ERSettings:
    """Experience replay has no settings of its own."""


class ER(Learner[ERSettings]):
    """``L = CE(z, y)`` over all classes so far, on current and remembered samples."""

    card = MethodCard(
        "er",
        "Experience replay",
        "Chaudhry et al., On tiny episodic memories in continual learning, 2019",
        "current task, exemplars",
        "exemplars",
        "The baseline that every method with a memory has to beat.",
    )
    Settings = ERSettings

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"cross_entropy": functional.cross_entropy(net(batch.images).logits, batch.labels)}
