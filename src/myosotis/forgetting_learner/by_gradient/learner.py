"""A class learner as unlearning sees it: a classifier, and what it stores of its training samples."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.continual.classification.config import MemoryConfig
from myosotis.continual.classification.continuation import Earlier, exemplar_digest
from myosotis.continual.classification.learner import Learner, TaskState
from myosotis.continual.classification.saved import LearnerSpec, load_learner, save_learner
from myosotis.continual.memory import ExemplarMemory
from myosotis.data.images import ImageSet
from myosotis.engine.errors import InputError
from myosotis.engine.processes import device
from myosotis.models.backbone import Backbone
from myosotis.unlearning.classifier.job.models import Models


class LearnerNet(nn.Module):
    """The network of a learner as a classifier of images in [0, 1]: its forward pass is the learner's prediction.

    Args:
        learner: Learner that has learnt at least one task.
    """

    def __init__(self, learner: Learner[Any]) -> None:
        super().__init__()
        self.learner = learner
        self.net: nn.Module = learner.net

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return a score for each class so far."""
        return self.learner.predict(images)

    def to(self, *args: Any, **kwargs: Any) -> "LearnerNet":
        """Move the network, and what the learner holds beside it."""
        super().to(*args, **kwargs)
        state = self.learner.end_state()
        if state:
            device = next(self.parameters()).device
            self.learner.load_end_state({name: value.to(device) for name, value in state.items()})
        return self


@dataclass(frozen=True)
class Purge:
    """What forgetting does to the exemplars of a learner.

    Attributes:
        memory: State of the memory without the forgotten images.
        exemplars: Keyed digest of each exemplar, by its index.
        stored: Indices of forgotten images that the method itself stored.
        removed: Forgotten exemplars by class.
        refilled: Exemplars that took their slots, by class.
        rows: Index among the remaining images of each exemplar, by its own index; only of those that are there.
    """

    memory: ExemplarMemory
    exemplars: Mapping[int, str]
    stored: tuple[int, ...]
    removed: Mapping[str, int]
    refilled: Mapping[str, int]
    rows: Mapping[int, int]


def purge(
    earlier: Earlier, learner: Learner[Any], forget: ImageSet, remaining: ImageSet | None, *, refill: bool
) -> Purge:
    """Remove images from the exemplars of a learner.

    Args:
        earlier: Run of the learner.
        learner: The learner, unchanged; exemplars that refill the memory are chosen by its features.
        forget: Images to forget.
        remaining: Training images that remain, among which exemplars are chosen.
        refill: Whether slots that become empty are filled.

    Raises:
        InputError: The method needs exemplars of a class of which none is left.
    """
    memory = ExemplarMemory(**MemoryConfig(**earlier.settings["memory"]).model_dump(), seed=earlier.spec.seed)
    memory.load_state_dict(earlier.memory)
    gone = set(earlier.exemplars_among(forget))
    own = tuple(sorted(gone & set(learner.stored_indices())))
    removed = memory.remove(gone)
    exemplars = {index: digest for index, digest in earlier.exemplars.items() if index not in gone}
    rows = {} if remaining is None else replace(earlier, exemplars=exemplars).numbers(remaining)
    refilled: dict[int, int] = {}
    if remaining is not None and refill and not memory.is_stream:
        for label, count in removed.items():
            chosen = _chosen(memory, label, count, remaining, rows, learner)
            first = max((*earlier.exemplars, *exemplars), default=-1) + 1
            own_numbers = dict(zip(range(first, first + len(chosen)), chosen, strict=True))
            exemplars |= {index: exemplar_digest(earlier.key, remaining, row) for index, row in own_numbers.items()}
            rows |= own_numbers
            memory.append(label, list(own_numbers))
            if chosen:
                refilled[label] = len(chosen)
    _check_enough(memory, removed, learner, earlier.classes)
    names = earlier.classes
    return Purge(
        memory,
        exemplars,
        own,
        {names[label]: count for label, count in removed.items()},
        {names[label]: count for label, count in refilled.items()},
        rows,
    )


