"""Methods that learn from teachers: SCRUB, Bad Teacher, and a teacher that is ignorant of the instances alone."""

import copy
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed, generator
from myosotis.models.modes import evaluating
from myosotis.unlearning.classifier.batch_norm import single_values_by_running_statistics
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.methods.method import Method, Objective, Request, evaluation_copy, retained
from myosotis.unlearning.classifier.methods.retaining import reinitialize, retain_batch, retain_steps
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier

PositiveFloat = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


def distillation_loss(
    student: Float[Tensor, "n classes"], teacher: Float[Tensor, "n classes"], temperature: float = 1.0
) -> Float[Tensor, ""]:
    """Return the mean of KL(teacher || student) at a temperature, times its square so that gradients keep their scale.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> distillation_loss(logits, logits).item()
        0.0
    """
    divergence = functional.kl_div(
        functional.log_softmax(student / temperature, dim=1),
        functional.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return divergence * temperature**2


@dataclass(frozen=True)
class Scrub(Method):
    """Disobey the teacher on the forget instances for some epochs, obey it on retained samples.

    Attributes:
        forget_epochs: Number of first epochs that begin with a pass of ascent over the forget set.
        alpha: Weight of the distillation on retained samples.
        gamma: Weight of their cross-entropy.
        temperature: Temperature of the distillation.
    """

    forget_epochs: Annotated[int, Field(ge=0)] = 2
    alpha: Weight = 0.001
    gamma: Weight = 0.99
    temperature: PositiveFloat = 4.0

    card: ClassVar[MethodCard] = MethodCard(
        "scrub",
        "SCRUB",
        "Kurmanji, Triantafillou, Hayes, Triantafillou: Towards Unbounded Machine Unlearning, NeurIPS 2023",
        "forget, retain",
        "the original model",
        "If retained samples are available and far outnumber the forget set.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return steps of ascent and descent: passes over the forget set and over retained samples take turns."""
        forgetting, keeping = request.forget_steps, retain_steps(request)
        longer = self.forget_epochs * (forgetting + keeping)

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            ascends = step < longer and step % (forgetting + keeping) < forgetting
            if ascends:
                batch = request.forget.batch(request.forget_indices(step % (forgetting + keeping)))
                return {"forget": -self._distilled(model, original, batch.images)}
            # Number of earlier descents.
            if step < longer:
                before = step // (forgetting + keeping) * keeping + step % (forgetting + keeping) - forgetting
            else:
                before = self.forget_epochs * keeping + step - longer
            batch = retain_batch(request, before)
            logits = model(batch.images)
            with torch.no_grad():
                teacher = original(batch.images)
            return {
                "retain_distillation": self.alpha * distillation_loss(logits, teacher, self.temperature),
                "retain": self.gamma * functional.cross_entropy(logits, batch.labels),
            }

        return Objective(forgetting + keeping, terms)

    def _distilled(self, model: nn.Module, original: nn.Module, images: Tensor) -> Tensor:
        with torch.no_grad():
            teacher = original(images)
        return distillation_loss(model(images), teacher, self.temperature)


@dataclass(frozen=True)
class BadTeacher(Method):
    """Learn the forget instances from a teacher that knows nothing, the retained samples from the original.

    Attributes:
        temperature: Temperature of the distillation.
    """

    temperature: PositiveFloat = 1.0

    card: ClassVar[MethodCard] = MethodCard(
        "bad_teacher",
        "Bad Teacher",
        "Chundawat, Tarun, Mandal, Kankanhalli: Can Bad Teaching Induce Forgetting?, AAAI 2023",
        "forget, retain",
        "the original model and one with random weights",
        "Makes the model uncertain about the instances rather than wrong.",
    )
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Return the mean of both distillations over the two batches together."""
        ignorant = evaluation_copy(original)
        reinitialize(ignorant, request.seed)
        ignorant.eval()

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            forget = request.forget.batch(request.forget_indices(step))
            keep = retain_batch(request, step)
            with torch.no_grad():
                bad, good = ignorant(forget.images), original(keep.images)
            count = len(forget) + len(keep)
            return {
                "forget": len(forget) / count * distillation_loss(model(forget.images), bad, self.temperature),
                "retain": len(keep) / count * distillation_loss(model(keep.images), good, self.temperature),
            }

        return Objective(retain_steps(request), terms)


def begin_afresh(model: nn.Module, image: Tensor, kept_layers: float, seed: int) -> None:
    """Freeze the first layers of a model, in the order of its forward pass, and draw the weights of the others anew.

    Layers are modules with parameters of their own that train; what is frozen already stays as it is.

    Args:
        model: Model, changed in place.
        image: A batch of one image.
        kept_layers: Share of the layers that are frozen.
        seed: Seed of the draw.
    """
    trains = {
        module: any(value.requires_grad for value in module.parameters(recurse=False)) for module in model.modules()
    }
    reached: list[nn.Module] = []
    handles = [
        module.register_forward_pre_hook(lambda module, _: reached.append(module))
        for module, own in trains.items()
        if own
    ]
    with torch.no_grad(), evaluating(model):
        model(image)
    for handle in handles:
        handle.remove()
    layers = list(dict.fromkeys(reached))
    kept = set(layers[: int(kept_layers * len(layers))])
    fresh = copy.deepcopy(model)
    reinitialize(fresh, seed)
    for module, new in zip(model.modules(), fresh.modules(), strict=True):
        if not trains[module]:
            continue
        if module in kept:
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
            continue
        own, drawn = (
            itertools.chain(each.parameters(recurse=False), each.buffers(recurse=False)) for each in (module, new)
        )
        with torch.no_grad():
            for value, other in zip(own, drawn, strict=True):
                value.copy_(other)


@dataclass(frozen=True)
class IgnorantTeacher(Method):
    """Learn the instances from a network that hardly saw them but knows their classes, the rest from the original.

    The teacher is the original whose last layers start from fresh weights and learn a share of the retained samples, so
    that it answers the instances about as a model does that was trained without them. The first layers, which it takes
    over, have seen them, but know edges and textures rather than single images. Its answers, not new labels, are what
    the model is to give.

    Attributes:
        share: Share of the retained samples of each class that the teacher learns.
        kept_layers: Share of the layers, of those that train, that the teacher takes over, from the input on; 0 trains
            it from fresh weights alone.
        teacher_steps: Its steps, in whole epochs.
        teacher_learning_rate: Its largest learning rate, of SGD on one cycle.
        retain_weight: Weight of the divergence from the original model on retained samples.
    """

    share: Annotated[float, Field(gt=0, le=1)] = 0.25
    kept_layers: Annotated[float, Field(ge=0, lt=1)] = 0.5
    teacher_steps: Annotated[int, Field(ge=1)] = 100
    teacher_learning_rate: PositiveFloat = 0.1
    retain_weight: Weight = 6.0

    card: ClassVar[MethodCard] = MethodCard(
        "ignorant_teacher",
        "Ignorant teacher",
        "after Chundawat, Tarun, Mandal, Kankanhalli: Can Bad Teaching Induce Forgetting?, AAAI 2023",
        "forget, retain",
        "the original model and one of the same size, its last layers trained on a share of the retained samples",
        "The model answers the instances about as one that never saw them; the rest stays as it is.",
    )
    goals: ClassVar[tuple[Goal, ...]] = ("as_unseen",)
    reads_retain: ClassVar[bool] = True
    stops_at_goal: ClassVar[bool] = False

    def begin(self, model: nn.Module, original: nn.Module, request: Request) -> Objective:
        """Train the teacher; return both divergences, each a mean over its batch."""
        answers = self._taught(original, request)

        def terms(model: nn.Module, step: int) -> Mapping[str, Tensor]:
            indices = request.forget_indices(step)
            forget, keep = request.forget.batch(indices), retain_batch(request, step)
            with torch.no_grad():
                before = original(keep.images)
            return {
                "forget": distillation_loss(model(forget.images), answers[indices.to(answers.device)]),
                "retain": self.retain_weight * distillation_loss(model(keep.images), before),
            }

        return Objective(retain_steps(request), terms, new_labels=answers.argmax(dim=1))

    def steps_to_begin(self, forget: int, batch: int) -> int:
        return self.teacher_steps

    def _taught(self, original: nn.Module, request: Request) -> Tensor:
        """Logits of the teacher for the instances."""
        samples, teacher = retained(request), evaluation_copy(original)
        begin_afresh(teacher, request.forget.images[:1], self.kept_layers, request.seed)
        order = torch.randperm(len(samples), generator=generator(request.seed, "teacher"))
        labels = samples.labels.cpu()[order]
        classes = [order[labels == label] for label in labels.unique()]
        drawn = samples.batch(torch.cat([own[: math.ceil(self.share * len(own))] for own in classes]))
        # Few samples in small batches: a step learns more than a sample does.
        size = min(request.batch, max(32, len(drawn) // 8))
        epochs = math.ceil(self.teacher_steps / max(len(drawn) // size, 1))
        settings = TrainSettings(epochs=epochs, learning_rate=self.teacher_learning_rate, batch_size=size)
        pixels = (drawn.images * 255).round().to(torch.uint8)
        seed = derive_seed(request.seed, "teacher") % 2**32
        with single_values_by_running_statistics(teacher):
            train_classifier(teacher, pixels, drawn.labels, settings, seed=seed, description="teaching", shared=False)
        size = request.batch
        images = request.forget.images
        with torch.no_grad():
            return torch.cat([teacher(images[begin : begin + size]) for begin in range(0, len(images), size)])
