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

MAX_DAMAGE = 0.2
"""Fall of the accuracy on held samples above which a warning is issued."""


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
        model: Classifier of images in [0, 1], with its normalisation inside; returns logits (batch, classes). It is not
            changed.
        forget: Images to forget and their true labels.
        goal: ``"misclassify"``: any other class; ``"relabel"``: the classes ``new_labels``; ``"as_unseen"``: what a
            model answers that never saw them.
        method: Key of :data:`~myosotis.unlearning.classifier.methods.METHODS`, or a method.
        method_settings: Settings of a method that is named; others keep their defaults.
        settings: Settings of the training.
        new_labels: New labels for ``"relabel"``: one for each instance; ``"runner_up"``, the model's second choice; or
            ``"random"``, uniform over the other classes.
        retain: Images to retain and their labels, for methods that read them.
        stop: Rule that stops the training.
        seed: Seed of every random choice; the same seed gives the same result.

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
        raise SettingsError(
            "method_settings is only for a method given by name; a method object has its settings already"
        )
    method_object = method if isinstance(method, Method) else build_method(method, method_settings)
    request, first = _checked_request(model, forget, goal, method_object, settings, new_labels, retain, seed)
    samples, request_labels = request.forget, request.new_labels
    result = copy.deepcopy(model)
    if method_object.stops_at_goal and stop.reached(first, samples.labels, request_labels):
        attempt = _Attempt("already")
    else:
        attempt = _attempt(method_object, result, evaluation_copy(model), request, settings, stop)
    result.eval()
    if attempt.new_labels is not None:
        request_labels = attempt.new_labels
    last = logits_of(result, samples, settings.batch_size)
    goal_reached = StopRule("goal", stop.margin) if stop.at == "never" else stop
    # What a model answers that never saw the instances is approached, not reached.
    there = goal == "as_unseen" or goal_reached.reached(last, samples.labels, request_labels)
    converged = attempt.reason != "diverged" and there
    if not converged:
        attempt.warnings.append(f"not converged: it stopped by {attempt.reason}")
    return UnlearnResult(
        result,
        method_object.card.name,
        goal,
        converged,
        attempt.reason,
        attempt.steps,
        _instances(samples.labels, request_labels, first, last, stop.margin),
        tuple(attempt.history),
        attempt.facts,
        drift(running_statistics(model), running_statistics(result)),
        tuple(attempt.warnings),
        time.perf_counter() - started,
    )


@torch.no_grad()
def logits_of(model: nn.Module, samples: Samples, batch_size: int = 256) -> Float[Tensor, "n classes"]:
    """Return the logits of a model, in evaluation mode, for samples on its device.

    Args:
        model: Classifier; left unchanged.
        samples: At least one sample.
        batch_size: Samples per forward pass.
    """
    with evaluating(model):
        pieces = [model(samples.images[begin : begin + batch_size]) for begin in range(0, len(samples), batch_size)]
    return torch.cat(pieces)


def choose_labels(
    given: Int[Tensor, " n"] | NewLabels,
    labels: Int[Tensor, " n"],
    logits: Float[Tensor, "n classes"],
    seed: int,
) -> Int[Tensor, " n"]:
    """Return the new label of each instance.

    Args:
        given: New labels, which are checked; or ``"runner_up"`` or ``"random"``.
        labels: True labels.
        logits: Logits of the model that is to learn the new labels.
        seed: Seed of the draw.

    Raises:
        ValueError: A label is out of range or the true label, or ``given`` is none of the three.
    """
    if isinstance(given, Tensor):
        new_labels = given.to(labels.device)
        if new_labels.shape != labels.shape:
            raise SettingsError(f"one new label for each instance: got {len(new_labels)} for {len(labels)}")
        _check_labels(new_labels, logits.shape[1], "new")
        same = (new_labels == labels).nonzero().flatten().tolist()
        if same:
            raise SettingsError(f"the new label of instance {same[0]} is its true one, {int(labels[same[0]])}")
        return new_labels
    if given == "random":
        return draw_targets(labels, logits.shape[1], 1, generator(seed, "new labels"))[0]
    if given != "runner_up":
        raise SettingsError(f"new labels must be 'runner_up', 'random' or a tensor, got {given!r}")
    return logits.scatter(1, labels.unsqueeze(1), -torch.inf).argmax(dim=1)


@dataclass
class _Attempt:
    """Outcome of the training."""

    reason: StopReason
    steps: int = 0
    facts: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    new_labels: Tensor | None = None


