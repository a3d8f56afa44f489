"""The teaching phase: a base model is fine-tuned on records, for demonstrations and as a retrained reference."""

from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig

from myosotis.data.encoding import Example
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import DivergedError
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
        seed = derive_seed(config.seed, "teacher") % 2**32
        order = torch.randperm(len(inputs.sets.retain), generator=generator(config.seed, "teacher's records"))
        drawn = [inputs.sets.retain[index] for index in order[: settings.records].tolist()]
        context.say(f"teaching a proxy {len(drawn)} records to retain")
        rank = settings.rank
        lora = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
        model = add_adapter(load_causal_lm(name, dtype)[0], lora, seed)
        with context.timed("teach_proxy"):
            fine_tune(
                model,
                inputs.tokenizer,
                drawn,
                settings,
                seed=seed,
                directory=context.run.checkpoints / ".trainer",
                description="teaching the proxy",
            )
        context.save(model.merge_and_unload(), context.run.checkpoints / ".teacher.partial", path)
    return context.load(path)
