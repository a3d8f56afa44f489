"""The base of all methods of instance-wise unlearning."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.engine.processes import to_device
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.classifier.goals import Goal


@dataclass(frozen=True)
class Samples:
    """Images in [0, 1] with their labels, on one device."""

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> "Samples":
        """Return the samples at ``indices``."""
        on_device = to_device(indices, self.labels.device)
        return Samples(self.images[on_device], self.labels[on_device])


@dataclass(frozen=True)
class Request:
    """One request to forget.

    Attributes:
        forget: Instances to forget.
        goal: Goal of the unlearning.
        new_labels: New label of each instance, for the goal ``relabel``; else None.
        num_classes: Number of classes, C.
        retain: Samples to retain, for methods that read them; else None.
        forget_batch: Forget instances per step.
        batch: Further samples per step: adversarial examples, or retained ones.
        epochs: Largest number of epochs.
        seed: Seed of every random choice.
        advance: Callback that receives the number of finished pieces of preparatory work, for the progress bar.
    """

    forget: Samples
    goal: Goal
    new_labels: Int[Tensor, " n"] | None
    num_classes: int
    retain: Samples | None
    forget_batch: int
    batch: int
    epochs: int
    seed: int
    advance: Callable[[int], None] | None = None

    def forget_indices(self, step: int) -> Tensor:
        """Return the indices of the forget instances of a step: batch after batch, in order, over and over."""
        size = min(self.forget_batch, len(self.forget))
        batches = -(-len(self.forget) // size)
        begin = step % batches * size
        return torch.arange(begin, min(begin + size, len(self.forget)))

    @property
    def forget_steps(self) -> int:
        """Number of steps that see every forget instance once."""
        return -(-len(self.forget) // min(self.forget_batch, len(self.forget)))


def step_indices(count: int, size: int, step: int, seed: int, purpose: str) -> Tensor:
    """Return the indices of a step: every epoch is a new permutation, cut into batches; the last may be shorter."""
    size = min(size, count)
    batches = -(-count // size)
    epoch, batch = divmod(step, batches)
    stream = torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))
    return torch.randperm(count, generator=stream)[batch * size : (batch + 1) * size]


@dataclass(frozen=True)
class Objective:
    """The objective of a training.

    Attributes:
        steps_per_epoch: Steps per epoch; 0 where there is nothing to train.
        terms: Function from the model and the step, counting from 0, to named terms whose sum is the loss.
        after_step: Callback after each step of the optimiser.
        facts: Figures about the preparation, e.g. the success rate of an attack.
        held: Samples whose predictions the loss preserves; without retained samples, they show damage.
        new_labels: The answer that each instance is to get, for the goal ``as_unseen``.
    """

    steps_per_epoch: int
    terms: Callable[[nn.Module, int], Mapping[str, Tensor]]
    after_step: Callable[[], None] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    held: Samples | None = None
    new_labels: Int[Tensor, " n"] | None = None


class Method(ABC):
    """One method: its settings are its fields.

    Attributes:
        card: Description for users.
        goals: Goals that the method supports.
        reads_retain: Whether the method reads retained samples.
        stops_at_goal: Whether training stops once the goal is reached, or only after its epochs, as in its paper.
        from_scratch: Whether the method trains fresh weights, so that every module is in training mode.
    """

    card: ClassVar[MethodCard]
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify",)
    reads_retain: ClassVar[bool] = False
    stops_at_goal: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False

    @abstractmethod
    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Prepare the training and return its objective.

        Args:
            model: Model to train; may be changed here.
            original: Model before unlearning, in evaluation mode; not to be changed.
            request: Request to unlearn.
        """

    def steps_to_begin(self, forget: int, batch: int) -> int:
        """Return how many steps of a network :meth:`begin` takes, for a forecast.

        Args:
            forget: Number of instances to forget.
            batch: Further samples per step.
        """
        return 0


def retained(request: Request) -> Samples:
    """Return the retained samples of a request; raise if there are none."""
    if request.retain is None or not len(request.retain):
        raise SettingsError("the method reads retained samples, but the request has none")
    return request.retain


def evaluation_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients."""
    twin = copy.deepcopy(model).eval()
    twin.zero_grad(set_to_none=True)
    return twin
