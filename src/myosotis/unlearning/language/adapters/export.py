"""Export of models: merged weights, or an adapter on the stock base."""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor

from myosotis.engine.files import write_json, write_tensors
from myosotis.unlearning.language.adapters.fila import lora_layers


@torch.no_grad()
def save_merged(model: Any, tokenizer: Any, directory: Path) -> None:
    """Save a model, its adapter added to a copy of the weights, for ``AutoModelForCausalLM.from_pretrained``.

    Args:
        model: A plain or PEFT LoRA model; unchanged to the bit.
        tokenizer: Tokenizer to save beside it; None for none.
        directory: Directory to write; created if missing.

    Raises:
        ValueError: The adapter is of an unsupported kind.
    """
    if isinstance(model, PeftModel):
        _refuse_other_trained_weights(model)
        state = _plain_state(model)
        for name, layer in lora_layers(model):
            weight = state[f"{name}.weight"]
            state[f"{name}.weight"] = (weight + layer.get_delta_weight(layer.active_adapters[0])).to(weight.dtype)
        model.get_base_model().save_pretrained(directory, state_dict=state)
    else:
        model.save_pretrained(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)


def _plain_state(model: PeftModel) -> dict[str, Tensor]:
    """The base model's state dict under its own names."""
    return {
        name.removeprefix("base_model.model.").replace(".base_layer.", "."): tensor
        for name, tensor in model.state_dict().items()
        if ".lora_" not in name
    }


def _refuse_other_trained_weights(model: PeftModel) -> None:
    """Raise if anything but low-rank factors was trained, as only those are exported."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not name.endswith((".lora_A.default.weight", ".lora_B.default.weight")):
            raise ValueError(f"parameter {name!r} was trained, but only low-rank factors are exported")


def save_delta_adapter(peft_model: PeftModel, directory: Path, initial: Mapping[str, Tensor] | None = None) -> None:
    r"""Save the change by unlearning as an adapter on the **original** base model.

    After FILA the trained function is $W - s B_0 A_0 + s B A = W + s\,[B, -B_0]\,[A; A_0]$, an adapter of rank 2r
    and equal scale: exact. Without FILA it is the adapter itself.

    Args:
        peft_model: The trained model.
        directory: Directory for ``PeftModel.from_pretrained(original_base, directory)``; created if missing.
        initial: Initial factors of :func:`~myosotis.unlearning.language.apply_fila`; None for a default start.

    Raises:
        ValueError: A LoRA layer is of an unsupported kind, or an initial factor is missing.
    """
    _refuse_other_trained_weights(peft_model)
    adapter = peft_model.active_adapter
    start = peft_model.peft_config[adapter].init_lora_weights
    if initial is None and start not in (True, False, "gaussian"):
        raise ValueError(f"the initialisation {start!r} changes the base weights; only FILA is supported")
    settings = copy.deepcopy(peft_model.peft_config[adapter])
    settings.init_lora_weights = True
    settings.inference_mode = True
    # A local directory means nothing elsewhere; a name of the hub says which base is meant.
    base = settings.base_model_name_or_path
    if base is not None and Path(base).is_absolute():
        settings.base_model_name_or_path = None
    tensors: dict[str, Tensor] = {}
    if initial is None:
        for name, module in peft_model.named_modules():
            if isinstance(module, LoraLayer):
                tensors[f"{name}.lora_A.weight"] = module.lora_A[adapter].weight
                tensors[f"{name}.lora_B.weight"] = module.lora_B[adapter].weight
    else:
        settings.rank_pattern = {key: 2 * value for key, value in settings.rank_pattern.items()}
        growth = math.sqrt(2) if settings.use_rslora else 2
        settings.alpha_pattern = {key: growth * value for key, value in settings.alpha_pattern.items()}
        settings.r, settings.lora_alpha = 2 * settings.r, growth * settings.lora_alpha
        for name, layer in lora_layers(peft_model):
            if f"{name}.a" not in initial:
                raise ValueError(f"module {name!r}: its initial factors are missing")
            a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            a_0, b_0 = initial[f"{name}.a"].to(a), initial[f"{name}.b"].to(b)
            tensors[f"base_model.model.{name}.lora_A.weight"] = torch.cat([a, a_0])
            tensors[f"base_model.model.{name}.lora_B.weight"] = torch.cat([b, -b_0], dim=1)
    directory.mkdir(parents=True, exist_ok=True)
    write_tensors(directory / "adapter_model.safetensors", tensors, {"format": "pt"})
    write_json(directory / "adapter_config.json", _plain(settings.to_dict()))


def _plain(value: Any) -> Any:
    """Sets as sorted lists and enumerations as their values, for JSON."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, set | list | tuple):
        return sorted(value) if isinstance(value, set) else [_plain(item) for item in value]
    return getattr(value, "value", value)
