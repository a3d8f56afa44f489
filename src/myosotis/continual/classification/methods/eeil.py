"""EEIL: end-to-end incremental learning."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import distillation
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.network import frozen_copy
from myosotis.engine.method import MethodCard


@dataclass(frozen=True)
class EEILSettings:
    """Settings of EEIL.

    Attributes:
        weight: Weight of the distillation.
        temperature: Temperature T of the distillation.
        balanced_epochs: Epochs of the fine-tuning on equally many samples of every class.
        balanced_rate: Learning rate of the fine-tuning, as a multiple of the task's.
    """

    weight: NonNegativeFloat = 1.0
    temperature: PositiveFloat = 2.0
    balanced_epochs: PositiveInt = 40
    balanced_rate: PositiveFloat = 0.1


class EEIL(Learner[EEILSettings]):
    """``L = CE(z, y) + λ Σ_t KD_T(z_t, z'_t)``, a softmax within each old task; then the same on a balanced set.

    While fine-tuning, the newest task is distilled too, from the network before the fine-tuning.
    """

    card = MethodCard(
        "eeil",
        "End-to-end incremental learning",
        "Castro, Marín-Jiménez, Guil, Schmid, Alahari, ECCV 2018",
        "current task, exemplars",
        "exemplars, the old network",
        "Balances the whole network in a second training stage.",
    )
    Settings = EEILSettings
    needs_memory = True
    least_exemplars = 1

    def before_task(self, task: TaskState) -> None:
        """Copy the old network, and store the sizes of the tasks that it knows."""
        super().before_task(task)
        self.taught = task.sizes[:-1]

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield the training, then the balanced one."""
        yield Stage("learn", task.current, self.replayed(task), self.loss)
        if not task.number:
            return
        self.newest, self.taught = frozen_copy(self.net), task.sizes
        current, old = task.balanced(self.net)
        yield Stage(
            "balanced",
            current,
            old,
            self.loss,
            epochs=self.settings.balanced_epochs,
            learning_rate=self.settings.balanced_rate * task.learning_rate,
            balanced=True,
        )

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        logits = net(batch.images).logits
        terms = {"cross_entropy": functional.cross_entropy(logits, batch.labels)}
        if not self.taught or self.teacher is None:
            return terms
        old = self._teach(batch.images).logits
        if sum(self.taught) > old.shape[1]:
            with torch.no_grad():
                newest = self.newest(batch.images).logits
            old = torch.cat([old, newest[:, old.shape[1] :]], dim=1)
        sizes = list(self.taught)
        parts = [
            distillation(new_part, old_part, self.settings.temperature)
            for new_part, old_part in zip(
                logits[:, : sum(sizes)].split(sizes, dim=1), old.split(sizes, dim=1), strict=True
            )
        ]
        terms["distillation"] = self.settings.weight * torch.stack(parts).sum()
        return terms
