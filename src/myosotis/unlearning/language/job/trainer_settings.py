"""How a job trains: its configuration as the trainer's settings, and the callbacks that tie the trainer to the run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from transformers import Trainer, TrainerCallback

from myosotis.data.encoding import Example
from myosotis.engine.errors import SettingsError
from myosotis.engine.run import Run
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig, LoraSettings
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.methods.term import SideName
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.preparation import check_something_to_forget, matching_parameters
from myosotis.unlearning.language.training.records import forget_examples
from myosotis.unlearning.language.training.references import check_reference_size, dealt_records
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


def trainer_settings(config: LanguageUnlearningConfig, directory: Path) -> UnlearnConfig:
    """Return the settings of the trainer, which writes its checkpoints to a directory."""
    training, lora = config.training, config.lora
    return UnlearnConfig(
        output_dir=str(directory),
        method=config.method.name,
        method_settings=config.method.settings,
        lora_init="default" if lora is None else lora.init,
        fila_epsilon="relative" if lora is None else lora.epsilon,
        fila_fisher="element" if lora is None else lora.fisher,
        template=config.data.template,
        max_length=config.data.max_length,
        append_eos=config.data.append_eos,
        forget_tokens=config.data.forget_tokens,
        trainable_parameters=training.parameters,
        reference_cache_gb=training.reference_cache_gb,
        num_train_epochs=training.epochs,
        learning_rate=training.learning_rate,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.accumulation,
        retain_per_forget=training.retain_per_forget,
        weight_decay=training.weight_decay,
        warmup_steps=training.warmup_steps,
        lr_scheduler_type=training.schedule,
        max_grad_norm=training.max_grad_norm,
        optim=training.optimizer,
        bf16=training.precision == "bf16",
        fp16=training.precision == "fp16",
        activation_checkpointing=training.gradient_checkpointing,
        max_nll=training.max_nll,
        seed=derive_seed(config.seed, "unlearning") % 2**32,
        use_cpu=not torch.accelerator.is_available(),
        save_strategy="no",
        save_total_limit=2,
        logging_steps=1,
        report_to=list(training.trackers) or "none",
        disable_tqdm=True,
    )


def check_training(
    args: UnlearnConfig, model: Any, requests: Sequence[Sequence[Example]], retain: Sequence[Example]
) -> None:
    """Refuse at the start what the trainer would refuse after teaching and auditing.

    Args:
        args: The settings of the trainer.
        model: The model, as it is loaded.
        requests: The forget records of each request.
        retain: The retain records.

    Raises:
        SettingsError: The settings do not suit the model, the records or what is installed.
    """
    method = build_method(args.method, args.method_settings)
    terms = method.terms()
    try:
        Trainer.get_optimizer_cls_and_kwargs(args, model)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"optimizer {args.optim.value}: {' '.join(str(error).split())}") from error
    if args.activation_checkpointing and not model.supports_gradient_checkpointing:
        raise SettingsError("this model does not support gradient checkpointing")
    if args.trainable_parameters is not None:
        matching_parameters(model, args.trainable_parameters)
    kept = list(retain) if method.reads("retain") else []
    for own in requests:
        forget = forget_examples(own, args.forget_tokens)
        check_something_to_forget(forget, terms)
        examples: dict[SideName, list[Example]] = {"forget": forget, "alternate": [], "retain": kept}
        sampler = PairSampler.of_settings(args, len(forget), len(kept))
        dealt = dealt_records(terms, examples, sampler, args)
        check_reference_size(model, terms, examples, dealt, args.reference_cache_gb)


def lora_config(lora: LoraSettings | None) -> LoraConfig | None:
    """Return the adapter that a configuration asks for, if it asks for one."""
    if lora is None:
        return None
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=lora.target_modules,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )


class EpochSaver(TrainerCallback):
    """Saves at the end of an epoch, after the stop rule has spoken, so that a resumed run knows what it said."""

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
