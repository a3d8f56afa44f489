"""The memory of a pass, from shapes alone: the model's own code runs on tensors without content, which are counted."""

import logging
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from myosotis.engine.errors import InputError
from myosotis.unlearning.language.adapters.fisher import recording
from myosotis.unlearning.language.methods.forward import evaluation_mode, labelled_logits, takes_positions
from myosotis.unlearning.language.methods.term import Side, SideName, Sides, WeightedTerm
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.guard import mean_nll
from myosotis.unlearning.language.training.references import reference_needs

_SIDES: tuple[SideName, ...] = ("forget", "alternate", "retain")


@dataclass(frozen=True)
class PassShape:
    """The shape of a padded batch.

    Attributes:
        rows: Rows by side of the loss.
        length: Tokens of the longest row.
        labelled: Labelled tokens of the row that has most; every row counts as having as many.
    """

    rows: Mapping[SideName, int]
    length: int
    labelled: int

    @property
    def count(self) -> int:
        """Rows of all sides."""
        return sum(self.rows.values())


@dataclass(frozen=True)
class Trace:
    """Bytes in use during a pass, beside weights and inputs, whenever they changed.

    Attributes:
        after_forward: Bytes that the forward pass left behind for the backward pass, logits included.
        moments: Pairs of bytes: activations and everything else that is temporary, and gradients of weights.
    """

    after_forward: int
    moments: Sequence[tuple[int, int]]

    def peak(self, shards: int = 1, *, accumulated: bool = False) -> int:
        """Return the most bytes in use at once.

        Args:
            shards: Number of processes that gradients of weights are divided by.
            accumulated: Whether all gradients are there from the beginning, from earlier micro-batches.
        """
        gradients = max((own for _, own in self.moments), default=0)
        return max((other + (gradients if accumulated else own) // shards for other, own in self.moments), default=0)


class LiveMemory(TorchDispatchMode):
    """Counts the bytes of all tensors that are made inside and still in use.

    A choice of positions by a mask takes all of them: which ones it would take depends on content.

    Args:
        known: Tensors that do not count: weights and buffers.
    """

    def __init__(self, known: Iterable[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._sizes: dict[int, int] = {_key(tensor): 0 for tensor in known}
        self._gradients: set[int] = set()
        self.others, self.gradients = 0, 0
        self.moments: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = _without_content(func, args) if func in _BY_MASK else None
        if output is None:
            output = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return output

    def mark_gradient(self, parameter: Tensor) -> None:
        """Count the gradient that a parameter has just received as one."""
        key = _key(parameter.grad)
        size = self._sizes.get(key, 0)
        if key not in self._gradients and size:
            self._gradients.add(key)
            self._change(-size, size)

    def _count(self, tensor: Tensor) -> None:
        storage, key = tensor.untyped_storage(), _key(tensor)
        if key not in self._sizes:
            self._sizes[key] = storage.nbytes()
            weakref.finalize(storage, self._release, key)
            self._change(storage.nbytes(), 0)

    def _release(self, key: int) -> None:
        size = self._sizes.pop(key)
        gradient = key in self._gradients
        self._gradients.discard(key)
        self._change(*((0, -size) if gradient else (-size, 0)))

    def _change(self, others: int, gradients: int) -> None:
        self.others += others
        self.gradients += gradients
        self.moments.append((self.others, self.gradients))


_INDEX, _SELECT = torch.ops.aten.index.Tensor, torch.ops.aten.masked_select.default
_BY_MASK = (_INDEX, _SELECT)


def _without_content(func: Any, args: Sequence[Any]) -> Tensor | None:
    """What a choice by a mask returns if it takes everything; None where nothing is chosen by a mask."""
    values: Tensor = args[0]
    if func is _SELECT:
        return values.new_empty(torch.broadcast_shapes(values.shape, args[1].shape).numel())
    mask = args[1][0]
    if len(args[1]) != 1 or mask is None or mask.dtype != torch.bool:
        return None
    return values.new_empty((mask.numel(), *values.shape[mask.ndim :]))


def _key(tensor: Any) -> int:
    return int(tensor.untyped_storage()._cdata)


class MemoryTracer:
    """Traces passes of a model on the meta device.

    Attention is that of a CPU: a fused kernel, as on most GPUs; ``eager`` attention keeps its probabilities.

    Args:
        model: A causal language model on the meta device, with an adapter or not; changed in place.
        autocast: Type of mixed precision; None for none.
    """

    def __init__(self, model: Any, autocast: torch.dtype | None = None) -> None:
        self._model = model
        self._autocast = autocast
        self._fake = FakeTensorMode()
        with self._fake:
            _make_fake(model)

    def step(self, shape: PassShape, terms: Sequence[WeightedTerm], *, whole: bool = False) -> Trace:
        """Return the memory of the forward pass, the loss and the backward pass of a micro-batch.

        Args:
            shape: Shape of the batch.
            terms: Terms of the loss.
            whole: Whether logits are computed at all positions, and those of labelled ones taken from them.

        Raises:
            InputError: The model's code depends on the content of tensors.
        """
        blocks = sorted({block for _, term in terms for block in term.blocks})
        needs = set(reference_needs(terms))

        def body(live: LiveMemory) -> int:
            handles = [
                parameter.register_post_accumulate_grad_hook(live.mark_gradient)
                for parameter in self._model.parameters()
                if parameter.requires_grad
            ]
            extra = {"output_hidden_states": True} if blocks else {}
            everywhere = PassShape(shape.rows, shape.length, shape.length) if whole else shape
            output, logits = self._forward(everywhere, use_cache=False, **extra)
            logits = logits[:, : shape.labelled]
            hidden = {block: output.hidden_states[block + 1][:, : shape.labelled] for block in blocks}
            del output
            kept = live.others
            sides = _sides(shape, logits, hidden, needs)
            loss = sum((weight * term.items(sides).sum() for weight, term in terms), logits.new_zeros(()))
            with torch.no_grad():
                for side in (sides.forget, sides.retain):
                    if side is not None:
                        mean_nll(side.logits, side.labels)
            loss.backward()
            for handle in handles:
                handle.remove()
            for parameter in self._model.parameters():
                parameter.grad = None
            return kept

        self._model.train()
        return self._trace(body)

    def fisher(self, shape: PassShape, modules: Sequence[str]) -> Trace:
        """Return the memory of a pass that records inputs and gradients of outputs of linear modules.

        Args:
            shape: Shape of the batch.
            modules: Names of the modules.

        Raises:
            InputError: See :meth:`step`.
        """
        layers = {name: self._model.get_submodule(name) for name in modules}

        def body(live: LiveMemory) -> int:
            with torch.enable_grad(), recording(layers) as record:
                _, logits = self._forward(shape)
                kept = live.others
                losses = token_log_probs(logits, _labels(shape.count, shape))
                edges = [call.output for calls in record.values() for call in calls]
                gradients = torch.autograd.grad(losses.sum(), edges)
                # In float32, layer by layer.
                for gradient in gradients:
                    gradient.float()
            return kept

        with evaluation_mode(self._model):
            return self._trace(body)

    def inference(self, shape: PassShape, generated: int = 0) -> Trace:
        """Return the memory of a pass without gradients, whose labelled tokens are judged, or whose cache is kept.

        Args:
            shape: Shape of the batch.
            generated: Tokens to generate after it, which lengthen its cache of keys and values.

        Raises:
            InputError: See :meth:`step`.
        """

        def body(live: LiveMemory) -> int:
            if generated:
                longer = PassShape(shape.rows, shape.length + generated, 1)
                output, _ = self._forward(longer, use_cache=True)
                kept = live.others
                del output
                return kept
            _, logits = self._forward(shape, use_cache=False)
            kept = live.others
            token_log_probs(logits, _labels(shape.count, shape))
            logits.float().log_softmax(dim=-1)
            return kept

        with evaluation_mode(self._model):
            return self._trace(body)

    def _forward(self, shape: PassShape, **options: Any) -> tuple[Any, Tensor]:
        ids = torch.zeros(shape.count, shape.length, dtype=torch.long)
        positions = torch.zeros(shape.count, shape.labelled, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids), **options}
        around: AbstractContextManager[Any] = (
            nullcontext() if self._autocast is None else torch.autocast("cpu", dtype=self._autocast)
        )
        with around:
            output, logits = labelled_logits(self._model, positions, takes_positions(self._model), **inputs)
        # accelerate returns float32 where it autocasts.
        return output, logits if self._autocast is None else logits.float()

    def _trace(self, body: Callable[[LiveMemory], int]) -> Trace:
        live = LiveMemory([*self._model.parameters(), *self._model.buffers()])
        # What fails is said in one line below.
        logging.getLogger(FakeTensorMode.__module__).setLevel(logging.CRITICAL)
        try:
            with self._fake, live:
                kept = body(live)
        except RuntimeError as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"the memory of this model cannot be planned from its shapes: {first_line}") from None
        return Trace(kept, live.moments)


def _make_fake(model: nn.Module) -> None:
    """Replace weights and buffers of the meta device by ones without content on a CPU; tied ones stay tied."""
    made: dict[int, Tensor] = {}
    for module in model.modules():
        for own in (module._parameters, module._buffers):
            for name, tensor in own.items():
                if tensor is None:
                    continue
                if id(tensor) not in made:
                    value = torch.empty(tensor.shape, dtype=tensor.dtype, device="cpu")
                    trained = tensor.requires_grad
                    made[id(tensor)] = nn.Parameter(value, trained) if isinstance(tensor, nn.Parameter) else value
                own[name] = made[id(tensor)]  # type: ignore[assignment]


def _labels(rows: int, shape: PassShape) -> Tensor:
    return torch.zeros(rows, shape.labelled, dtype=torch.long)


def _sides(
    shape: PassShape, logits: Tensor, hidden: Mapping[int, Tensor], needs: Iterable[tuple[SideName, str]]
) -> Sides:
    """The parts of a batch, with references as the trainer attaches them."""
    needed, sides, begin = set(needs), {}, 0
    for name in _SIDES:
        rows = shape.rows.get(name, 0)
        if not rows:
            continue
        part = slice(begin, begin + rows)
        begin += rows
        own = {block: states[part] for block, states in hidden.items()}
        side = sides[name] = Side(_labels(rows, shape), logits[part], own)
        if (name, "log_probs") in needed:
            side.reference_log_probs = logits.new_zeros(rows)
        if (name, "logits") in needed:
            side.reference_logits = torch.zeros_like(side.logits)
        if (name, "teacher") in needed:
            side.teacher = torch.zeros_like(side.logits)
        if (name, "hidden") in needed:
            side.reference_hidden = {block: torch.zeros_like(states) for block, states in own.items()}
    return Sides(**sides)
