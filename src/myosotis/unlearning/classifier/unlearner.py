"""Make a trained image classifier forget single instances."""

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.loop import train
from myosotis.engine.progress import progress
from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating
from myosotis.unlearning.classifier.attack import draw_targets
from myosotis.unlearning.classifier.batch_norm import BatchNormPolicy, drift, running_statistics, set_modes
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.methods import Request, Samples, build_method
from myosotis.unlearning.classifier.methods.adversarial import Adversarial
from myosotis.unlearning.classifier.methods.method import evaluation_copy
from myosotis.unlearning.classifier.stopping import StopRule, forgotten, goal_margins

NewLabels = Literal["runner_up", "random"]
StopReason = Literal["goal", "reference", "already", "epochs", "steps", "edited", "diverged"]

MOST_DAMAGE = 0.2
"""A fall of the accuracy on held samples by more than this is told as a warning."""


@dataclass(frozen=True)
class UnlearnSettings:
    """How a method is trained.

    Attributes:
        learning_rate: Of SGD.
        momentum: Of SGD.
        weight_decay: Of SGD; the released code of Cha et al. has 1e-4, which pulls against the importance penalty.
        forget_batch: Forget instances in a step.
        batch: Adversarial or retained samples in a step.
        epochs: At most; an epoch sees every adversarial, or retained, sample once, or without either the forget set.
        max_steps: At most; None leaves the cap to ``epochs``.
        max_grad_norm: Gradients are clipped to this norm; None leaves them alone.
        batch_norm: See :func:`~myosotis.unlearning.classifier.batch_norm.set_modes`.
    """

    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    forget_batch: int = 32
    batch: int = 256
    epochs: int = 100
    max_steps: int | None = None
    max_grad_norm: float | None = None
    batch_norm: BatchNormPolicy = "train"


@dataclass(frozen=True)
class InstanceResult:
    """What became of one instance.

    Attributes:
        label: Its true class.
        new_label: The class that it was to get, or None.
        answer_before: What the model took it for.
        answer_after: What it takes it for now.
        probability_before: Of the true class.
        probability_after: Of the true class.
        margin: Logits beyond the decision boundary; negative: the goal is not reached.
        forgotten: Whether the goal is reached.
    """

    label: int
    new_label: int | None
    answer_before: int
    answer_after: int
    probability_before: float
    probability_after: float
    margin: float
    forgotten: bool


@dataclass(frozen=True)
class UnlearnResult:
    """The model after unlearning, and how that went.

    Attributes:
        model: A new model, in evaluation mode; the one that came in is untouched.
        method: Its name.
        goal: What was asked for.
        converged: Whether the goal, or the reference level, was reached.
        stop_reason: ``goal``, ``reference``, ``already`` (nothing had to be done), ``epochs`` or ``steps`` (a cap),
            ``edited`` (the method does not train), or ``diverged`` (a loss was not finite; the model is the one that
            came in).
        steps: Optimisation steps.
        instances: What became of each.
        history: After every step: its number, the loss terms, and where it was looked at, accuracy and loss on the
            forget set.
        facts: Figures of the method's preparation, e.g. ``adversarial_success``, and ``held_accuracy_before`` and
            ``held_accuracy_after``, the share of held samples that keep their answer.
        batch_norm_drift: Mean change of running means in old standard deviations, or None.
        warnings: What the caller should know.
        seconds: Wall time, preparation included.
    """

    model: nn.Module
    method: str
    goal: Goal
    converged: bool
    stop_reason: StopReason
    steps: int
    instances: tuple[InstanceResult, ...]
    history: tuple[dict[str, float], ...]
    facts: dict[str, float]
    batch_norm_drift: float | None
    warnings: tuple[str, ...]
    seconds: float

    @property
    def min_margin(self) -> float:
        """The margin of the instance that is nearest to coming back."""
        return min(instance.margin for instance in self.instances)

    @property
    def forget_accuracy(self) -> float:
        """Share of the instances that still get their true label."""
        return sum(one.answer_after == one.label for one in self.instances) / len(self.instances)


@dataclass(frozen=True)
class Preset:
    """A method with settings that go together; ``unlearn_instances(model, forget, **vars(preset))``."""

    goal: Goal
    method: str
    method_settings: dict[str, Any] = field(default_factory=dict)
    settings: UnlearnSettings = UnlearnSettings()


