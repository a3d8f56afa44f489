"""DER: dark experience replay, on stored features of remembered samples."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.selfsupervised.bases.base import Base, Step, gathered_step
from myosotis.continual.selfsupervised.contrast import at_least_single
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, SslTask
from myosotis.engine.method import MethodCard
from myosotis.models.modes import evaluating

_CHUNK = 256


@dataclass(frozen=True)
class DERSettings:
    """Settings of DER.

    Attributes:
        weight: Weight α of the term.
    """

    weight: NonNegativeFloat = 1.0


class DER(SslLearner[DERSettings]):
    """``L_SSL(current) + α mean over views of |f(b) - f_stored(b)|²`` per feature, b remembered.

    Stored features are those of the plain image when its task ended. Remembered views pass through the network together
    with current ones, so that batch statistics are of both.
    """

    card = MethodCard(
        "dark_er",
        "Dark experience replay",
        "Buzzega, Boschini, Porrello, Abati, Calderara, NeurIPS 2020, on features",
        "current task, memory",
        "stored samples and features",
        "Replays the features that a sample had.",
    )
    Settings = DERSettings
    reads_memory = True
    keeps_past = False

    def __init__(self, settings: DERSettings, base: Base[Any], encoder: nn.Module, width: int, seed: int) -> None:
        super().__init__(settings, base, encoder, width, seed)
        self._indices = torch.empty(0, dtype=torch.long)
        self._features = torch.empty(0, width)

    def loss(self, net: nn.Module, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Return both terms; an empty memory gives one."""
        if batch.memory_views is None:
            return super().loss(net, batch)
        count = len(batch.samples)
        views = [torch.cat(pair) for pair in zip(batch.views, batch.memory_views, strict=True)]
        out = net(*views)
        own = out.leading(count)
        keys = self.base.keys(batch.views)
        step = gathered_step(batch.views, batch.samples.to(views[0].device), own, keys)
        terms = {"ssl": self.base.loss(step)}
        self.base.after(step)
        stored = self._features[torch.searchsorted(self._indices, batch.memory_samples.cpu())].to(views[0].device)
        parts = [functional.mse_loss(at_least_single(features[count:]), stored) for features in out.features]
        terms["replay"] = self.settings.weight * (parts[0] + parts[1]) / 2
        return terms

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        return {"ssl": self.base.loss(step)}

    def after_task(self, task: SslTask, remembered: Int[Tensor, " n"]) -> None:
        """Store the features of samples that are new in the memory."""
        new = remembered[~torch.isin(remembered, self._indices)]
        remain = torch.isin(self._indices, remembered)
        with evaluating(self.net), torch.no_grad():
            added = [self.features(task.plain(part)).float().cpu() for part in new.split(_CHUNK)]
        indices = torch.cat([self._indices[remain], new])
        order = indices.argsort()
        self._indices = indices[order]
        self._features = torch.cat([self._features[remain], *added])[order]

    def end_state(self) -> dict[str, Tensor]:
        """Return the state of the base and the stored features."""
        return super().end_state() | {"dark.indices": self._indices, "dark.features": self._features}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_end_state(state)
        self._indices, self._features = state["dark.indices"].cpu(), state["dark.features"].cpu()
