"""What every method of instance-wise unlearning is made of."""

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
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.classifier.goals import Goal


@dataclass(frozen=True)
class Samples:
    """Images in [0, 1] with their labels, on one device."""

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, places: Tensor) -> "Samples":
        """Return the samples at ``places``."""
        where = places.to(self.labels.device)
        return Samples(self.images[where], self.labels[where])


@dataclass(frozen=True)
class Request:
    """One request to forget.

    Attributes:
        forget: The instances.
        goal: What is asked for.
        new_labels: Of each instance, for the goal ``relabel``; else None.
        num_classes: C.
        retain: What is to be kept, for methods that read it; else None.
        forget_batch: How many forget instances a step sees.
        batch: How many further samples a step sees: adversarial examples, or retained ones.
        epochs: How long training lasts at most.
        seed: Of every random choice.
        advance: Called with a number of pieces of preparatory work, for the display of progress.
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

    def forget_places(self, step: int) -> Tensor:
        """The places of the forget instances of a step: batch after batch, in order, over and over."""
        size = min(self.forget_batch, len(self.forget))
        batches = -(-len(self.forget) // size)
        begin = step % batches * size
        return torch.arange(begin, min(begin + size, len(self.forget)))

    @property
    def forget_steps(self) -> int:
        """How many steps see every forget instance once."""
        return -(-len(self.forget) // min(self.forget_batch, len(self.forget)))


def places_of_step(count: int, size: int, step: int, seed: int, purpose: str) -> Tensor:
    """Places of the samples of a step: every epoch is a new permutation, cut into batches; the last may be shorter."""
    size = min(size, count)
    batches = -(-count // size)
    epoch, place = divmod(step, batches)
    stream = torch.Generator().manual_seed(derive_seed(seed, purpose, epoch))
    return torch.randperm(count, generator=stream)[place * size : (place + 1) * size]


@dataclass(frozen=True)
class Objective:
    """What is minimised.

    Attributes:
        steps_per_epoch: Steps that make an epoch; 0 where there is nothing to train.
        terms: From the model and the step, counting from 0, to named terms whose sum is the loss.
        after_step: Called after each step of the optimiser.
        facts: Figures about the preparation, e.g. the success rate of an attack.
        held: Samples whose answers the loss holds in place: without retained samples, what tells of damage.
    """

    steps_per_epoch: int
    terms: Callable[[nn.Module, int], Mapping[str, Tensor]]
    after_step: Callable[[], None] | None = None
    facts: Mapping[str, float] = field(default_factory=dict)
    held: Samples | None = None


class Method(ABC):
    """One method: its settings are its fields.

    Attributes:
        card: What a user wants to know of it.
        goals: The goals that its loss can ask for.
        reads_retain: Whether it reads samples that are to be kept.
        stops_at_goal: Whether training ends where the goal is reached, or after its epochs, as its paper has it.
        from_scratch: Whether it trains fresh weights, so that every module is in training mode.
    """

    card: ClassVar[MethodCard]
    goals: ClassVar[tuple[Goal, ...]] = ("misclassify",)
    reads_retain: ClassVar[bool] = False
    stops_at_goal: ClassVar[bool] = True
    from_scratch: ClassVar[bool] = False

    @abstractmethod
    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Prepare, and return what is minimised.

        Args:
            model: The one that is trained; may be changed here.
            original: The one that came in, in evaluation mode; not to be changed.
            request: What is to be forgotten.
        """


def retained(request: Request) -> Samples:
    """The retained samples of a request to a method that reads them."""
    if request.retain is None or not len(request.retain):
        raise SettingsError("this method reads retained samples, and there are none")
    return request.retain


def evaluation_copy(model: nn.Module) -> nn.Module:
    """Return a copy in evaluation mode, without gradients."""
    twin = copy.deepcopy(model).eval()
    twin.zero_grad(set_to_none=True)
    return twin
