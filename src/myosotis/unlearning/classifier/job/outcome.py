"""How unlearning went, over all requests, ready for JSON."""

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
) -> dict[str, Any]:
    """Return how unlearning went; instances are told as the last model sees them.

    Args:
        results: Of each request.
        sizes: How many instances each request brought itself; what it repeats of earlier ones comes first.
        requests: After each request the share of each one so far that gets its true label; None for a single request.
        logits: Of all instances, by the last model.
        margin: Of the stop rule, in logits.
        batch_norm_drift: Of the last model from the first.
    """
    instances = [
        asdict(instance) for result, size in zip(results, sizes, strict=True) for instance in result.instances[-size:]
    ]
    if requests is not None:
        _look_again(instances, logits, margin)
    came_back = requests is not None and not all(one["forgotten"] for one in instances)
    reason = next((one.stop_reason for one in results if not one.converged), None)
    return {
        "converged": reason is None and not came_back,
        "stop_reason": reason or ("came_back" if came_back else results[-1].stop_reason),
        "steps": sum(result.steps for result in results),
        "seconds": sum(result.seconds for result in results),
        "min_margin": min(one["margin"] for one in instances),
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


def _look_again(instances: list[dict[str, Any]], logits: Tensor, margin: float) -> None:
    """Tell instances as a later model sees them: one that was forgotten may have come back."""
    labels = torch.tensor([one["label"] for one in instances])
    wanted = [one["new_label"] for one in instances]
    new_labels = None if wanted[0] is None else torch.tensor(wanted)
    margins = goal_margins(logits, labels, new_labels).tolist()
    done = forgotten(logits, labels, new_labels, margin).tolist()
    probabilities = logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).flatten().tolist()
    for place, one in enumerate(instances):
        one["answer_after"] = int(logits[place].argmax())
        one["probability_after"], one["margin"], one["forgotten"] = probabilities[place], margins[place], done[place]
