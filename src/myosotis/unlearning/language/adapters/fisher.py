"""Diagonal empirical Fisher information of linear layers, from true per-sample gradients."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils.hooks import RemovableHandle
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.forward import (
    evaluation_mode,
    labelled_first,
    labelled_logits,
    takes_positions,
)
from myosotis.unlearning.language.methods.token_losses import token_log_probs

Batch = Mapping[str, Tensor]


Reduce = Callable[[Tensor], Tensor]


def fisher_information(
    model: nn.Module, batches: Iterable[Batch], modules: Sequence[str], reduce: Reduce | None = None
) -> dict[str, Tensor]:
    r"""Return the diagonal empirical Fisher information of the weights of linear modules.

    $$F = \frac{\sum_i n_i\, (\partial L_i / \partial W)^2}{\sum_i n_i}$$

    L_i is the mean negative log-likelihood of sample i over its n_i labelled tokens. The gradients are squared per
    sample, whatever the batch size: the square of a batch's mean gradient, which released code uses, is not the Fisher
    information and shrinks with the batch. Dropout is off; sums are in float32 or better.

    Args:
        model: A causal language model, or any model whose output or output's ``logits`` is (batch, time, classes).
        batches: Inputs of the model with unshifted ``labels`` (batch, time), -100 where ignored.
        modules: Names of ``nn.Linear`` or transformers' ``Conv1D`` modules, as in ``model.named_modules()``.
        reduce: Sums a tensor over processes that have some of the batches each, at least one.

    Returns:
        By name a non-negative tensor of the shape of the module's weight. Parameters, their gradients and flags, and
        the train or eval mode of the model are unchanged.

    Raises:
        ValueError: A name is not that of a linear module, or no sample has a label.
    """

    sums = _accumulate(model, batches, modules, _squared_gradients, reduce)
    known = dict(model.named_modules())
    return {name: value.T if isinstance(known[name], Conv1D) else value for name, value in sums.items()}


def fisher_row_sums(
    model: nn.Module, batches: Iterable[Batch], modules: Sequence[str], reduce: Reduce | None = None
) -> dict[str, Tensor]:
    r"""Return the Fisher information of :func:`fisher_information` summed over each output unit's weights.

    With inputs a_t and output gradients d_t of one sample, the squared gradients of row o sum to
    $\sum_{t,s} d_{to}\,(a_t \cdot a_s)\,d_{so}$ (the Gram identity), so that no matrix of the weight's size is formed.

    Args:
        model: See :func:`fisher_information`.
        batches: See :func:`fisher_information`.
        modules: See :func:`fisher_information`.
        reduce: See :func:`fisher_information`.

    Returns:
        By name a non-negative tensor (out,).

    Raises:
        ValueError: See :func:`fisher_information`.
    """

    return _accumulate(model, batches, modules, _squared_rows, reduce)


_BLOCK = 200_000  # per-sample gradient values at once: as many as a core's cache holds


def _squared_gradients(total: Tensor | None, deltas: Tensor, inputs: Tensor) -> Tensor:
    """Add the squares of per-sample gradients (out, in), in blocks of rows that stay in the cache.

    At once they would take the batch size times the weight, read and written several times.
    """
    samples, _, out = deltas.shape
    if total is None:
        total = inputs.new_zeros(out, inputs.shape[-1])
    rows = max(1, _BLOCK // (samples * inputs.shape[-1]))
    turned = deltas.transpose(1, 2)  # (samples, out, time)
    for begin in range(0, out, rows):
        gradients = turned[:, begin : begin + rows] @ inputs
        total[begin : begin + rows] += gradients.square_().sum(dim=0)
    return total


def _squared_rows(total: Tensor | None, deltas: Tensor, inputs: Tensor) -> Tensor:
    gram = inputs @ inputs.transpose(1, 2)  # (samples, time, time)
    value = ((gram @ deltas) * deltas).sum(dim=(0, 1)).clamp(min=0)
    return value if total is None else total.add_(value)


@dataclass(frozen=True)
class Call:
    """A call of a layer.

    Attributes:
        inputs: Its input.
        version: How often that had been changed in place.
        output: The edge of its output in the graph.
    """

    inputs: Tensor
    version: int
    output: GradientEdge

    def unchanged_inputs(self, name: str) -> Tensor:
        """Return the input; raise ``ValueError`` if it has been changed since."""
        if self.inputs._version != self.version:
            raise ValueError(f"module {name!r}: its input is changed in place afterwards, so it is not known any more")
        return self.inputs


@contextmanager
def recording(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, list[Call]]]:
    """Record the calls of layers; their outputs take part in the graph even when every parameter is frozen."""
    record: dict[str, list[Call]] = {name: [] for name in layers}
    handles: list[RemovableHandle] = []

    def hook_for(name: str) -> Callable[[nn.Module, tuple[Any, ...], Tensor], Tensor]:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:  # noqa: ARG001
            if not output.requires_grad or output._is_view():
                # What follows may work in place: on a leaf it could not, and on a view it would replace the edge.
                output = output + output.new_zeros((), requires_grad=True)
            # Of the output itself, also if its memory has become that of an activation.
            record[name].append(Call(inputs[0].detach(), inputs[0]._version, get_gradient_edge(output)))
            return output

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
    add: Callable[[Tensor | None, Tensor, Tensor], Tensor],
    reduce: Reduce | None,
) -> dict[str, Tensor]:
    layers = _linear_layers(model, modules)
    sums: dict[str, Tensor] = {}
    tokens = 0
    with evaluation_mode(model):
        for batch in batches:
            counts = (batch["labels"][:, 1:] != IGNORED).sum(dim=1)
            with torch.enable_grad(), recording(layers) as record:
                losses = _sample_losses(model, batch)
                edges = [call.output for calls in record.values() for call in calls]
                gradients = iter(torch.autograd.grad(losses.sum(), edges))
            # A factor of sqrt(n) on a sample's gradient is one of n on its square.
            weights = counts.double().sqrt().view(-1, 1, 1)
            for name, calls in record.items():
                paired = [(call.unchanged_inputs(name), next(gradients)) for call in calls]
                # A layer used twice in one pass has one gradient: its calls are concatenated in time.
                inputs = torch.cat([_by_sample(values, batch, name) for values, _ in paired], dim=1)
                deltas = torch.cat([_by_sample(gradient, batch, name) for _, gradient in paired], dim=1)
                sums[name] = add(sums.get(name), deltas * weights.to(deltas), inputs)
            tokens += int(counts.sum())
    if reduce is not None:
        sums = {name: reduce(sums[name]) for name in layers}
        tokens = int(reduce(torch.tensor([tokens], device=next(model.parameters()).device)))
    if tokens == 0:
        raise ValueError("no sample carries a label, so there is no Fisher information")
    return {name: sums[name] / tokens for name in layers}


def _by_sample(values: Tensor, batch: Batch, name: str) -> Tensor:
    """Inputs or gradients as (samples, time, features) in float32 or better."""
    count, time = batch["labels"].shape
    if values.ndim == 2 and len(values) == count * time:
        # Some models flatten batch and time before a layer.
        values = values.reshape(count, time, -1)
    elif values.ndim < 3 or len(values) != count:
        raise ValueError(
            f"module {name!r}: its input has shape {tuple(values.shape)}, from which the samples of a batch of {count} "
            "cannot be told apart"
        )
    rows = values.reshape(count, -1, values.shape[-1])
    return rows if rows.dtype == torch.float64 else rows.float()


def _sample_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Mean negative log-likelihood over the labelled tokens of each sample: (batch,)."""
    device = next(model.parameters()).device
    inputs = {name: value.to(device) for name, value in batch.items() if name != "labels"}
    labels = batch["labels"].to(device)[:, 1:]
    positions = labelled_first(labels)
    _, logits = labelled_logits(model, positions, takes_positions(model), **inputs)
    labels = labels.gather(1, positions)
    log_probs = token_log_probs(logits, labels)
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
        raise ValueError("no module given")
    return layers
