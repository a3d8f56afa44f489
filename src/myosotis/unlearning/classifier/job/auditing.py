"""The auditing phase: every model of a job is measured, and the result compared with the others."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from myosotis.engine.processes import device
from myosotis.unlearning.classifier.audit import Audit, audit_sets, output_distances, predict
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.representations import layer_similarity, main_layers
from myosotis.unlearning.classifier.stress import copies_accuracy, relearning_curve, steps_to_return

_CKA_IMAGES = 500


def measure(context: JobContext, model: nn.Module, *, copies: bool = False) -> Audit:
    """Return what a model makes of each set of the audit.

    Args:
        context: The context of the job.
        model: The model.
        copies: Whether noisy copies are measured too, for a verdict.
    """
    settings = context.config.audit
    return audit_sets(
        model,
        context.sets.audited,
        bins=settings.bins,
        confidence=settings.confidence,
        copies_seed=context.config.seed if copies else None,
    )


def audit(context: JobContext, name: str, model: nn.Module) -> Audit:
    """Return the audit of a model; taken from the run if it was done before.

    Args:
        context: The context of the job.
        name: ``"before"``, ``"after"`` or ``"reference"``.
        model: The model.
    """

    def timed() -> dict[str, Any]:
        context.say("auditing the reference model" if name == "reference" else f"auditing the model {name}")
        with context.run.timed("audit"):
            return measure(context, model, copies=True).as_json()

    return Audit.read(context.run.stored_or(f"audit-{name}", timed))


def distances(context: JobContext, model: nn.Module, others: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Return how differently a model and each of others answer, set by set."""
    sets = context.sets.audited
    with context.run.timed("audit"):
        logits = {name: predict(model, images) for name, images in sets.items()}
        return {
            other_name: {name: output_distances(logits[name], predict(other, images)) for name, images in sets.items()}
            for other_name, other in others.items()
        }


def stress(context: JobContext, models: Mapping[str, nn.Module]) -> dict[str, Any]:
    """Return how models relearn the instances, and how they answer altered copies, as far as that is asked for."""
    settings, forget = context.config.audit, context.inputs.forget
    images, labels = forget.pixels(device()), forget.labels.to(device())
    results: dict[str, Any] = {}

    def relearn() -> dict[str, Any]:
        assert settings.relearning is not None  # noqa: S101 - checked by the caller
        relearning = settings.relearning.model_dump()
        curves = {
            name: relearning_curve(model, images, labels, **relearning, seed=context.config.seed)
            for name, model in models.items()
        }
        level = curves["before"][0]["held"]
        steps = {name: steps_to_return(curve, level) for name, curve in curves.items()}
        return {"level": level, "curves": curves, "steps_to_return": steps}

    def alter() -> dict[str, Any]:
        return {name: copies_accuracy(model, images, labels, context.config.seed) for name, model in models.items()}

    with context.run.timed("stress"):
        if settings.relearning is not None and len(forget) > 1:
            results["relearning"] = context.run.stored_or("relearning", relearn)
        if settings.copies:
            results["copies"] = context.run.stored_or("copies", alter)
    return results


def similarity(context: JobContext, original: nn.Module, model: nn.Module) -> dict[str, Any]:
    """Return the linear CKA of each main layer before and after; taken from the run if it was done before."""

    def timed() -> dict[str, Any]:
        layers = main_layers(original.get_submodule(context.models.body), f"{context.models.body}.")
        with context.run.timed("cka"):
            return {
                "layers": layers,
                "similarity": layer_similarity(
                    original, model, layers, context.sets.audited, _CKA_IMAGES, context.config.seed
                ),
                "images": _CKA_IMAGES,
            }

    return context.run.stored_or("cka", timed)  # type: ignore[no-any-return]