def _checked_request(
    model: nn.Module,
    forget: tuple[Tensor, Tensor],
    goal: Goal,
    method: Method,
    settings: UnlearnSettings,
    new_labels: Tensor | NewLabels,
    retain: tuple[Tensor, Tensor] | None,
    seed: int,
) -> tuple[Request, Tensor]:
    """Return the checked request on the model's device, and the model's logits for the instances."""
    name = method.card.name
    if goal not in method.goals:
        raise SettingsError(f"method '{name}' does not support the goal '{goal}'; supported: {', '.join(method.goals)}")
    if method.reads_retain and retain is None:
        raise SettingsError(f"method '{name}' reads retained samples, but 'retain' is missing")
    device = next(model.parameters()).device
    samples = Samples(forget[0].to(device), forget[1].to(device))
    logits = logits_of(model, _checked(model, samples), settings.batch_size)
    num_classes = logits.shape[1]
    _check_labels(samples.labels, num_classes, "forget")
    request_labels = choose_labels(new_labels, samples.labels, logits, seed) if goal == "relabel" else None
    retained = None
    if method.reads_retain and retain is not None:
        retained = Samples(retain[0].to(device), retain[1].to(device))
        _check_pixels(retained.images, "retained")
        _check_labels(retained.labels, num_classes, "retained")
    request = Request(
        samples,
        goal,
        request_labels,
        num_classes,
        retained,
        settings.forget_batch_size,
        settings.batch_size,
        settings.epochs,
        seed,
    )
    return request, logits


def _attempt(
    method: Method, model: nn.Module, original: nn.Module, request: Request, settings: UnlearnSettings, stop: StopRule
) -> _Attempt:
    """Prepare and train ``model``; its original weights are restored if training diverges."""
    work = method.copies * len(request.forget) if isinstance(method, Adversarial) else None
    with progress("making adversarial examples" if work else "preparing", work) as ticker:
        objective = method.begin(model, original, dataclasses.replace(request, advance=ticker.advance))
    attempt = _Attempt("edited", facts=dict(objective.facts), new_labels=objective.new_labels)
    if objective.steps_per_epoch:
        attempt.steps, attempt.reason = _train(method, model, objective, request, settings, stop, attempt.history)
    # The last step is only checked here.
    if not bool(logits_of(model, request.forget, settings.batch_size).isfinite().all()):
        attempt.reason = "diverged"
    if attempt.reason == "diverged":
        model.load_state_dict(original.state_dict())
        attempt.warnings.append("a loss became non-finite; the original model is returned")
    if objective.held is not None:
        held, accuracy = objective.held, {}
        for name, network in (("before", original), ("after", model)):
            answers = logits_of(network, held, settings.batch_size).argmax(dim=1)
            accuracy[name] = (answers == held.labels).float().mean().item()
            attempt.facts[f"held_accuracy_{name}"] = accuracy[name]
        if accuracy["before"] - accuracy["after"] > MAX_DAMAGE:
            attempt.warnings.append(
                f"the accuracy on held samples fell from {accuracy['before']:.0%} to {accuracy['after']:.0%}: expect "
                "damage to the rest"
            )
    return attempt


def _train(
    method: Method,
    model: nn.Module,
    objective: Objective,
    request: Request,
    settings: UnlearnSettings,
    stop: StopRule,
    history: list[dict[str, float]],
) -> tuple[int, StopReason]:
    """Train until the stop rule or a limit is reached; return the number of steps and the reason."""
    samples = request.forget
    # The rule is judged on the host, which so waits for a step once.
    labels = samples.labels.cpu()
    new_labels = None if request.new_labels is None else request.new_labels.cpu()

    def set_mode() -> None:
        if method.from_scratch:
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
            logits = logits_of(model, samples, settings.batch_size).cpu()
            history[-1]["forget_accuracy"] = (logits.argmax(dim=1) == labels).float().mean().item()
            history[-1]["forget_loss"] = functional.cross_entropy(logits.float(), labels).item()
            if not bool(logits.isfinite().all()):
                return "diverged"
            if method.stops_at_goal and stop.reached(logits, labels, new_labels):
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
        logits = model(samples.images[:1])
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 1 or logits.shape[1] < 2:
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise SettingsError(
            f"the model must return logits of shape (batch, classes); for one image it returned {shape}"
        )
    return samples


def _instances(
    labels: Tensor, new_labels: Tensor | None, before: Tensor, after: Tensor, margin: float
) -> tuple[InstanceResult, ...]:
    column = labels.unsqueeze(1)
    probabilities = [logits.float().softmax(dim=1).gather(1, column).flatten().tolist() for logits in (before, after)]
    answers = [logits.argmax(dim=1).tolist() for logits in (before, after)]
    goals = [None] * len(labels) if new_labels is None else new_labels.tolist()
    return tuple(
        InstanceResult(*row)
        for row in zip(
            labels.tolist(),
            goals,
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
            f"{name} images must lie in [0, 1], got {low:g} to {high:g}; move the normalisation into the model"
        )


def _check_labels(labels: Tensor, num_classes: int, name: str) -> None:
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= num_classes:
        raise SettingsError(f"{name} labels must be in 0 to {num_classes - 1}, got {low} to {high}")
