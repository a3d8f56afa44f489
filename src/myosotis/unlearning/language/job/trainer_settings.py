"""The configuration of a job as the settings of the trainer."""

from pathlib import Path

import torch
from peft import LoraConfig

from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig, LoraSettings
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
        gradient_accumulation_steps=training.accumulate,
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
        report_to=list(config.trackers) or "none",
        disable_tqdm=True,
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
