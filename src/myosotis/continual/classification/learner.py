"""The interface of methods of class-incremental learning: four hooks around one training loop."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.classification.network import IncrementalNet, frozen_copy
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.stream import SettingsT, StreamLearner
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.seeding import generator
from myosotis.models.backbone import Backbone
from myosotis.models.heads import GrowingHead, LinearHead
from myosotis.models.image_classifier import ClassifierSpec
from myosotis.models.modes import evaluating

_CHUNK = 500  # images per forward pass without gradients


@dataclass(frozen=True)
class Batch:
    """Samples of the current task, then remembered ones.

    Attributes:
        images: Augmented images in [0, 1].
        labels: Classes in the order of arrival.
        indices: Index of each sample in the data set.
        n_current: Number of samples of the current task.
    """

    images: Float[Tensor, "n channels height width"]
    labels: Int[Tensor, " n"]
    indices: Int[Tensor, " n"]
    n_current: int


@dataclass(frozen=True)
class TaskState:
    """A task, and the data that a method may read while it learns it.

    Attributes:
        sizes: Number of classes of each task so far; the last entry is this task.
        current: Indices of the training samples of this task.
        all_so_far: Indices of the training samples of all tasks so far, for joint training only.
        memory: Exemplar memory.
        labels: Labels of all training samples, by index.
        images: Function from indices to images in [0, 1] without augmentation, on the device of the network.
        epochs: Training epochs per task.
        learning_rate: Learning rate of the task.
        seed: Seed of every random choice.
    """

    sizes: tuple[int, ...]
    current: Int[Tensor, " n"]
    all_so_far: Int[Tensor, " m"]
    memory: ExemplarMemory
    labels: Int[Tensor, " all"]
    images: Callable[[Int[Tensor, " k"]], Float[Tensor, "k channels height width"]]
    epochs: int
    learning_rate: float
    seed: int

    @property
    def number(self) -> int:
        """T, the number of earlier tasks."""
        return len(self.sizes) - 1

    @property
    def new(self) -> int:
        """C_n, the number of classes of this task."""
        return self.sizes[-1]

    @property
    def old(self) -> int:
        """C_o, the number of classes of earlier tasks."""
        return sum(self.sizes[:-1])

    @property
    def classes(self) -> int:
        """C, the number of classes so far."""
        return sum(self.sizes)

    def of_class(self, label: int) -> Int[Tensor, " k"]:
        """Return the indices of this task's samples of a class."""
        return self.current[self.labels[self.current] == label]

    def features(self, net: nn.Module) -> Callable[[Tensor], Tensor]:
        """Return a function from indices to features of ``net``, in evaluation mode."""

        def features_at(indices: Tensor) -> Tensor:
            with evaluating(net), torch.no_grad():
                return torch.cat([net(self.images(chunk)).features for chunk in indices.split(_CHUNK)])

        return features_at

    def balanced(self, net: nn.Module) -> tuple[Int[Tensor, " new"], Int[Tensor, " old"]]:
        """Return the same number of samples of every class: those of this task, and those of earlier tasks.

        Old samples are the best of the memory, new ones those that the memory would select now.
        """
        quota = self.memory.quota(self.classes)
        features_at = self.features(net)
        new = [
            index
            for label in range(self.old, self.classes)
            for index in self.memory.choose(label, self.of_class(label), quota, features_at)
        ]
        old = [index for label in range(self.old) for index in self.memory.of_class(label)[:quota]]
        return torch.tensor(sorted(new), dtype=torch.long), torch.tensor(sorted(old), dtype=torch.long)


Loss = Callable[[nn.Module, Batch], Mapping[str, Tensor]]


