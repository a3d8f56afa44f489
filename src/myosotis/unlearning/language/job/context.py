"""The context of a job's phases: configuration, inputs, run and progress."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from myosotis.engine.checkpoint import seal
from myosotis.engine.job import Say
from myosotis.engine.processes import device, is_main_process, wait_for_everyone
from myosotis.engine.run import Run
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import JobInputs


@dataclass(frozen=True)
class JobContext:
    """What every phase of a job needs.

    Attributes:
        config: The configuration, with absolute paths.
        inputs: Everything that was read.
        run: The open run.
        say: Takes one line at a time about what is going on.
        show_samples: Whether answers of the models are written for people to see.
    """

    config: LanguageUnlearningConfig
    inputs: JobInputs
    run: Run
    say: Say
    show_samples: bool

    def load(self, path: Path) -> Any:
        """Return a saved model on the job's device."""
        return load_causal_lm(str(path), getattr(torch, self.config.model.dtype))[0].to(device())

    def save(self, model: Any, staged: Path, path: Path) -> None:
        """Write a model to a staging directory and rename it; only the main process writes.

        Args:
            model: A model without adapters.
            staged: Directory beside ``path``, which may hold other files that belong to the model.
            path: Final directory of the model.
        """
        if is_main_process():
            model.save_pretrained(staged)
            self.inputs.tokenizer.save_pretrained(staged)
            seal(staged, path)
        wait_for_everyone()
