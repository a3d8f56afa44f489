"""The teaching phase: a base model is fine-tuned on records, for demonstrations and as a retrained reference."""

from collections.abc import Sequence
from typing import Any

import torch

from myosotis.data.encoding import Example
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import DivergedError
from myosotis.engine.seeding import derive_seed
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.job.config import FineTuneConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.fine_tuning import fine_tune


def taught(context: JobContext, settings: FineTuneConfig, name: str, examples: Sequence[Example]) -> Any:
    """Return the base model fine-tuned on examples; taken from the run if it was done before.

    Args:
        context: The context of the job.
        settings: How the model is taught.
        name: ``"target"`` or ``"reference"``.
        examples: The examples to learn.

    Raises:
        DivergedError: A weight became infinite or NaN.
    """
    path = context.run.checkpoints / name
    if not is_complete(path):
        context.say(f"teaching the {name} model {len(examples)} records")
        model, _ = load_causal_lm(context.config.model.name, getattr(torch, context.config.model.dtype))
        with context.timed(f"teach_{name}"):
            fine_tune(
                model,
                context.inputs.tokenizer,
                examples,
                settings,
                seed=derive_seed(context.config.seed, "fine-tuning") % 2**32,
                directory=context.run.checkpoints / ".trainer",
                description=f"teaching the {name} model",
            )
        if not all(bool(value.isfinite().all()) for value in model.parameters()):
            raise DivergedError(f"teaching the {name} model diverged; lower fine_tune.learning_rate")
        context.save(model, context.run.checkpoints / f".{name}.partial", path)
    # Loaded again even when just saved, so that a resumed run goes on from the same bytes.
    return context.load(path)
