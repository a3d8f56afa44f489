"""ER: experience replay of remembered samples together with current ones."""

import torch
from jaxtyping import Int
from torch import Tensor

from myosotis.continual.selfsupervised.contrast import Pair
from myosotis.continual.selfsupervised.learner import SslBatch
from myosotis.continual.selfsupervised.methods.finetune import Finetune
from myosotis.engine.method import MethodCard


class ER(Finetune):
    """The base's loss on batches to which remembered samples are added."""

    card = MethodCard(
        "er",
        "Experience replay",
        "Robins, 1995",
        "current task, memory",
        "stored samples",
        "The simplest use of a memory.",
    )
    reads_memory = True
    adds = True

    def mixed(self, batch: SslBatch) -> tuple[Pair, Int[Tensor, " n"]]:
        """Return current and remembered views."""
        if batch.memory_views is None:
            return batch.views, batch.samples
        first, second = (torch.cat(pair) for pair in zip(batch.views, batch.memory_views, strict=True))
        return (first, second), torch.cat([batch.samples, batch.memory_samples])
