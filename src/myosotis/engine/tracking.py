"""Experiment trackers beside the run directory: TensorBoard, Weights & Biases, MLflow, Trackio, through accelerate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from myosotis.engine.config import Tracker
from myosotis.engine.errors import InputError
from myosotis.engine.processes import is_main_process


def check_trackers(names: Sequence[Tracker]) -> None:
    """Raise ``InputError`` unless the packages of these trackers are installed."""
    available = [str(tracker) for tracker in get_available_trackers()]
    for name in names:
        if name not in available:
            raise InputError(f"tracker '{name}': its package is not installed")


class Trackers:
    """Several trackers as one; only the main process talks to them.

    Args:
        names: Trackers to use.
        run_name: Name of the run.
        path: Directory for trackers that write files.
        config: Configuration of the run, flat.
        first_step: Step at which counting continues, in a run that was interrupted.
    """

    def __init__(
        self, names: Sequence[Tracker], run_name: str, path: Path, config: Mapping[str, str], first_step: int = 0
    ) -> None:
        self._trackers: list[Any] = []
        self._step = first_step
        if not names or not is_main_process():
            return
        check_trackers(names)
        for name in names:
            kind = LOGGER_TYPE_TO_CLASS[name]
            tracker = kind(run_name, logging_dir=str(path)) if kind.requires_logging_directory else kind(run_name)
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
        """End the run of every tracker."""
        for tracker in self._trackers:
            tracker.finish()