@dataclass(frozen=True)
class Stage:
    """A training within a task.

    Attributes:
        name: Name, unique within the task.
        current: Indices of the samples that count as the current task's.
        memory: Indices of remembered samples; a function that returns them at each step if they change.
        loss: Function from the network and a batch to named terms, whose sum is minimised.
        epochs: Number of epochs; None takes the configured one.
        learning_rate: Learning rate; None takes the configured one.
        parameters: Parameters that are trained, all others are frozen; None trains those that require a gradient.
        weight_decay: Weight decay; None takes the configured one.
        train: Whether the network is in training mode.
        balanced: Whether current and remembered samples are shuffled together and normalised together.
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
    and :meth:`predict`; a method with several trainings per task yields them in :meth:`stages`.

    Args:
        settings: Settings of the method.
        make_backbone: Function from a seed to a new backbone.
        seed: Seed of every random choice.
    """

    signed_features: ClassVar[bool] = False
    """Whether the backbone has no last ReLU."""
    needs_memory: ClassVar[bool] = False
    """Whether the method requires exemplars."""
    reads_memory: ClassVar[bool] = True
    """Whether its batches hold remembered samples."""
    least_exemplars: ClassVar[int] = 0
    """Exemplars of every class that the method requires; 0 if some classes may have none."""
    own_memory: ClassVar[bool] = False
    """Whether these come from a memory that the method itself fills at every step, which needs a single process."""
    reads_past: ClassVar[bool] = False
    """Whether it trains on the samples of earlier tasks, so that a stream that goes on needs all of them."""
    reads_exemplars: ClassVar[bool] = False
    """Whether it stores something that it computed from exemplars, see :meth:`restate`."""
    leaves: ClassVar[str] = ""
    """What a forgotten sample leaves in it beside the network, since it cannot be computed again; a sentence."""
    trains: ClassVar[bool] = True
    """Whether weights are trained; else the body must have pre-trained weights, and settings of a training are refused.
    """

    feature_cache: Path | None = None
    """Directory that the features of a body that is never trained are kept in."""

    body_spec: ClassifierSpec | None = None
    """Description of the backbone, with the names of the classes in the order of arrival, where it is known."""

    def __init__(self, settings: SettingsT, make_backbone: Callable[[int], Backbone], seed: int) -> None:
        self.settings = settings
        self.seed = seed
        self._make_backbone = make_backbone
        self.net: Any = self.build(seed)
        self.teacher: Any = None

    def build(self, seed: int) -> nn.Module:
        """Return a new network without classes."""
        backbone = self._make_backbone(seed)
        return IncrementalNet(backbone, self.head(backbone.num_features))

    def head(self, num_features: int) -> GrowingHead:
        """Return a new head."""
        return LinearHead(num_features)

    def grow(self, number: int, count: int) -> None:
        self.net.grow(count, generator(self.seed, "head", number))

    def before_task(self, task: TaskState) -> None:
        """Prepare the task: by default copy the old network, then let the head grow."""
        self.teacher = frozen_copy(self.net) if task.number else None
        self.grow(task.number, task.new)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield the trainings of a task, each after the previous one has ended. By default there is one."""
        yield Stage("learn", task.current, self.replayed(task), self.loss)

    def replayed(self, task: TaskState) -> Int[Tensor, " m"]:
        """Return the indices of the exemplars in its batches."""
        return task.memory.indices() if self.reads_memory else torch.empty(0, dtype=torch.long)

    @abstractmethod
    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Return the named terms whose sum is minimised.

        Args:
            net: Network, wrapped if there are several processes.
            batch: Current samples, then remembered ones, for a single forward pass.
        """

    def after_task(self, task: TaskState) -> None:
        """Finish the task, after the memory has been updated. By default there is nothing to do."""

    def restate(self, task: TaskState) -> None:
        """Compute anew what it derives from exemplars, some of which were forgotten. By default there is nothing.

        Args:
            task: The last task, of which only the memory, the images and the sizes are given.
        """

    def predict(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return a score for each class so far; the network is in evaluation mode."""
        logits: Tensor = self.net(images).logits
        return logits

    def encoder(self) -> Backbone:
        """Return the backbone that learns the first task."""
        backbone: Backbone = self.net.backbone
        return backbone

    def model_hash(self) -> str:
        """Return the hash that names what was learnt: that of the weights of the network."""
        return weights_hash(self.net)

    def inference_parameters(self) -> int:
        """Return the number of parameters that inference needs."""
        return sum(weight.numel() for weight in self.net.parameters())

    def linear_head(self) -> tuple[Float[Tensor, "classes features"], Float[Tensor, " classes"]] | None:
        """Return weight and bias of a linear head with the predictions of :meth:`predict`; None if there is none."""
        head = getattr(self.net, "head", None)
        return (head.weight.detach(), head.bias.detach()) if type(head) is LinearHead else None

    def _teach(self, images: Tensor) -> Any:
        """The outputs of the old network."""
        with torch.no_grad():
            return self.teacher(images)
