"""The one training loop of everything that is not a language model."""

import functools
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from pydantic import BeforeValidator
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from myosotis.engine.checkpoint import newest_complete, sealed_directory
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json, write_tensors
from myosotis.engine.processes import is_main_process, wait_for_everyone
from myosotis.engine.progress import progress


def _named_precision(value: Any) -> Any:
    if value == "fp32":
        raise ValueError("'fp32' is now called 'no': the precision of the weights")
    return "no" if value is False else value  # what YAML makes of a bare no


Precision = Annotated[Literal["no", "bf16", "fp16"], BeforeValidator(_named_precision)]
"""Mixed precision of the forward pass; ``"no"`` is the precision of the weights."""


@runtime_checkable
class Stateful(Protocol):
    """State that must be part of a training checkpoint: tensors, numbers, and lists and dicts of them."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state: dict[str, Any], /) -> Any:
        """Restore the state."""


@dataclass(frozen=True)
class LoopEnd:
    """How training ended.

    Attributes:
        steps: Optimisation steps made, those of earlier sessions too.
        epochs: Whole epochs made.
        stop_reason: What ``after_step`` or ``after_epoch`` said, or None when all epochs were done.
    """

    steps: int
    epochs: int
    stop_reason: str | None


def train(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Callable[[int], Iterable[Any]],
    loss: Callable[[nn.Module, Any, int], Mapping[str, Tensor]],
    *,
    epochs: int,
    scheduler: LRScheduler | None = None,
    max_grad_norm: float | None = None,
    precision: Precision = "no",
    accumulate: int = 1,
    after_update: Callable[[int], None] | None = None,
    after_step: Callable[[int, dict[str, float]], str | None] | None = None,
    after_epoch: Callable[[int, int], str | None] | None = None,
    checkpoints: Path | None = None,
    save_every: int = 1,
    steps_per_epoch: int | None = None,
    shared: bool = True,
    state: Stateful | None = None,
    description: str = "training",
) -> LoopEnd:
    """Train a model in place.

    Works in any number of processes that accelerate started: each gives its own share of every batch, gradients are
    averaged, and after an epoch all have the buffers of the first, e.g. running statistics. With ``checkpoints`` the
    state is saved after every ``save_every`` epochs, and a later call with the same arguments continues from the newest
    complete one; as ``batches`` depends on the epoch alone, it ends with the same weights as a call that was never
    interrupted. Whether modules train or evaluate is the caller's choice and is left alone.

    Args:
        model: Model on the device of this process.
        optimizer: Optimiser of its parameters.
        batches: Function from the epoch, counting from 0, to this process's batches.
        loss: Function from the model, a batch and the step to named scalar terms, whose sum is minimised.
        epochs: Number of epochs, those of earlier sessions included.
        scheduler: Learning-rate schedule, advanced after every step.
        max_grad_norm: Norm that gradients are clipped to; None leaves them as they are.
        precision: Precision of the forward pass; ``"no"`` is that of the weights.
        accumulate: Batches whose mean gradient makes one step; fewer at the end of an epoch.
        after_update: Receives the number of steps made, right after the weights have changed, e.g. to move an average
            of them.
        after_step: Receives the number of steps made and the terms as numbers, and may return a reason to stop. Without
            it no term is copied from the device.
        after_epoch: Receives the number of epochs and of steps made, and may return a reason to stop; called before the
            checkpoint is written.
        checkpoints: Directory of the saved state; None saves nothing.
        save_every: Epochs between checkpoints.
        steps_per_epoch: Optimisation steps per epoch, for the progress bar.
        shared: Whether processes share the work, each with its part of a batch. Otherwise each does the whole of it, to
            the same result: for work that is too small to be worth sharing.
        state: State that ``loss`` changes beside the model, e.g. a memory that is filled while training.
        description: Text of the progress bar.

    Returns:
        How it ended.
    """
    # The accelerator does not set the precision: its state is global to the process, and two trainings may differ.
    # Buffers are made equal once an epoch, not before each batch.
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)]
    accelerator = Accelerator(cpu=not torch.accelerator.is_available(), kwargs_handlers=handlers)
    half = {"no": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    shares = shared and accelerator.num_processes > 1
    wrapped = accelerator.prepare_model(model) if shares else model
    kind = next(model.parameters()).device.type
    scaler = torch.amp.GradScaler(kind) if precision == "fp16" else None
    parts: dict[str, Stateful] = {
        name: part
        for name, part in (("optimizer", optimizer), ("scheduler", scheduler), ("scaler", scaler), ("state", state))
        if part is not None
    }
    step, first, reason = 0, 0, None
    if checkpoints is not None:
        step, first, reason = _restore(checkpoints, model, parts)
    total = None if steps_per_epoch is None else steps_per_epoch * (epochs - first)
    done = first
    optimizer.zero_grad(set_to_none=True)
    with progress(description, total) as ticker:
        for epoch in range(first, epochs):
            if reason is not None:
                break
            for batches_of_step in _grouped(batches(epoch), accumulate):
                for batch in batches_of_step:
                    with torch.autocast(kind, half, enabled=half is not None):
                        terms = loss(wrapped, batch, step)
                    total_loss = torch.stack([term.float() for term in terms.values()]).sum() / len(batches_of_step)
                    (total_loss if scaler is None else scaler.scale(total_loss)).backward()
                if scaler is not None:
                    scaler.unscale_(optimizer)
                if max_grad_norm is not None:
                    nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
                if scaler is not None:
                    scaler.step(optimizer)
                    scaler.update()
                else:
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                if scheduler is not None:
                    scheduler.step()
                step += 1
                if after_update is not None:
                    after_update(step)
                ticker.advance()
                if after_step is not None:
                    reason = after_step(step, numbers_of(terms))
                    if reason is not None:
                        break
            if shares:
                for buffer in model.buffers():
                    torch.distributed.broadcast(buffer, 0)
            if reason is None:
                done = epoch + 1
                if after_epoch is not None:
                    reason = after_epoch(done, step)
            if checkpoints is not None and (reason is not None or done % save_every == 0 or done == epochs):
                _save(checkpoints, model, parts, step, done, reason)
    return LoopEnd(step, done, reason)


def numbers_of(terms: Mapping[str, Tensor]) -> dict[str, float]:
    """Return scalars of a device as numbers, all of them at once.

    Example:
        >>> numbers_of({"forget": torch.tensor(0.5), "retain": torch.tensor(2.0)})
        {'forget': 0.5, 'retain': 2.0}
    """
    kind = functools.reduce(torch.promote_types, (term.dtype for term in terms.values()), torch.float32)
    values = torch.stack([term.detach().to(kind) for term in terms.values()]).tolist() if terms else []
    return dict(zip(terms, values, strict=True))


def _grouped(batches: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of ``size`` batches; the last may be shorter."""
    stream = iter(batches)
    while group := list(itertools.islice(stream, size)):
        yield group