PRESETS: Mapping[str, Preset] = {
    "l2ul_official": Preset(
        "misclassify",
        "adv_imp",
        {"copies": 20, "eps": 4.0, "step_size": 0.1, "steps": 100, "strength": 1.0, "reduction": "batch"},
        UnlearnSettings(weight_decay=1e-4, epochs=1000),
    ),
    "recommended": Preset(
        "relabel",
        "adv_imp",
        {
            "hold": "outputs",
            "release": 100,
            "copies": 10,
            "eps": 1.0,
            "step_size": 0.4,
            "steps": 6,
            "strength": 0.1,
        },
        UnlearnSettings(learning_rate=2e-3, forget_batch=128, batch=128, epochs=300, max_steps=300),
    ),
}
"""``l2ul_official``: the CIFAR-10 command of the released code of Cha et al.

``recommended``: ours, for images of 28 to 32 pixels: to the runner-up label, with the old model's outputs held around
each instance, and the whole forget set (up to 128) in each step. What kept most on a development draw of Fashion-MNIST.
"""


def unlearn_instances(
    model: nn.Module,
    forget: tuple[Float[Tensor, "n channels height width"], Int[Tensor, " n"]],
    goal: Goal = "misclassify",
    method: str = "adv_imp",
    method_settings: Mapping[str, Any] | None = None,
    settings: UnlearnSettings | None = None,
    *,
    new_labels: Int[Tensor, " n"] | NewLabels = "runner_up",
    retain: tuple[Float[Tensor, "m channels height width"], Int[Tensor, " m"]] | None = None,
    stop: StopRule | None = None,
    seed: int = 0,
) -> UnlearnResult:
    """Return a model that has forgotten ``forget``, and how that went.

    Args:
        model: Takes images in [0, 1] and returns logits (batch, classes); put a normalisation into it. Never changed.
        forget: The images to be forgotten and their true labels.
        goal: ``"misclassify"``: any other answer; ``"relabel"``: the answers ``new_labels``.
        method: A key of :data:`~myosotis.unlearning.classifier.methods.METHODS`.
        method_settings: Its settings, where they are not to be its defaults.
        settings: Of the training.
        new_labels: For ``"relabel"``: one for each instance; ``"runner_up"``, the model's own best other answer; or
            ``"random"``, uniform over the other classes.
        retain: Images to be kept and their labels, for methods that read them.
        stop: When it ends.
        seed: Of every random choice; the same seed gives the same result.

    Raises:
        ValueError: The forget set is empty, images leave [0, 1], labels are out of range or equal to the new ones, the
            model does not return logits, the method does not fit the goal or needs retained samples, or a setting is
            wrong.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> images = torch.eye(4).view(4, 1, 2, 2)
        >>> labels = model(images).argmax(dim=1)
        >>> result = unlearn_instances(model, (images, labels), method="neggrad", settings=UnlearnSettings(0.1))
        >>> result.converged, result.forget_accuracy
        (True, 0.0)
    """
    started = time.perf_counter()
    settings, stop = settings or UnlearnSettings(), stop or StopRule()
    chosen = build_method(method, method_settings)
    if goal not in chosen.goals:
        raise ValueError(f"method '{method}' cannot pursue the goal '{goal}'; it can: {', '.join(chosen.goals)}")
    if chosen.reads_retain and retain is None:
        raise ValueError(f"method '{method}' reads retained samples; give some, or choose one that does without")
    place = next(model.parameters()).device
    samples = Samples(forget[0].to(place), forget[1].to(place))
    first = _logits(model, _checked(model, samples), settings.batch)
    num_classes = first.shape[1]
    _check_labels(samples.labels, num_classes, "forget")
    wanted = _new_labels(new_labels, samples.labels, first, seed) if goal == "relabel" else None
    kept = None
    if chosen.reads_retain and retain is not None:
        kept = Samples(retain[0].to(place), retain[1].to(place))
        _check_pixels(kept.images, "retained")
        _check_labels(kept.labels, num_classes, "retained")
    original, result = evaluation_copy(model), copy.deepcopy(model)
    facts: dict[str, float] = {}
    warnings: list[str] = []
    history: list[dict[str, float]] = []
    statistics = running_statistics(result)
    steps, reason = 0, "already"
    if not (chosen.stops_at_goal and stop.reached(first, samples.labels, wanted)):
        work = chosen.copies * len(samples) if isinstance(chosen, Adversarial) else None
        with progress("making adversarial examples" if work else "preparing", work) as ticker:
            request = Request(
                samples,
                goal,
                wanted,
                num_classes,
                kept,
                settings.forget_batch,
                settings.batch,
                settings.epochs,
                seed,
                ticker.advance,
            )
            objective = chosen.begin(result, original, request)
        facts.update(objective.facts)
        if objective.steps_per_epoch:
            steps, reason = _train(chosen, result, objective, samples, wanted, settings, stop, history)
        else:
            reason = "edited"
        # The last step of all is only seen here.
        if not bool(_logits(result, samples, settings.batch).isfinite().all()):
            reason = "diverged"
        if reason == "diverged":
            result.load_state_dict(original.state_dict())
            warnings.append("a loss was not finite; the model that came in is returned")
        if objective.held is not None:
            held = objective.held
            for name, one in (("before", original), ("after", result)):
                answers = _logits(one, held, settings.batch).argmax(dim=1)
                facts[f"held_accuracy_{name}"] = (answers == held.labels).float().mean().item()
            if facts["held_accuracy_before"] - facts["held_accuracy_after"] > MOST_DAMAGE:
                warnings.append(
                    f"the answers on held samples fell from {facts['held_accuracy_before']:.0%} to "
                    f"{facts['held_accuracy_after']:.0%}: expect damage to what was to be kept"
                )
    result.eval()
    last = _logits(result, samples, settings.batch)
    goal_reached = StopRule("goal", stop.margin) if stop.at == "never" else stop
    converged = reason != "diverged" and goal_reached.reached(last, samples.labels, wanted)
    if not converged:
        warnings.append(f"not converged: it ended by {reason}")
    return UnlearnResult(
        result,
        method,
        goal,
        converged,
        reason,  # type: ignore[arg-type]
        steps,
        _instances(samples.labels, wanted, first, last, stop.margin),
        tuple(history),
        facts,
        drift(statistics, running_statistics(result)),
        tuple(warnings),
        time.perf_counter() - started,
    )


