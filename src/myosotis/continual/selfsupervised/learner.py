"""The interface of methods of continual self-supervised learning: a base, a network and hooks."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.selfsupervised.bases.base import Base, Step, gathered_step
from myosotis.continual.selfsupervised.contrast import Pair, unit_pair
from myosotis.continual.selfsupervised.gather import gathered
from myosotis.continual.selfsupervised.network import Reads, SslNetwork, perceptron
from myosotis.continual.selfsupervised.past import PastModel
from myosotis.continual.stream import SettingsT, StreamLearner
from myosotis.engine.processes import to_device
from myosotis.engine.seeding import derive_seed, seeded

Batches = Callable[[], Iterator[tuple[Pair, Int[Tensor, " batch"]]]]


@dataclass(frozen=True)
class SslBatch:
    """This process's part of a batch.

    Attributes:
        views: Both views of current samples.
        samples: Indices of current samples in the data set.
        memory_views: Both views of remembered samples; None without a memory or while it is empty.
        memory_samples: Indices of remembered samples.
        seed: Seed of a method's draws for this batch, the same in all processes.
    """

    views: Pair
    samples: Int[Tensor, " batch"]
    memory_views: Pair | None
    memory_samples: Int[Tensor, " remembered"]
    seed: int


@dataclass(frozen=True)
class SslTask:
    """The data of a task that a method may read before and after it learns the task.

    Attributes:
        number: Index of the task.
        batches: Function that yields views and indices of the task's samples in batches.
        plain: Function from indices to images without augmentation, in [0, 1].
        kind: Kind of the stream: ``"class"``, ``"data"`` or ``"domain"``.
        seed: Seed of a method's draws before the task.
    """

    number: int
    batches: Batches
    plain: Callable[[Int[Tensor, " n"]], Tensor]
    kind: str = "class"
    seed: int = 0


class SslLearner(StreamLearner[SettingsT]):
    """A method of continual self-supervised learning.

    Args:
        settings: Settings of the method.
        base: New base.
        encoder: New network from images in [0, 1] to features.
        width: Number of features.
        seed: Seed of the projector and of all other new weights.
    """

    reads_memory: ClassVar[bool] = False
    """Whether its batches hold remembered samples."""
    adds: ClassVar[bool] = False
    """Whether remembered samples are added to the batches of the base."""
    mixes: ClassVar[bool] = False
    """Whether it mixes each current sample with a remembered one."""
    sees_all: ClassVar[bool] = False
    """Whether all tasks are learnt at once."""
    keeps_past: ClassVar[bool] = True
    """Whether it needs the network of the previous task."""

    def __init__(self, settings: SettingsT, base: Base[Any], encoder: nn.Module, width: int, seed: int) -> None:
        self.settings, self.base, self.width = settings, base, width
        with seeded(derive_seed(seed, "heads")):
            projector, predictor, distiller = base.projector(width), base.predictor(), self.distiller()
        self.net = SslNetwork(encoder, projector, predictor, distiller, self.reads())
        self.net.distil(active=False)
        base.attach(self.net)
        self.past: PastModel | None = None

    def reads(self) -> Reads:
        """Return the input of the distiller."""
        return "unit embeddings" if self.base.unit else "embeddings"

    def distiller(self) -> nn.Module | None:
        """Return a new network that predicts embeddings of the past model; by default there is none."""
        return None

    def to(self, device: torch.device) -> None:
        super().to(device)
        self.base.to(device)
        self.arrange(self.base, device)  # its momentum copy
        if self.past is not None:
            self.past.to(device)

    def buffers(self) -> Iterator[Tensor]:
        """Yield running statistics and the queue of the base."""
        return self.base.buffers()

    # A task ---------------------------------------------------------------------------------------------------------

    def check_batch(self, batch: int) -> None:
        """Raise ``SettingsError`` unless batches of this size in each process suit."""

    def before_task(self, task: SslTask) -> None:
        """Prepare the task: from the second task on copy the old network."""
        if task.number and self.keeps_past:
            self.past = PastModel(self.net.encoder, self.net.projector).to(next(self.net.parameters()).device)
            self.net.distil(active=True)
        self.base.begin_task(
            task.batches(), torch.Generator().manual_seed(derive_seed(task.seed, "queue", task.number))
        )

    def mixed(self, batch: SslBatch) -> tuple[Pair, Int[Tensor, " n"]]:
        """Return the input views of the network and their indices; by default those of current samples."""
        return batch.views, batch.samples

    def loss(self, net: nn.Module, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Return the named terms whose sum is minimised, and update the base with the batch.

        Args:
            net: Network, wrapped if there are several processes.
            batch: Batch of this process.
        """
        views, samples = self.mixed(batch)
        step = gathered_step(views, to_device(samples, views[0].device), net(*views), self.base.keys(views))
        terms = self.terms(step, batch)
        self.base.after(step)
        return terms

    @abstractmethod
    def terms(self, step: Step, batch: SslBatch) -> Mapping[str, Float[Tensor, ""]]:
        """Return the terms of a batch."""

    def after_update(self, progress: float) -> None:
        """Update the base after a step; ``progress`` is the share of the task's steps before this one."""
        self.base.after_update(self.net, progress)

    def after_task(self, task: SslTask, remembered: Int[Tensor, " n"]) -> None:
        """Finish the task; ``remembered`` are the indices in the memory. By default there is nothing to do."""

    # State beside the network ---------------------------------------------------------------------------------------

    def end_state(self) -> dict[str, Tensor]:
        return {f"base.{name}": value for name, value in self.base.state_dict().items()}

    def load_end_state(self, state: Mapping[str, Tensor]) -> None:
        own = {name.removeprefix("base."): value for name, value in state.items() if name.startswith("base.")}
        self.base.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that changes within a task beside the network, and the past model."""
        past = {} if self.past is None else self.past.state_dict()
        return {"end": self.end_state(), "past": past}

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        self.load_end_state(state["end"])
        if self.past is not None:
            self.past.load_state_dict(state["past"])

    # Answers --------------------------------------------------------------------------------------------------------

    def features(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n features"]:
        """Return features of plain images; the network is in evaluation mode."""
        features: Tensor = self.net.encoder(images)
        return features


class Distilled(SslLearner[SettingsT]):
    """A method with a network that predicts embeddings of the past model; its settings have a ``hidden`` width."""

    def distiller(self) -> nn.Module:
        """Return two linear layers with normalisation."""
        width = self.width if self.reads() == "features" else self.base.dim
        settings: Any = self.settings
        return perceptron(width, settings.hidden, width, norm=True)


def past_of(past: PastModel, step: Step, *, unit: bool) -> Pair:
    """Return the past model's embeddings of the views of a step, of all processes."""
    embeddings = gathered(past(step.views[0])[1]), gathered(past(step.views[1])[1])
    return unit_pair(embeddings) if unit else embeddings
