"""The teaching phase: a base model is fine-tuned on records, for demonstrations and as a retrained reference."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from myosotis.data.encoding import Example
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import DivergedError
from myosotis.engine.processes import is_main_process
from myosotis.engine.seeding import derive_seed, generator
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.job.config import FineTuneConfig, TeacherConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.fine_tuning import fine_tune
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.training.preparation import add_adapter


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
        checkpoints = context.run.checkpoints / f".teaching-{name}"
        with context.run.timed(f"teach_{name}"):
            fine_tune(
                model,
                context.inputs.tokenizer,
                examples,
                settings,
                seed=derive_seed(context.config.seed, "fine-tuning") % 2**32,
                directory=checkpoints,
                description=f"teaching the {name} model",
            )
        if not all(bool(value.isfinite().all()) for value in model.parameters()):
            raise DivergedError(f"teaching the {name} model diverged; lower fine_tune.learning_rate")
        context.save(model, context.run.checkpoints / f".{name}.partial", path)
        _removed(checkpoints)
    # Loaded again even when just saved, so that a resumed run goes on from the same bytes.
    return context.load(path)


def ignorant_teacher(context: JobContext) -> Any:
    """Return the teacher of the method, a model that never saw the records to forget; None where it needs none.

    A proxy is taught once and taken from the run afterwards.

    Args:
        context: The context of the job.
    """
    config, inputs = context.config, context.inputs
    kind = build_method(config.method.name, config.method.settings).teacher_model
    if kind is None:
        return None
    name, dtype = str(config.teacher_base), getattr(torch, config.model.dtype)
    if kind == "base":
        return load_causal_lm(name, dtype)[0]
    path, settings = context.run.checkpoints / "teacher", config.teacher or TeacherConfig()
    if not is_complete(path):
        context.say(f"teaching a proxy {min(settings.records, len(inputs.sets.retain))} records to retain")
        model, checkpoints = load_causal_lm(name, dtype)[0], context.run.checkpoints / ".teaching-proxy"
        with context.run.timed("teach_proxy"):
            model = proxy(
                model,
                inputs.tokenizer,
                inputs.sets.retain,
                settings,
                seed=config.seed,
                directory=checkpoints,
            )
        context.save(model, context.run.checkpoints / ".teacher.partial", path)
        _removed(checkpoints)
    return context.load(path)


def proxy(
    model: Any, tokenizer: Any, retain: Sequence[Example], settings: TeacherConfig, *, seed: int, directory: Path
) -> Any:
    """Return a base model that was taught the form of the records on some to retain, in an adapter that is merged.

    Args:
        model: The base model; changed in place.
        tokenizer: Its tokenizer.
        retain: Records to retain.
        settings: How many of them are drawn, and how they are taught.
        seed: Seed of the job.
        directory: See :func:`~myosotis.unlearning.language.job.fine_tuning.fine_tune`.
    """
    own, rank = derive_seed(seed, "teacher") % 2**32, settings.rank
    order = torch.randperm(len(retain), generator=generator(seed, "teacher's records"))
    drawn = [retain[index] for index in order[: settings.records].tolist()]
    lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = add_adapter(model, lora, own)
    fine_tune(adapted, tokenizer, drawn, settings, seed=own, directory=directory, description="teaching the proxy")
    return adapted.merge_and_unload()


def _removed(checkpoints: Path) -> None:
    """Remove what was written while teaching."""
    if is_main_process():
        shutil.rmtree(checkpoints, ignore_errors=True)
