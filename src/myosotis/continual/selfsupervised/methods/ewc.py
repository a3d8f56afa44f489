"""EWC: weights that mattered stay."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.gather import mean_over_processes
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, SslTask
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import Count, MethodCard, Positive
from myosotis.models.modes import evaluating


@dataclass(frozen=True)
class EWCSettings:
    """How weights are held.

    Attributes:
        weight: λ.
        group: Samples whose gradient is squared together, as a contrast needs several; few, since squares of means of
            many are near nothing.
        groups: How many groups the importance is a mean of, at most.
    """

    weight: Positive = 100.0
    group: Annotated[int, Field(ge=2)] = 16
    groups: Count = 128


class EWC(SslLearner[EWCSettings]):
    """``L_SSL + λ/2 sum_i F_i (θ_i - θ_i*)²`` over encoder and projector; F of all tasks before is summed."""

    card = MethodCard(
        "ewc",
        "EWC",
        "Kirkpatrick et al., PNAS 2017",
        "current task",
        "importance of every weight",
        "Regularises weights, not what they compute.",
    )
    Settings = EWCSettings
    keeps_past = False

    def __init__(self, settings: EWCSettings, base: Base[Any], encoder: nn.Module, width: int, seed: int) -> None:
        super().__init__(settings, base, encoder, width, seed)
        self._importance = {name: torch.zeros_like(one) for name, one in self._held()}
        self._anchor = {name: one.detach().clone() for name, one in self._held()}
        self._any = False

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless a group fits into a batch."""
        if batch < self.settings.group:
            raise SettingsError(f"method 'ewc': a batch of {batch} is smaller than 'group', {self.settings.group}")

    def _held(self) -> list[tuple[str, nn.Parameter]]:
        parts = (("encoder", self.net.encoder), ("projector", self.net.projector))
        return [(f"{part}.{name}", one) for part, module in parts for name, one in module.named_parameters()]

    def to(self, device: torch.device) -> None:
        """Move everything to a device."""
        super().to(device)
        self._importance = {name: one.to(device) for name, one in self._importance.items()}
        self._anchor = {name: one.to(device) for name, one in self._anchor.items()}

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return both terms; in the first task there is one."""
        terms = {"ssl": self.base.loss(step)}
        if self._any:
            parts = [(self._importance[name] * (one - self._anchor[name]).square()).sum() for name, one in self._held()]
            terms["penalty"] = self.settings.weight / 2 * torch.stack(parts).sum()
        return terms

    def after_task(self, task: SslTask, remembered: Int[Tensor, " n"]) -> None:  # noqa: ARG002
        """Add the importance for this task, and hold the weights where they are."""
        held = dict(self._held())
        sums = {name: torch.zeros_like(one) for name, one in held.items()}
        done = 0
        with evaluating(self.net):
            for views, samples in task.batches():
                for begin in range(0, len(samples) - self.settings.group + 1, self.settings.group):
                    if done == self.settings.groups:
                        break
                    part = slice(begin, begin + self.settings.group)
                    some = views[0][part], views[1][part]
                    own = samples[part].to(some[0].device)
                    step = Step(some, own, self.net(*some), self.base.keys(some))
                    gradients = torch.autograd.grad(self.base.loss(step), list(held.values()), allow_unused=True)
                    for name, gradient in zip(held, gradients, strict=True):
                        if gradient is not None:
                            sums[name] += gradient.square()
                    done += 1
        for name, one in held.items():
            self._importance[name] += mean_over_processes(sums[name] / done)
            self._anchor[name] = one.detach().clone()
        self._any = True

    def end_state(self) -> dict[str, Tensor]:
        """Return importances and anchors too."""
        found = super().end_state() | {"ewc.any": torch.tensor(self._any)}
        found |= {f"ewc.importance.{name}": one for name, one in self._importance.items()}
        return found | {f"ewc.anchor.{name}": one for name, one in self._anchor.items()}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        """Take them up again."""
        super().load_end_state(state)
        self._any = bool(state["ewc.any"])
        for kind, own in (("importance", self._importance), ("anchor", self._anchor)):
            for name in own:
                own[name] = state[f"ewc.{kind}.{name}"].to(own[name].device)
