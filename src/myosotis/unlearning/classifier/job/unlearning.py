"""The unlearning phase: the instances are unlearned, all at once or request by request, and by other methods too."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.data.images import ImageSet
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import settings_as_input
from myosotis.engine.processes import device, wait_for_everyone
from myosotis.unlearning.classifier.audit import Audit, predict
from myosotis.unlearning.classifier.batch_norm import drift, running_statistics
from myosotis.unlearning.classifier.goals import Goal
from myosotis.unlearning.classifier.instance_result import UnlearnResult
from myosotis.unlearning.classifier.job.auditing import measure
from myosotis.unlearning.classifier.job.config import MethodConfig
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.job.outcome import summarise
from myosotis.unlearning.classifier.methods import build_method
from myosotis.unlearning.classifier.sequential import unlearn_sequence
from myosotis.unlearning.classifier.settings import UnlearnSettings
from myosotis.unlearning.classifier.stopping import StopRule, reference_level
from myosotis.unlearning.classifier.unlearner import unlearn_instances


class Unlearning:
    """Unlearns the instances of a job; results that the run holds are not computed again.

    Args:
        context: The context of the job.
        audits: Audits of the model ``before`` and of the ``reference``, of which a stop at the reference needs both.
    """

    def __init__(self, context: JobContext, audits: Mapping[str, Audit] | None = None) -> None:
        self._context = context
        self._audits = audits or {}

    def unlearn(self, original: nn.Module) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model without the instances, and how that went, ready for JSON.

        Args:
            original: The model before unlearning; never changed.
        """
        context = self._context
        path = context.run.checkpoints / "unlearned"
        done = is_complete(path) and context.run.kept("unlearned.json") is not None
        wait_for_everyone()
        if not done:
            context.say(f"unlearning with {build_method(context.config.method.name).card.title}")
            context.run.rewind(lambda event: event.get("phase") != "unlearn")
            with settings_as_input(), context.run.timed("unlearn"):
                model, results, requests = self._requests(original)
                unlearned, model = model, context.models.settled(model)
            for number, result in enumerate(results, start=1):
                for event in result.history:
                    tag = {} if requests is None else {"request": number}
                    context.log({"phase": "unlearn", **tag, **_finite(event)})
            context.save(model, "checkpoints/unlearned")
            outcome = summarise(
                results,
                context.inputs.requests,
                requests,
                predict(model, context.inputs.forget),
                context.config.stop.margin,
                drift(running_statistics(original), running_statistics(model)),
                settled=model is not unlearned and context.config.stop.at == "goal",
            )
            context.run.keep("unlearned.json", outcome)
            wait_for_everyone()
        return context.models.load(path).to(device()).eval(), dict(context.run.kept("unlearned.json") or {})

    def _requests(self, original: nn.Module) -> tuple[nn.Module, list[UnlearnResult], list[list[float]] | None]:
        """The last model, the result of each request, and the accuracies after each of several."""
        context, config = self._context, self._context.config
        forget = context.inputs.forget
        images, labels = forget.pixels(device()), forget.labels.to(device())
        arguments = self.arguments(config.method, config.goal, config.training)
        sizes = list(context.inputs.requests)
        if len(sizes) == 1:
            result = unlearn_instances(
                original, (images, labels), seed=config.seed, new_labels=context.new_labels, **arguments
            )
            return result.model, [result], None
        new_labels: Any = context.new_labels  # not a tensor: the configuration has been checked
        return unlearn_sequence(
            original,
            [(images[part], labels[part]) for part in torch.split(torch.arange(len(forget)), sizes)],
            replay=config.replay,
            seed=config.seed,
            new_labels=new_labels,
            on_result=lambda number, _: context.say(f"request {number} of {len(sizes)} is done"),
            **arguments,
        )

    def variant(self, number: int, original: nn.Module) -> Any:
        """Return the figures of another method on the same request; taken from the run if it was done before.

        Args:
            number: Index of the entry of ``compare``.
            original: The model before unlearning; never changed.
        """

        def timed() -> dict[str, Any]:
            with self._context.run.timed("compare"):
                return self._compare(number, original)

        return self._context.run.stored_or(f"variant-{number}", timed)

    def _compare(self, number: int, original: nn.Module) -> dict[str, Any]:
        context, config = self._context, self._context.config
        variant, forget = config.compare[number], context.inputs.forget
        context.say(f"comparing with {variant.label}")
        with settings_as_input(f"compare, {variant.label}"):
            result = unlearn_instances(
                original,
                (forget.pixels(device()), forget.labels.to(device())),
                seed=config.seed,
                new_labels=context.new_labels,
                **self.arguments(variant.method, variant.goal, variant.training or config.training),
            )
        return {
            "name": variant.label,
            "method": variant.method.name,
            "goal": variant.goal,
            "converged": result.converged,
            "stop_reason": result.stop_reason,
            "steps": result.steps,
            "seconds": result.seconds,
            "batch_norm_drift": result.batch_norm_drift,
            "facts": result.facts,
            "metrics": measure(context, context.models.settled(result.model)).metrics,
        }

    def arguments(
        self, method: MethodConfig, goal: Goal, training: UnlearnSettings, retained: ImageSet | None = None
    ) -> dict[str, Any]:
        """Return the arguments of :func:`unlearn_instances` for a method.

        Args:
            method: Method and its settings.
            goal: Goal of the unlearning.
            training: Settings of the training.
            retained: Images to retain, for a method that reads them; those of the job unless given.
        """
        retain: tuple[Tensor, Tensor] | None = None
        if build_method(method.name, method.settings).reads_retain:
            images = self._context.sets.retained(method) if retained is None else retained
            if images is not None:
                retain = (images.pixels(device()), images.labels.to(device()))
        return {
            "goal": goal,
            "method": method.name,
            "method_settings": method.settings,
            "settings": training,
            "retain": retain,
            "stop": self._stop_rule(),
        }

    def _stop_rule(self) -> StopRule:
        stop, level = self._context.config.stop, None
        if stop.at == "reference" and "reference" in self._audits:
            before, reference = (self._audits[name].right["forget"].mean().item() for name in ("before", "reference"))
            level = reference_level(before, reference, self._context.config.audit.margin)
        return StopRule(stop.at, stop.margin, level, stop.every)


def _finite(event: Mapping[str, float]) -> dict[str, float | None]:
    """The event with None for infinity and NaN, which JSON cannot write."""
    return {name: value if math.isfinite(value) else None for name, value in event.items()}
