"""Outcome of the unlearning over all requests, ready for JSON."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.unlearning.classifier.instance_result import UnlearnResult
from myosotis.unlearning.classifier.stopping import forgotten, goal_margins


def summarise(
    results: Sequence[UnlearnResult],
    sizes: Sequence[int],
    requests: Sequence[Sequence[float]] | None,
    logits: Float[Tensor, "n classes"],
    margin: float,
    batch_norm_drift: float | None,
    settled: bool = False,
) -> dict[str, Any]:
    """Return the outcome of the unlearning, with the instances as the last model predicts them.

    Args:
        results: Result of each request.
        sizes: Number of instances that each request has itself; instances repeated from earlier ones come first.
        requests: Accuracy on each request so far after each request; None for a single request.
        logits: Logits of all instances by the last model.
        margin: Margin of the stop rule, in logits.
        batch_norm_drift: Drift of batch normalisation from the first model to the last.
        settled: Whether something beside the weights changed after the last request, so that instances that were
            forgotten may have come back.
    """
    instances = [
        asdict(instance) for result, size in zip(results, sizes, strict=True) for instance in result.instances[-size:]
    ]
    again = requests is not None or settled
    if again:
        _update(instances, logits, margin)
    by_goal = results[-1].goal != "as_unseen"
    came_back = again and by_goal and not all(instance["forgotten"] for instance in instances)
    reason = next((result.stop_reason for result in results if not result.converged), None)
    return {
        "converged": reason is None and not came_back,
        "stop_reason": reason or ("came_back" if came_back else results[-1].stop_reason),
        "steps": sum(result.steps for result in results),
        "seconds": sum(result.seconds for result in results),
        "min_margin": min(instance["margin"] for instance in instances),
        "facts": results[-1].facts,
        "batch_norm_drift": batch_norm_drift,
        "warnings": sorted({warning for result in results for warning in result.warnings}),
        "instances": instances,
        "requests": None
        if requests is None
        else [
            {
                "instances": len(results[number].instances),
                "converged": results[number].converged,
                "stop_reason": results[number].stop_reason,
                "steps": results[number].steps,
                "seconds": results[number].seconds,
                "forget_accuracy": row,
            }
            for number, row in enumerate(requests)
        ],
    }


def _update(instances: list[dict[str, Any]], logits: Tensor, margin: float) -> None:
    """Update instances to the predictions of a later model: a forgotten one may have come back."""
    labels = torch.tensor([instance["label"] for instance in instances])
    given_labels = [instance["new_label"] for instance in instances]
    new_labels = None if given_labels[0] is None else torch.tensor(given_labels)
    margins = goal_margins(logits, labels, new_labels).tolist()
    done = forgotten(logits, labels, new_labels, margin).tolist()
    probabilities = logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).flatten().tolist()
    for index, instance in enumerate(instances):
        instance["answer_after"] = int(logits[index].argmax())
        instance["probability_after"], instance["margin"], instance["forgotten"] = (
            probabilities[index],
            margins[index],
            done[index],
        )