def unlearn_sequence(
    model: nn.Module,
    requests: Sequence[tuple[Tensor, Tensor]],
    *,
    replay: bool = False,
    seed: int = 0,
    new_labels: NewLabels = "runner_up",
    on_result: Callable[[int, UnlearnResult], None] | None = None,
    **arguments: Any,
) -> tuple[nn.Module, list[UnlearnResult], list[list[float]]]:
    """Unlearn requests one after another, each from the model that the one before it left.

    Examples, importance and anchor are made from the present model and the present request alone.

    Args:
        model: Never changed.
        requests: Images and labels of each.
        replay: Unlearn earlier requests again with each: only where their images may still be held.
        seed: Each request gets a stream of its own.
        new_labels: How new labels are found for the goal ``relabel``.
        on_result: Called with the number of a request, counting from 1, and its result.
        arguments: Of :func:`unlearn_instances`.

    Returns:
        The last model, the results, and after each request the share of each request so far that still, or again, gets
        its true label.

    Raises:
        ValueError: There is no request, or as :func:`unlearn_instances`.
    """
    if not requests:
        raise ValueError("there is no request")
    results: list[UnlearnResult] = []
    table: list[list[float]] = []
    wanted: list[Tensor] = []
    for number, (own_images, own_labels) in enumerate(requests, start=1):
        own_seed = int(torch.randint(2**62, (1,), generator=generator(seed, "request", number)))
        first = number - 1 if not replay else 0
        images = torch.cat([images for images, _ in requests[first:number]])
        labels = torch.cat([labels for _, labels in requests[first:number]])
        given: Tensor | NewLabels = new_labels
        if arguments.get("goal") == "relabel":
            # Found once for each instance, so that what is repeated is asked for the same again.
            own = Samples(own_images, own_labels)
            place = next(model.parameters()).device
            logits = _logits(model, Samples(own.images.to(place), own.labels.to(place)))
            wanted.append(_new_labels(new_labels, own.labels.to(place), logits, own_seed))
            given = torch.cat(wanted[first:number])
        result = unlearn_instances(model, (images, labels), seed=own_seed, new_labels=given, **arguments)
        model = result.model
        place = next(model.parameters()).device
        table.append(
            [
                (_logits(model, Samples(x.to(place), y.to(place))).argmax(dim=1) == y.to(place)).float().mean().item()
                for x, y in requests[:number]
            ]
        )
        results.append(result)
        if on_result is not None:
            on_result(number, result)
    return model, results, table


