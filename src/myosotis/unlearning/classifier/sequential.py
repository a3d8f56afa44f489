"""Requests one after another."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import generator
from myosotis.unlearning.classifier.instance_result import UnlearnResult
from myosotis.unlearning.classifier.methods import Samples
from myosotis.unlearning.classifier.unlearner import NewLabels, choose_labels, logits_of, unlearn_instances


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
        raise SettingsError("there is no request")
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
            logits = logits_of(model, Samples(own.images.to(place), own.labels.to(place)))
            wanted.append(choose_labels(new_labels, own.labels.to(place), logits, own_seed))
            given = torch.cat(wanted[first:number])
        result = unlearn_instances(model, (images, labels), seed=own_seed, new_labels=given, **arguments)
        model = result.model
        place = next(model.parameters()).device
        table.append(
            [
                (logits_of(model, Samples(x.to(place), y.to(place))).argmax(dim=1) == y.to(place)).float().mean().item()
                for x, y in requests[:number]
            ]
        )
        results.append(result)
        if on_result is not None:
            on_result(number, result)
    return model, results, table
