"""Checkpoints of trainers: sealed directories ``step-<n>``, and the unlearning trainer's state beside the weights."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import Trainer, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from myosotis.engine.checkpoint import newest_complete, numbered_checkpoints, seal
from myosotis.engine.files import read_json, write_json

INITIAL_FACTORS = "fila_initial.safetensors"
"""The file of a checkpoint that holds the initial factors of FILA."""

_OUTCOME = "unlearn_outcome.json"

StopReason = Literal["epochs", "forgotten", "diverged"]


@dataclass(frozen=True)
class Outcome:
    """State of a training that is neither weights nor optimiser.

    Attributes:
        stop_reason: Why training ended, or would end.
        divergence: What the divergence guard saw, if it stopped training.
        multiplier: The adapting weight of a term, where the method has one.
    """

    stop_reason: StopReason
    divergence: str | None
    multiplier: float | None

    def write(self, checkpoint: Path) -> None:
        """Write it into a checkpoint."""
        write_json(checkpoint / _OUTCOME, asdict(self))

    @classmethod
    def read(cls, checkpoint: Path) -> "Outcome":
        """Return the outcome that a checkpoint holds."""
        return cls(**read_json(checkpoint / _OUTCOME))


def initial_factors_of(checkpoint: Path | None) -> dict[str, Tensor] | None:
    """Return FILA's initial factors from a checkpoint; None where there is none or it was not FILA."""
    if checkpoint is None or not (checkpoint / INITIAL_FACTORS).is_file():
        return None
    return dict(load_file(checkpoint / INITIAL_FACTORS))


def check_initial_factors(checkpoint: Path, factors: Mapping[str, Tensor] | None) -> None:
    """Refuse a checkpoint whose adapters started otherwise.

    Args:
        checkpoint: A checkpoint of the trainer.
        factors: FILA's initial factors of the trainer; None where it does not use FILA.

    Raises:
        ValueError: The checkpoint belongs to another ``lora_init`` or to other factors.
    """
    saved = initial_factors_of(checkpoint)
    if (saved is None) != (factors is None):
        raise ValueError(f"{checkpoint}: was written with another lora_init")
    if saved is None or factors is None:
        return
    if any(not torch.equal(saved[name], value.cpu()) for name, value in factors.items()):
        raise ValueError(
            f"{checkpoint}: belongs to other initial factors; pass initial_factors=load_file({INITIAL_FACTORS!r})"
        )


def checkpoint_to_resume(choice: str | Path | bool | None, directory: str) -> Path | None:
    """Return the checkpoint that ``resume_from_checkpoint`` means; None for a start from the beginning.

    Args:
        choice: A checkpoint; True for the newest complete one; None or False for none.
        directory: Directory of the checkpoints.

    Raises:
        ValueError: There is no complete checkpoint.
    """
    if choice is None or choice is False:
        return None
    if choice is not True:
        return Path(choice)
    newest = newest_complete(Path(directory))
    if newest is None:
        raise ValueError(f"no complete checkpoint in {directory}")
    return newest


def unmeasured_epoch(state: TrainerState, key: str) -> int | None:
    """Return the epoch that a state has just ended, if its measurement is not in the log yet; else None.

    Args:
        state: State of a checkpoint that was written in the last step of an epoch, before the measurement, or not.
        key: Key of the measurement in the log.
    """
    epoch = round(state.epoch or 0)
    if epoch == 0 or abs(state.epoch - epoch) > 1e-6:
        return None
    measured = [entry["epoch"] for entry in state.log_history if key in entry]
    return None if any(abs(other - epoch) < 1e-6 for other in measured) else epoch


@contextmanager
def sealed_checkpoint(args: TrainingArguments, step: int, wait: Callable[[], None]) -> Iterator[Path]:
    """Let ``transformers`` write a checkpoint beside its path; then seal it as ``step-<n>`` and drop the oldest.

    Yields the directory that it writes.

    Args:
        args: Settings of the trainer; ``output_dir`` is another directory inside the context.
        step: Number of the optimisation step.
        wait: Waits for all processes.
    """
    output = Path(args.output_dir)
    staging = output / ".staging"
    written = staging / f"{PREFIX_CHECKPOINT_DIR}-{step}"
    if args.should_save:
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
    wait()
    args.output_dir = str(staging)
    try:
        yield written
    finally:
        args.output_dir = str(output)
    wait()
    if args.should_save:
        seal(written, output / f"step-{step}")
        shutil.rmtree(staging)
        if args.save_total_limit:
            for old in numbered_checkpoints(output)[: -args.save_total_limit]:
                shutil.rmtree(old)


class SealedTrainer(Trainer):
    """A trainer of ``transformers`` whose checkpoints are sealed, and hold no pickle of its settings."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            # A pickle that nobody needs: the settings stand in the run's configuration.
            (Path(output_dir or self.args.output_dir) / "training_args.bin").unlink(missing_ok=True)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Save the model as ``transformers.Trainer`` does; a checkpoint of shards holds it beside the optimiser."""
        if not (_internal_call and self.accelerator.is_fsdp2):
            super().save_model(output_dir, _internal_call)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        with sealed_checkpoint(self.args, self.state.global_step, self.accelerator.wait_for_everyone) as directory:
            super()._save_checkpoint(model, trial)
            self._save_beside(directory)

    def _save_beside(self, directory: Path) -> None:
        """Write what else belongs to a checkpoint into its directory; every process calls this."""
