"""Make a trained image classifier forget single instances."""

import copy
import dataclasses
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.loop import train
from myosotis.engine.progress import progress
from myosotis.engine.seeding import generator
from myosotis.models.modes import evaluating
from myosotis.unlearning.classifier.attack import draw_targets
from myosotis.unlearning.classifier.batch_norm import (
    drift,
    running_statistics,
    set_modes,
    single_values_by_running_statistics,
)
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.instance_result import InstanceResult, StopReason, UnlearnResult
from myosotis.unlearning.classifier.methods import Method, Objective, Request, Samples, build_method
from myosotis.unlearning.classifier.methods.adversarial import Adversarial
from myosotis.unlearning.classifier.methods.method import evaluation_copy
from myosotis.unlearning.classifier.settings import UnlearnSettings
from myosotis.unlearning.classifier.stopping import StopRule, forgotten, goal_margins

NewLabels = Literal["runner_up", "random"]

MOST_DAMAGE = 0.2
"""A fall of the accuracy on held samples by more than this is told as a warning."""


def unlearn_instances(
    model: nn.Module,
    forget: tuple[Float[Tensor, "n channels height width"], Int[Tensor, " n"]],
    goal: Goal = "misclassify",
    method: Method | str = "adv_imp",
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
        method: A key of :data:`~myosotis.unlearning.classifier.methods.METHODS`, or a method.
        method_settings: Of a method that is named, where they are not to be its defaults.
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
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> images = torch.eye(4).view(4, 1, 2, 2)
        >>> labels = model(images).argmax(dim=1)
        >>> settings = UnlearnSettings(learning_rate=0.1)
        >>> result = unlearn_instances(model, (images, labels), method="neggrad", settings=settings)
        >>> result.converged, result.forget_accuracy
        (True, 0.0)
    """
    started = time.perf_counter()
    settings, stop = settings or UnlearnSettings(), stop or StopRule()
    if isinstance(method, Method) and method_settings:
        raise SettingsError("a method that is an object has its settings already; leave method_settings out")
    chosen = method if isinstance(method, Method) else build_method(method, method_settings)
    request, first = _checked_request(model, forget, goal, chosen, settings, new_labels, retain, seed)
    samples, wanted = request.forget, request.new_labels
    result = copy.deepcopy(model)
    if chosen.stops_at_goal and stop.reached(first, samples.labels, wanted):
        attempt = _Attempt("already")
    else:
        attempt = _attempt(chosen, result, evaluation_copy(model), request, settings, stop)
    result.eval()
    last = logits_of(result, samples, settings.batch_size)
    goal_reached = StopRule("goal", stop.margin) if stop.at == "never" else stop
    converged = attempt.reason != "diverged" and goal_reached.reached(last, samples.labels, wanted)
    if not converged:
        attempt.warnings.append(f"not converged: it ended by {attempt.reason}")
    return UnlearnResult(
        result,
        chosen.card.name,
        goal,
        converged,
        attempt.reason,
        attempt.steps,
        _instances(samples.labels, wanted, first, last, stop.margin),
        tuple(attempt.history),
        attempt.facts,
        drift(running_statistics(model), running_statistics(result)),
        tuple(attempt.warnings),
        time.perf_counter() - started,
    )


@torch.no_grad()
def logits_of(model: nn.Module, samples: Samples, batch_size: int = 256) -> Float[Tensor, "n classes"]:
    """Return what a model, in evaluation mode, makes of samples on its device.

    Args:
        model: Left as it was.
        samples: At least one.
        batch_size: How many go through the model together.
    """
    with evaluating(model):
        pieces = [model(samples.images[begin : begin + batch_size]) for begin in range(0, len(samples), batch_size)]
    return torch.cat(pieces)


def choose_labels(
    wanted: Int[Tensor, " n"] | NewLabels,
    labels: Int[Tensor, " n"],
    logits: Float[Tensor, "n classes"],
    seed: int,
) -> Int[Tensor, " n"]:
    """Return the new label of each instance.

    Args:
        wanted: The labels themselves, which are checked; or ``"runner_up"`` or ``"random"``.
        labels: The true ones.
        logits: Of the model that is to learn the new ones.
        seed: Of the draw.

    Raises:
        ValueError: A label is out of range or the true one, or ``wanted`` is none of the three.
    """
    if isinstance(wanted, Tensor):
        found = wanted.to(labels.device)
        if found.shape != labels.shape:
            raise SettingsError(f"one new label for each instance: got {len(found)} for {len(labels)}")
        _check_labels(found, logits.shape[1], "new")
        same = (found == labels).nonzero().flatten().tolist()
        if same:
            raise SettingsError(f"the new label of instance {same[0]} is its true one, {int(labels[same[0]])}")
        return found
    if wanted == "random":
        return draw_targets(labels, logits.shape[1], 1, generator(seed, "new labels"))[0]
    if wanted != "runner_up":
        raise SettingsError(f"new labels must be 'runner_up', 'random' or a tensor, got {wanted!r}")
    return logits.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1)


@dataclass
class _Attempt:
    """How training went."""

    reason: StopReason
    steps: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def _checked_request(
    model: nn.Module,
    forget: tuple[Tensor, Tensor],
    goal: Goal,
    chosen: Method,
    settings: UnlearnSettings,
    new_labels: Tensor | NewLabels,
    retain: tuple[Tensor, Tensor] | None,
    seed: int,
) -> tuple[Request, Tensor]:
    """What a method begins with, checked and on the model's device, and the model's logits of the instances."""
    name = chosen.card.name
    if goal not in chosen.goals:
        raise SettingsError(f"method '{name}' cannot pursue the goal '{goal}'; it can: {', '.join(chosen.goals)}")
    if chosen.reads_retain and retain is None:
        raise SettingsError(f"method '{name}' reads retained samples; give some, or choose one that does without")
    place = next(model.parameters()).device
    samples = Samples(forget[0].to(place), forget[1].to(place))
    logits = logits_of(model, _checked(model, samples), settings.batch_size)
    num_classes = logits.shape[1]
    _check_labels(samples.labels, num_classes, "forget")
    wanted = choose_labels(new_labels, samples.labels, logits, seed) if goal == "relabel" else None
    kept = None
    if chosen.reads_retain and retain is not None:
        kept = Samples(retain[0].to(place), retain[1].to(place))
        _check_pixels(kept.images, "retained")
        _check_labels(kept.labels, num_classes, "retained")
    request = Request(
        samples, goal, wanted, num_classes, kept, settings.forget_batch_size, settings.batch_size, settings.epochs, seed
    )
    return request, logits


def _attempt(
    chosen: Method, model: nn.Module, original: nn.Module, request: Request, settings: UnlearnSettings, stop: StopRule
) -> _Attempt:
    """Prepare and train ``model``; a run that breaks it gives back the weights that came in."""
    work = chosen.copies * len(request.forget) if isinstance(chosen, Adversarial) else None
    with progress("making adversarial examples" if work else "preparing", work) as ticker:
        objective = chosen.begin(model, original, dataclasses.replace(request, advance=ticker.advance))
    attempt = _Attempt("edited", facts=dict(objective.facts))
    if objective.steps_per_epoch:
        attempt.steps, attempt.reason = _train(chosen, model, objective, request, settings, stop, attempt.history)
    # The last step of all is only seen here.
    if not bool(logits_of(model, request.forget, settings.batch_size).isfinite().all()):
        attempt.reason = "diverged"
    if attempt.reason == "diverged":
        model.load_state_dict(original.state_dict())
        attempt.warnings.append("a loss was not finite; the model that came in is returned")
    if objective.held is not None:
        held, stays = objective.held, {}
        for name, one in (("before", original), ("after", model)):
            answers = logits_of(one, held, settings.batch_size).argmax(dim=1)
            stays[name] = (answers == held.labels).float().mean().item()
            attempt.facts[f"held_accuracy_{name}"] = stays[name]
        if stays["before"] - stays["after"] > MOST_DAMAGE:
            attempt.warnings.append(
                f"the answers on held samples fell from {stays['before']:.0%} to {stays['after']:.0%}: expect damage "
                "to what was to be kept"
            )
    return attempt


def _train(
    chosen: Method,
    model: nn.Module,
    objective: Objective,
    request: Request,
    settings: UnlearnSettings,
    stop: StopRule,
    history: list[dict[str, float]],
) -> tuple[int, StopReason]:
    """Train until the stop rule or a cap ends it; return the steps and why it ended."""
    samples, new_labels = request.forget, request.new_labels

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
            logits = logits_of(model, samples, settings.batch_size)
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
    with single_values_by_running_statistics(model):
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
    return end.steps, end.stop_reason or "epochs"  # type: ignore[return-value]


def _checked(model: nn.Module, samples: Samples) -> Samples:
    """Raise unless there are instances in [0, 1] and the model gives logits for them."""
    if not len(samples):
        raise SettingsError("the forget set is empty")
    if len(samples.images) != len(samples.labels):
        raise SettingsError(f"one label for each image: got {len(samples.labels)} for {len(samples.images)}")
    _check_pixels(samples.images, "forget")
    with torch.no_grad(), evaluating(model):
        found = model(samples.images[:1])
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != 1 or found.shape[1] < 2:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise SettingsError(f"the model must return logits of shape (batch, classes), for one image it gave {shape}")
    return samples


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


def _check_pixels(images: Tensor, name: str) -> None:
    low, high = images.min().item(), images.max().item()
    if not (low >= 0 and high <= 1):
        raise SettingsError(
            f"{name} images must lie in [0, 1], got {low:g} to {high:g}; put the normalisation into the model"
        )


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise SettingsError(f"{name} labels must be in 0 to {num_classes - 1}, got {low} to {high}")