def _chosen(
    memory: ExemplarMemory,
    label: int,
    count: int,
    remaining: ImageSet,
    rows: Mapping[int, int],
    learner: Learner[Any],
) -> list[int]:
    """The remaining images of a class that the rule of the memory selects for empty slots; none is an exemplar."""
    taken = set(rows.values())
    candidates = [row for row in (remaining.labels == label).nonzero().flatten().tolist() if row not in taken]
    own = next(learner.net.parameters()).device
    state = _state(memory, lambda rows: remaining.subset(rows.tolist()).pixels(own), learner, (label + 1,))
    indices = torch.tensor(candidates, dtype=torch.long)
    return memory.choose(label, indices, count, state.features(learner.net)) if candidates else []


def _check_enough(
    memory: ExemplarMemory, removed: Mapping[int, int], learner: Learner[Any], classes: Sequence[str]
) -> None:
    for label in removed:
        left, least = len(memory.of_class(label)), learner.least_exemplars
        if left < least:
            raise InputError(
                f"model.learner: {learner.card.name} needs {least} exemplars of every class, and '{classes[label]}' "
                f"would have {left}: give data.train and 'refill: true'"
            )


def _state(memory: ExemplarMemory, images: Any, learner: Learner[Any], sizes: tuple[int, ...]) -> TaskState:
    """A task of which only memory, images and sizes are given."""
    nothing = torch.empty(0, dtype=torch.long)
    return TaskState(sizes, nothing, nothing, memory, nothing, images, 0, 0.0, learner.seed)


@dataclass(frozen=True)
class LearnerModels(Models):
    """The models of a job that are learners.

    Attributes:
        learner_spec: Description of the learner.
        purged: What forgetting does to its exemplars.
        remaining: Training images that remain.
    """

    learner_spec: LearnerSpec = field(kw_only=True)
    purged: Purge = field(kw_only=True)
    remaining: ImageSet | None = field(kw_only=True)

    @property
    def body(self) -> str:
        bodies = [name for name, module in self.base.named_modules() if isinstance(module, Backbone)]
        return f"{bodies[-1]}.network"

    def settled(self, model: nn.Module) -> nn.Module:
        """Return a learner without the forgotten exemplars, and with what it derives from the others made anew."""
        assert isinstance(model, LearnerNet)  # noqa: S101 - every model of a job is one
        if not self.purged.stored and not model.learner.reads_exemplars:
            return model
        settled = copy.deepcopy(model)
        settled.learner.remove(self.purged.stored)
        if settled.learner.reads_exemplars:
            assert self.remaining is not None  # noqa: S101 - checked when the images were read
            settled.learner.restate(_state(self.purged.memory, self._pixels, settled.learner, self.learner_spec.sizes))
        return settled

    def _pixels(self, indices: Int[Tensor, " k"]) -> Float[Tensor, "k channels height width"]:
        assert self.remaining is not None  # noqa: S101 - checked when the images were read
        rows = [self.purged.rows[index] for index in indices.tolist()]
        return self.remaining.subset(rows).pixels(device())

    def save(self, model: nn.Module, path: Path) -> None:
        assert isinstance(model, LearnerNet)  # noqa: S101 - every model of a job is one
        save_learner(model.learner, self.learner_spec, path)

    def load(self, path: Path) -> nn.Module:
        return LearnerNet(load_learner(path)[0])

    def hash(self, model: nn.Module) -> str:
        """Return the hash of a learner, as a stream names it."""
        assert isinstance(model, LearnerNet)  # noqa: S101 - every model of a job is one
        return model.learner.model_hash()


def check_exemplars(models: LearnerModels, name: str) -> None:
    """Raise ``InputError`` if what a learner derives from its exemplars cannot be made anew from the given images.

    Args:
        models: Models of the job.
        name: Name of the run of the learner.
    """
    assert isinstance(models.base, LearnerNet)  # noqa: S101 - every model of a job is one
    learner, purged = models.base.learner, models.purged
    exemplars = purged.memory.indices().tolist()
    missing = sum(index not in purged.rows for index in exemplars)
    if learner.reads_exemplars and missing:
        raise InputError(
            f"model.learner: {learner.card.name} computes from its exemplars, and {missing} of {len(exemplars)} of "
            f"{name} are not in data.train, which must hold them"
        )
