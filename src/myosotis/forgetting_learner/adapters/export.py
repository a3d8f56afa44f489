"""Adapters by subject in the format of PEFT, for servers that hold many adapters on one model."""

import shutil
from pathlib import Path

from transformers.pytorch_utils import Conv1D

from myosotis.engine.errors import InputError
from myosotis.engine.files import hidden_name, publish, write_json, write_tensors
from myosotis.forgetting_learner.adapters.learner import SubjectLearner


def export_adapters(learner: SubjectLearner, path: Path, base: str | None = None) -> int:
    """Write a directory with a folder of PEFT for each subject, which bears the subject's keyed name.

    The names are those that :meth:`SubjectLearner.route` returns. The adapters are personal data, so only the owner may
    read the directory, and nothing of the router is in it, which has the key.

    Args:
        learner: Learner.
        path: New directory.
        base: What the server calls the model; its name in the learner unless given.

    Returns:
        The number of adapters.

    Raises:
        InputError: There is something at ``path``, no adapter, or one that is damaged.
    """
    if path.exists() or path.is_symlink():
        raise InputError(f"{path} exists; an export is a new directory, in which nobody stays who was forgotten since")
    if not learner.shards:
        raise InputError("the learner has no adapter, so there is nothing to export")
    settings = learner.spec.adapter
    layers = learner.layers
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": learner.spec.model.name if base is None else base,
        "r": settings.rank,
        "lora_alpha": settings.alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": sorted(layers),
        "fan_in_fan_out": any(isinstance(layer, Conv1D) for layer in layers.values()),
        "inference_mode": True,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = hidden_name(path, "partial")
    staged.mkdir(mode=0o700)
    try:
        for shard in learner.shards:
            adapter = learner.adapter(shard) or {}
            tensors = {}
            for name in layers:
                for part, factor in (("down", "lora_A"), ("up", "lora_B")):
                    tensors[f"base_model.model.{name}.{factor}.weight"] = adapter[f"{name}.{part}"]
            (staged / shard).mkdir()
            write_tensors(staged / shard / "adapter_model.safetensors", tensors, {"format": "pt"})
            write_json(staged / shard / "adapter_config.json", config)
        publish(staged, path)
    except BaseException:
        shutil.rmtree(staged)
        raise
    return len(learner.shards)
