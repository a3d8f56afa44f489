"""The configuration of a job as the settings of a trainer."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig

from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig, LoraSettings, OptimisationConfig
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


def optimisation_arguments(settings: OptimisationConfig) -> dict[str, Any]:
    """Return what every training of a job passes to :class:`transformers.TrainingArguments`."""
    return {
        "num_train_epochs": settings.epochs,
        "learning_rate": settings.learning_rate,
        "per_device_train_batch_size": settings.batch_size,
        "weight_decay": settings.weight_decay,
        "warmup_steps": settings.warmup_steps,
        "lr_scheduler_type": settings.schedule,
        "bf16": settings.precision == "bf16",
        "fp16": settings.precision == "fp16",
        "use_cpu": not torch.accelerator.is_available(),
        "save_strategy": "no",
        "logging_steps": 1,
        "disable_tqdm": True,
    }


def trainer_settings(config: LanguageUnlearningConfig, directory: Path) -> UnlearnConfig:
    """Return the settings of the trainer, which writes its checkpoints to a directory."""
    training, lora = config.training, config.lora
    return UnlearnConfig(
        **optimisation_arguments(training),
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
        gradient_accumulation_steps=training.accumulate,
        retain_per_forget=training.retain_per_forget,
        replay_prompts=training.replay_prompts,
        max_grad_norm=training.max_grad_norm,
        optim=training.optimizer,
        activation_checkpointing=training.gradient_checkpointing,
        max_nll=training.max_nll,
        seed=derive_seed(config.seed, "unlearning") % 2**32,
        save_total_limit=2,
        report_to=list(config.trackers) or "none",
    )


def lora_config(lora: LoraSettings | None) -> LoraConfig | None:
    """Return PEFT's configuration of the adapter; None without one."""
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
