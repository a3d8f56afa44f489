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
    """Unlearn requests one after another, each from the model that the previous one left.

    Adversarial examples, importance and anchor follow from the present model and request alone.

    Args:
        model: Classifier; not changed.
        requests: Images and labels of each request.
        replay: Whether each request unlearns earlier ones again; only where their images may still be stored.
        seed: Seed; each request has its own random stream.
        new_labels: Rule for new labels, for the goal ``relabel``.
        on_result: Callback that receives the number of a request, counting from 1, and its result.
        arguments: Further arguments of :func:`unlearn_instances`.

    Returns:
        The last model, the results, and after each request the share of each request so far that still, or again, gets
        its true label.

    Raises:
        ValueError: There is no request, or as :func:`unlearn_instances`.
    """
    if not requests:
        raise SettingsError("no requests given")
    results: list[UnlearnResult] = []
    accuracies: list[list[float]] = []
    all_labels: list[Tensor] = []
    for number, (own_images, own_labels) in enumerate(requests, start=1):
        own_seed = int(torch.randint(2**62, (1,), generator=generator(seed, "request", number)))
        first = number - 1 if not replay else 0
        images = torch.cat([images for images, _ in requests[first:number]])
        labels = torch.cat([labels for _, labels in requests[first:number]])
        request_labels: Tensor | NewLabels = new_labels
        if arguments.get("goal") == "relabel":
            # Chosen once for each instance, so that replayed instances keep their new labels.
            samples = Samples(own_images, own_labels)
            device = next(model.parameters()).device
            logits = logits_of(model, Samples(samples.images.to(device), samples.labels.to(device)))
            all_labels.append(choose_labels(new_labels, samples.labels.to(device), logits, own_seed))
            request_labels = torch.cat(all_labels[first:number])
        result = unlearn_instances(model, (images, labels), seed=own_seed, new_labels=request_labels, **arguments)
        model = result.model
        device = next(model.parameters()).device
        accuracies.append(
            [
                (logits_of(model, Samples(x.to(device), y.to(device))).argmax(dim=1) == y.to(device))
                .float()
                .mean()
                .item()
                for x, y in requests[:number]
            ]
        )
        results.append(result)
        if on_result is not None:
            on_result(number, result)
    return model, results, accuracies
