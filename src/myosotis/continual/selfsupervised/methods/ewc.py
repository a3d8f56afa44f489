"""EWC: elastic weight consolidation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step
from myosotis.continual.selfsupervised.gather import mean_over_processes
from myosotis.continual.selfsupervised.learner import SslBatch, SslLearner, SslTask
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.models.modes import evaluating


@dataclass(frozen=True)
class EWCSettings:
    """Settings of EWC.

    Attributes:
        weight: Weight λ of the term.
        group: Samples whose mean gradient is squared, as a contrast needs several; few, since the squares of means over
            many samples vanish.
        groups: Largest number of groups that the importance is a mean of.
    """

    weight: PositiveFloat = 100.0
    group: Annotated[int, Field(ge=2)] = 16
    groups: PositiveInt = 128


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
        self._importance = {name: torch.zeros_like(weight) for name, weight in self._regularised()}
        self._anchor = {name: weight.detach().clone() for name, weight in self._regularised()}
        self._any = False

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless a group fits into a batch."""
        if batch < self.settings.group:
            raise SettingsError(f"method 'ewc': a batch of {batch} is smaller than 'group', {self.settings.group}")

    def _regularised(self) -> list[tuple[str, nn.Parameter]]:
        parts = (("encoder", self.net.encoder), ("projector", self.net.projector))
        return [(f"{part}.{name}", weight) for part, module in parts for name, weight in module.named_parameters()]

    def to(self, device: torch.device) -> None:
        super().to(device)
        self._importance = {name: value.to(device) for name, value in self._importance.items()}
        self._anchor = {name: value.to(device) for name, value in self._anchor.items()}

    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:  # noqa: ARG002
        """Return both terms; the first task has one."""
        terms = {"ssl": self.base.loss(step)}
        if self._any:
            parts = [
                (self._importance[name] * (weight - self._anchor[name]).square()).sum()
                for name, weight in self._regularised()
            ]
            terms["penalty"] = self.settings.weight / 2 * torch.stack(parts).sum()
        return terms

    def after_task(self, task: SslTask, remembered: Int[Tensor, " n"]) -> None:  # noqa: ARG002
        """Add the importance for this task, and store the weights."""
        weights = dict(self._regularised())
        sums = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        count = 0
        with evaluating(self.net):
            for views, samples in task.batches():
                for begin in range(0, len(samples) - self.settings.group + 1, self.settings.group):
                    if count == self.settings.groups:
                        break
                    part = slice(begin, begin + self.settings.group)
                    pair = views[0][part], views[1][part]
                    own = samples[part].to(pair[0].device)
                    step = Step(pair, own, self.net(*pair), self.base.keys(pair))
                    gradients = torch.autograd.grad(self.base.loss(step), list(weights.values()), allow_unused=True)
                    for name, gradient in zip(weights, gradients, strict=True):
                        if gradient is not None:
                            sums[name] += gradient.square()
                    count += 1
        for name, weight in weights.items():
            self._importance[name] += mean_over_processes(sums[name] / count)
            self._anchor[name] = weight.detach().clone()
        self._any = True

    def end_state(self) -> dict[str, Tensor]:
        """Return the state of the base, importances and anchors."""
        state = super().end_state() | {"ewc.any": torch.tensor(self._any)}
        state |= {f"ewc.importance.{name}": value for name, value in self._importance.items()}
        return state | {f"ewc.anchor.{name}": value for name, value in self._anchor.items()}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        super().load_end_state(state)
        self._any = bool(state["ewc.any"])
        for kind, own in (("importance", self._importance), ("anchor", self._anchor)):
            for name in own:
                own[name] = state[f"ewc.{kind}.{name}"].to(own[name].device)
