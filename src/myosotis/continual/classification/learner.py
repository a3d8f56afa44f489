"""What every method of class-incremental learning is made of: four short hooks around one training loop."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.classification.network import IncrementalNet, frozen_copy
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.stream import SettingsT, StreamLearner
from myosotis.engine.seeding import generator
from myosotis.models.backbone import Backbone
from myosotis.models.heads import GrowingHead, LinearHead
from myosotis.models.modes import evaluating

_CHUNK = 500  # images looked at together where no gradient is needed


@dataclass(frozen=True)
class Batch:
    """Samples of the current task, then remembered ones.

    Attributes:
        images: In [0, 1], augmented.
        labels: In the order of arrival.
        places: Of each sample in the data set.
        n_current: How many come from the current task.
    """

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    places: Int[Tensor, " n"]
    n_current: int


@dataclass(frozen=True)
class TaskState:
    """A task, and all that may be looked at while it is learnt.

    Attributes:
        sizes: Classes of each task so far; the last is this one.
        current: Places of its training samples.
        seen: Places of the training samples of all tasks so far; for joint training alone.
        memory: The exemplars.
        labels: Of all training samples, by place.
        images: From places to images in [0, 1], as they are, on the device of the network.
        epochs: Of the training of a task.
        learning_rate: Likewise.
        seed: Of every random choice.
    """

    sizes: tuple[int, ...]
    current: Int[Tensor, " n"]
    seen: Int[Tensor, " m"]
    memory: ExemplarMemory
    labels: Int[Tensor, " all"]
    images: Callable[[Int[Tensor, " k"]], Float[Tensor, "k channels height width"]]
    epochs: int
    learning_rate: float
    seed: int

    @property
    def number(self) -> int:
        """T, how many tasks came before."""
        return len(self.sizes) - 1

    @property
    def new(self) -> int:
        """C_n, classes of this task."""
        return self.sizes[-1]

    @property
    def old(self) -> int:
        """C_o, classes of the tasks before."""
        return sum(self.sizes[:-1])

    @property
    def classes(self) -> int:
        """C, classes so far."""
        return sum(self.sizes)

    def of_class(self, label: int) -> Int[Tensor, " k"]:
        """Return the places of this task's samples of a class."""
        return self.current[self.labels[self.current] == label]

    def features(self, net: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return a function from places to what ``net`` sees there, in evaluation mode."""

        def look(places: Tensor) -> Tensor:
            with evaluating(net), torch.no_grad():
                return torch.cat([net(self.images(part)).features for part in places.split(_CHUNK)])

        return look

    def balanced(self, net: nn.Module) -> tuple[Int[Tensor, " new"], Int[Tensor, " old"]]:
        """Return the same number of samples of every class: those of this task, and those of earlier ones.

        Old ones are the best of the memory, new ones those that herding or a draw would take up at this moment.
        """
        quota = self.memory.quota(self.classes)
        look = self.features(net)
        new = [
            place
            for label in range(self.old, self.classes)
            for place in self.memory.choose(label, self.of_class(label), quota, look)
        ]
        old = [place for label in range(self.old) for place in self.memory.of_class(label)[:quota]]
        return torch.tensor(sorted(new), dtype=torch.long), torch.tensor(sorted(old), dtype=torch.long)


Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Stage:
    """One training among those that a task takes.

    Attributes:
        name: Unique within the task.
        current: Places of the samples that count as the current task's.
        memory: Places of remembered samples; or what returns those that there are at a step, where they change.
        loss: From the network and a batch to named terms, whose sum is minimised.
        epochs: How many; None as the configuration says.
        learning_rate: None as the configuration says.
        parameters: What is trained; None: whatever wants a gradient. All else keeps still.
        weight_decay: None as the configuration says.
        train: Whether the network is in training mode.
        balanced: Whether both kinds of samples are mixed as they are, and batch statistics taken of all alike.
    """

    name: str
    current: Int[Tensor, " n"]
    memory: Int[Tensor, " m"] | Callable[[], Int[Tensor, " m"]]
    loss: Loss
    epochs: int | None = None
    learning_rate: float | None = None
    parameters: Iterable[nn.Parameter] | None = None
    weight_decay: float | None = None
    train: bool = True
    balanced: bool = False


class Learner(StreamLearner[SettingsT]):
    """A method of class-incremental learning. Its hooks are :meth:`before_task`, :meth:`loss`, :meth:`after_task`
    and :meth:`predict`; a method with more than one training in a task says so in :meth:`stages`.

    Args:
        settings: Of the method.
        make_backbone: Returns a new backbone from a seed.
        seed: Of every random choice.
    """

    signed_features: ClassVar[bool] = False
    """Whether the last ReLU of the backbone is left out."""
    needs_memory: ClassVar[bool] = False
    """Whether the method requires exemplars."""
    reads_memory: ClassVar[bool] = True
    """Whether its batches hold remembered samples."""
    least_exemplars: ClassVar[int] = 0
    """Exemplars of every class that the method requires; 0 if some classes may have none."""
    own_memory: ClassVar[bool] = False
    """Whether these come from a memory that the method itself fills at every step, which needs a single process."""

    def __init__(self, settings: SettingsT, make_backbone: Callable[[int], Backbone], seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._make_backbone = make_backbone
        self.net: Any = self.build(seed)
        self.teacher: Any = None

    def build(self, seed: int) -> nn.Module:
        """Return a new network without any class."""
        backbone = self._make_backbone(seed)
        return IncrementalNet(backbone, self.head(backbone.num_features))

    def head(self, num_features: int) -> GrowingHead:
        """Return a new head."""
        return LinearHead(num_features)

    def grow(self, number: int, count: int) -> None:
        """Give the network the shape that it has in task ``number``, which brings ``count`` classes."""
        self.net.grow(count, generator(self.seed, "head", number))

    def before_task(self, task: TaskState) -> None:
        """Get ready: by default keep a copy of the network as it is, then let its head grow."""
        self.teacher = frozen_copy(self.net) if task.number else None
        self.grow(task.number, task.new)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield the trainings of a task; each begins when the one before has ended. By default there is one."""
        yield Stage("learn", task.current, self.replayed(task), self.loss)

    def replayed(self, task: TaskState) -> Int[Tensor, " m"]:
        """Return the exemplars that its batches hold."""
        return task.memory.places() if self.reads_memory else torch.empty(0, dtype=torch.long)

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Return the named terms whose sum is minimised.

        Args:
            net: The network, wrapped where several processes share the work.
            batch: Current samples first; one forward pass takes all of them.
        """

    def after_task(self, task: TaskState) -> None:
        """Look back, after the memory has taken the task up. By default there is nothing to do."""

    def predict(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return a score for each class so far; the network is in evaluation mode."""
        logits: Tensor = self.net(images).logits
        return logits

    def encoder(self) -> Backbone:
        """Return the backbone that learns the first task."""
        backbone: Backbone = self.net.backbone
        return backbone

    def answering_parameters(self) -> int:
        """Return how many parameters it takes to answer."""
        return sum(one.numel() for one in self.net.parameters())

    def linear_head(self) -> tuple[Float[Tensor, "classes features"], Float[Tensor, " classes"]] | None:
        """Return weight and bias of a linear head that answers as :meth:`predict` does; None if there is none."""
        head = getattr(self.net, "head", None)
        return (head.weight.detach(), head.bias.detach()) if type(head) is LinearHead else None

    def _teach(self, images: Tensor) -> Any:
        """The old network's outputs."""
        with torch.no_grad():
            return self.teacher(images)
