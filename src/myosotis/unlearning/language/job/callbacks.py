"""Callbacks that tie a trainer to a run: its events, its checkpoints, its progress display."""

from typing import Any

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from myosotis.engine.progress import progress
from myosotis.engine.run import Run


class TickerCallback(TrainerCallback):
    """Shows the steps of a ``transformers`` trainer by the package's own progress display."""

    def __init__(self, description: str) -> None:
        self._description = description
        self._loss = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Open the display."""
        self._manager = progress(self._description, state.max_steps)
        self._ticker = self._manager.__enter__()
        self._ticker.advance(state.global_step)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Show the loss."""
        if logs and "loss" in logs:
            self._loss = f"(loss {logs['loss']:.3f})"

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Count a step."""
        self._ticker.advance(1, self._loss)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Close the display."""
        self._manager.__exit__(None, None, None)


def quiet(trainer: Trainer, description: str) -> None:
    """Replace the trainer's own printing by a progress display."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(TickerCallback(description))


class EpochSaver(TrainerCallback):
    """Saves every so many epochs, after the stop rule was measured, so that a resumed run knows its result."""

    def __init__(self, every: int) -> None:
        self._every = every

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """Ask for a checkpoint."""
        control.should_save = control.should_training_stop or round(state.epoch) % self._every == 0


class EventLogger(TrainerCallback):
    """Writes what the trainer logs into the run's metrics."""

    def __init__(self, run: Run, mark: dict[str, Any]) -> None:
        self._run = run
        self._mark = mark

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:  # noqa: ARG002
        """Write the event, with the mark that was given."""
        if state.is_world_process_zero and logs and "train_runtime" not in logs:
            self._run.log({**self._mark, "step": state.global_step, **logs})