def _train(
    chosen: Any,
    model: nn.Module,
    objective: Any,
    samples: Samples,
    new_labels: Tensor | None,
    settings: UnlearnSettings,
    stop: StopRule,
    history: list[dict[str, float]],
) -> tuple[int, str]:
    """Train until the stop rule or a cap ends it; return the steps and why it ended."""

    def set_mode() -> None:
        if chosen.from_scratch:
            model.train()
        else:
            set_modes(model, settings.batch_norm)

    def after_step(step: int, terms: dict[str, float]) -> str | None:
        history.append({"step": step, **terms})
        if not all(math.isfinite(value) for value in terms.values()):
            return "diverged"
        if objective.after_step is not None:
            objective.after_step()
        if step % stop.every == 0:
            logits = _logits(model, samples, settings.batch)
            history[-1]["forget_accuracy"] = (logits.argmax(dim=1) == samples.labels).float().mean().item()
            history[-1]["forget_loss"] = functional.cross_entropy(logits.float(), samples.labels).item()
            if not bool(logits.isfinite().all()):
                return "diverged"
            if chosen.stops_at_goal and stop.reached(logits, samples.labels, new_labels):
                return "reference" if stop.at == "reference" else "goal"
        return "steps" if step == settings.max_steps else None

    set_mode()
    optimizer = torch.optim.SGD(
        [value for value in model.parameters() if value.requires_grad],
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
    end = train(
        model,
        optimizer,
        lambda _epoch: range(objective.steps_per_epoch),
        lambda wrapped, _, step: objective.terms(wrapped, step),
        epochs=settings.epochs,
        max_grad_norm=settings.max_grad_norm,
        after_step=after_step,
        steps_per_epoch=objective.steps_per_epoch,
        shared=False,
        description="unlearning",
    )
    return end.steps, end.stop_reason or "epochs"


@torch.no_grad()
def _logits(model: nn.Module, samples: Samples, batch_size: int = 256) -> Tensor:
    with evaluating(model):
        pieces = [model(samples.images[begin : begin + batch_size]) for begin in range(0, len(samples), batch_size)]
    return torch.cat(pieces)


def _checked(model: nn.Module, samples: Samples) -> Samples:
    """Raise unless there are instances in [0, 1] and the model gives logits for them."""
    if not len(samples):
        raise ValueError("the forget set is empty")
    if len(samples.images) != len(samples.labels):
        raise ValueError(f"one label for each image: got {len(samples.labels)} for {len(samples.images)}")
    _check_pixels(samples.images, "forget")
    with torch.no_grad(), evaluating(model):
        found = model(samples.images[:1])
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1 or found.shape[1] < 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(f"the model must return logits of shape (batch, classes), for one image it gave {shape}")
    return samples


def _check_pixels(images: Tensor, name: str) -> None:
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"{name} images must lie in [0, 1], got {low:g} to {high:g}; put the normalisation into the model"
        )


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise ValueError(f"{name} labels must be in 0 to {num_classes - 1}, got {low} to {high}")


def _new_labels(wanted: Tensor | NewLabels, labels: Tensor, logits: Tensor, seed: int) -> Tensor:
    if isinstance(wanted, Tensor):
        found = wanted.to(labels.device)
        if found.shape != labels.shape:
            raise ValueError(f"one new label for each instance: got {len(found)} for {len(labels)}")
        _check_labels(found, logits.shape[1], "new")
        same = (found == labels).nonzero().flatten().tolist()
        if same:
            raise ValueError(f"the new label of instance {same[0]} is its true one, {int(labels[same[0]])}")
        return found
    if wanted == "random":
        return draw_targets(labels, logits.shape[1], 1, generator(seed, "new labels"))[0]
    return logits.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1)


def _instances(
    labels: Tensor, new_labels: Tensor | None, before: Tensor, after: Tensor, margin: float
) -> tuple[InstanceResult, ...]:
    where = labels.unsqueeze(1)
    probabilities = [logits.float().softmax(dim=1).gather(1, where).flatten().tolist() for logits in (before, after)]
    answers = [logits.argmax(dim=1).tolist() for logits in (before, after)]
    wanted = [None] * len(labels) if new_labels is None else new_labels.tolist()
    return tuple(
        InstanceResult(*row)
        for row in zip(
            labels.tolist(),
            wanted,
            *answers,
            *probabilities,
            goal_margins(after, labels, new_labels).tolist(),
            forgotten(after, labels, new_labels, margin).tolist(),
            strict=True,
        )
    )
