"""Experiment trackers beside the run directory: TensorBoard, Weights & Biases, MLflow, Trackio, through accelerate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from myosotis.engine.errors import InputError
from myosotis.engine.processes import is_main_process

Tracker = Literal["tensorboard", "wandb", "mlflow", "trackio"]


def check_trackers(names: Sequence[Tracker]) -> None:
    """Raise ``InputError`` unless the packages of these trackers are installed."""
    there = [str(found) for found in get_available_trackers()]
    for name in names:
        if name not in there:
            raise InputError(f"tracker '{name}': its package is not installed")


class Trackers:
    """Some trackers as one; only the main process speaks to them.

    Args:
        names: Which.
        run_name: What the run is called there.
        place: Where those that write files write them.
        config: The configuration of the run, flat.
        first_step: Where counting goes on, in a run that was interrupted.
    """

    def __init__(
        self, names: Sequence[Tracker], run_name: str, place: Path, config: Mapping[str, str], first_step: int = 0
    ) -> None:
        self._trackers: list[Any] = []
        self._step = first_step
        if not names or not is_main_process():
            return
        check_trackers(names)
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            tracker = kind(run_name, logging_dir=str(place)) if kind.requires_logging_directory else kind(run_name)
            if hasattr(tracker, "start"):
                tracker.start()
            tracker.store_init_configuration(dict(config))
            self._trackers.append(tracker)

    def log(self, values: Mapping[str, Any]) -> None:
        """Send the numbers among ``values``."""
        numbers = {name: value for name, value in values.items() if isinstance(value, int | float)}
        for tracker in self._trackers:
            tracker.log(numbers, step=self._step)
        self._step += 1

    def finish(self) -> None:
        """Say that the run is over."""
        for tracker in self._trackers:
            tracker.finish()