def _save(
    checkpoints: Path, model: nn.Module, parts: Mapping[str, Stateful], step: int, epoch: int, reason: str | None
) -> None:
    if is_main_process():
        older = sorted(checkpoints.glob("step-*"))
        with sealed_directory(checkpoints / f"step-{step}") as staged:
            weights = {name: value.clone() for name, value in model.state_dict().items()}
            write_tensors(staged / "model.safetensors", weights)
            torch.save({name: part.state_dict() for name, part in parts.items()}, staged / "optimizer.pt")
            write_json(staged / "loop.json", {"step": step, "epoch": epoch, "stop_reason": reason})
        for path in older:
            if path.name != f"step-{step}":
                shutil.rmtree(path, ignore_errors=True)
    wait_for_everyone()


def _restore(checkpoints: Path, model: nn.Module, parts: Mapping[str, Stateful]) -> tuple[int, int, str | None]:
    """Load the newest complete checkpoint; return its step, its epoch and why it ended."""
    path = newest_complete(checkpoints)
    if path is None:
        return 0, 0, None
    model.load_state_dict(load_file(path / "model.safetensors"))
    state = torch.load(path / "optimizer.pt", map_location="cpu", weights_only=True)
    for name, part in parts.items():
        part.load_state_dict(state[name])
    loop = read_json(path / "loop.json")
    try:
        return int(loop["step"]), int(loop["epoch"]), loop["stop_reason"]
    except (TypeError, KeyError, ValueError):
        raise InputError(f"{path / 'loop.json'}: damaged: not the state of a training") from None
