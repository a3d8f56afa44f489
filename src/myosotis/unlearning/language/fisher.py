"""Diagonal empirical Fisher information of linear layers, from true per-sample gradients."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from myosotis.unlearning.language.losses import IGNORED, token_log_probs

Batch = Mapping[str, Tensor]


def fisher_information(model: nn.Module, batches: Iterable[Batch], modules: Sequence[str]) -> dict[str, Tensor]:
    r"""Return the diagonal empirical Fisher information of the weights of linear modules.

    $$F = \frac{\sum_i n_i\, (\partial L_i / \partial W)^2}{\sum_i n_i}$$

    L_i is the mean negative log-likelihood of sample i over its n_i labelled tokens. The gradients are squared per
    sample, whatever the batch size: the square of a batch's mean gradient, which released code uses, is not the Fisher
    information and shrinks with the batch. Dropout is off; sums are kept in float32 or better.

    Args:
        model: A causal language model, or any model whose output or output's ``logits`` is (batch, time, classes).
        batches: Inputs of the model with unshifted ``labels`` (batch, time), -100 where ignored.
        modules: Names of ``nn.Linear`` or transformers' ``Conv1D`` modules, as in ``model.named_modules()``.

    Returns:
        By name a non-negative tensor of the shape of the module's weight. Parameters, their gradients and flags, and
        the train or eval mode of the model are left as they were.

    Raises:
        ValueError: A name is no linear module of the model, or no sample carries a label.
    """

    def squared(layer: nn.Module, gradient_rows: Tensor, inputs: Tensor) -> Tensor:
        gradient = gradient_rows.T @ inputs  # (out, in)
        return (gradient.T if isinstance(layer, Conv1D) else gradient).square()

    return _accumulate(model, batches, modules, squared)


def fisher_row_sums(model: nn.Module, batches: Iterable[Batch], modules: Sequence[str]) -> dict[str, Tensor]:
    r"""Return the Fisher information of :func:`fisher_information` summed over each output unit's weights.

    With inputs a_t and output gradients d_t of one sample, the squared gradients of row o sum to
    $\sum_{t,s} d_{to}\,(a_t \cdot a_s)\,d_{so}$ (the Gram identity), so that no matrix of the weight's size is formed.

    Args:
        model: See :func:`fisher_information`.
        batches: See :func:`fisher_information`.
        modules: See :func:`fisher_information`.

    Returns:
        By name a non-negative tensor (out,).

    Raises:
        ValueError: See :func:`fisher_information`.
    """

    def squared_rows(layer: nn.Module, gradient_rows: Tensor, inputs: Tensor) -> Tensor:  # noqa: ARG001
        gram = inputs @ inputs.T  # (time, time)
        return ((gram @ gradient_rows) * gradient_rows).sum(dim=0).clamp(min=0)

    return _accumulate(model, batches, modules, squared_rows)


@contextmanager
def _recording(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[tuple[Tensor, Tensor]]]]:
    """Record inputs and outputs of layers; outputs take part in the graph even when every parameter is frozen."""
    record: dict[str, list[tuple[Tensor, Tensor]]] = {name: [] for name in layers}
    handles: list[RemovableHandle] = []

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
            if not output.requires_grad:
                output.requires_grad_()
            record[name].append((inputs[0].detach(), output))

        return hook

    try:
        for name, layer in layers.items():
            handles.append(layer.register_forward_hook(hook_for(name)))
        yield record
    finally:
        for handle in handles:
            handle.remove()


def _accumulate(
    model: nn.Module,
    batches: Iterable[Batch],
    modules: Sequence[str],
    measure: Callable[[nn.Module, Tensor, Tensor], Tensor],
) -> dict[str, Tensor]:
    layers = _linear_layers(model, modules)
    modes = {module: module.training for module in model.modules()}
    sums: dict[str, Tensor] = {}
    tokens = 0
    model.eval()
    try:
        for batch in batches:
            counts = (batch["labels"][:, 1:] != IGNORED).sum(dim=1)
            with torch.enable_grad(), _recording(layers) as record:
                losses = _sample_losses(model, batch)
                outputs = [output for calls in record.values() for _, output in calls]
                gradients = iter(torch.autograd.grad(losses.sum(), outputs))
            for name, calls in record.items():
                paired = [(inputs, next(gradients)) for inputs, _ in calls]
                for sample, count in enumerate(counts.tolist()):
                    if count == 0:
                        continue
                    # A layer used twice in one pass has one gradient: its uses stand behind one another in time.
                    inputs = torch.cat([_rows(values, sample, batch, name) for values, _ in paired])
                    rows = torch.cat([_rows(gradient, sample, batch, name) for _, gradient in paired])
                    value = count * measure(layers[name], rows, inputs)
                    sums[name] = sums[name].add_(value) if name in sums else value
            tokens += int(counts.sum())
    finally:
        for module, mode in modes.items():
            module.training = mode
    if tokens == 0:
        raise ValueError("no sample carries a label, so there is no Fisher information")
    return {name: sums[name] / tokens for name in layers}


def _rows(values: Tensor, sample: int, batch: Batch, name: str) -> Tensor:
    """What belongs to one sample, as (time, features) in float32 or better."""
    count, time = batch["labels"].shape
    if values.ndim == 2 and len(values) == count * time:
        # Some models flatten batch and time before a layer.
        values = values.reshape(count, time, -1)
    elif values.ndim < 3 or len(values) != count:
        raise ValueError(
            f"module {name!r}: its input has shape {tuple(values.shape)}, from which the samples of a batch of {count} "
            "cannot be told apart"
        )
    rows = values[sample].reshape(-1, values.shape[-1])
    return rows if rows.dtype == torch.float64 else rows.float()


def _sample_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Mean negative log-likelihood over the labelled tokens of each sample: (batch,)."""
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
    output = model(**inputs)
    logits = output if isinstance(output, Tensor) else output.logits
    labels = batch["labels"].to(device)[:, 1:]
    log_probs = token_log_probs(logits[:, :-1], labels)
    return -log_probs.sum(dim=1) / (labels != IGNORED).sum(dim=1).clamp(min=1)


def _linear_layers(model: nn.Module, names: Sequence[str]) -> dict[str, nn.Module]:
    known = dict(model.named_modules())
    layers = {}
    for name in names:
        layer = known.get(name)
        if not isinstance(layer, nn.Linear | Conv1D):
            what = "there is no such module" if layer is None else f"it is a {type(layer).__name__}"
            raise ValueError(f"module {name!r}: Fisher information is defined here for linear modules, and {what}")
        layers[name] = layer
    if not layers:
        raise ValueError("no module was named")
    return layers
