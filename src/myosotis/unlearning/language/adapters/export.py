"""Export of models: merged weights, an adapter on the stock base, or a 4-bit base with its adapter beside it."""

import copy
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from myosotis.engine.files import write_json, write_tensors
from myosotis.models.four_bit import is_four_bit, whole_weight
from myosotis.unlearning.language.adapters.fila import lora_layers
from myosotis.unlearning.language.adapters.residual import restore_weight, subtracted_product


@torch.no_grad()
def save_merged(model: Any, tokenizer: Any, directory: Path) -> None:
    """Save a model, its adapter added to a copy of the weights, for ``AutoModelForCausalLM.from_pretrained``.

    Of a 4-bit base, these are the dequantised weights, see :func:`merged_dequantized`.

    Args:
        model: A plain or PEFT LoRA model; unchanged to the bit.
        tokenizer: Tokenizer to save beside it; None for none.
        directory: Directory to write; created if missing.

    Raises:
        ValueError: The adapter is of an unsupported kind.
    """
    if isinstance(model, PeftModel) and any(is_four_bit(layer) for layer in model.modules()):
        merged_dequantized(model).save_pretrained(directory)
    elif isinstance(model, PeftModel):
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


@torch.no_grad()
def merged_dequantized(model: PeftModel) -> Any:
    """Return a plain model: the dequantised weights of a 4-bit base with its adapter added.

    It computes what the base and the adapter compute, up to rounding; the weights are those that the packed base acts
    with, not those that it was packed from.

    Args:
        model: The trained model; unchanged.

    Returns:
        A new model in the dtype of the layers that are not packed.
    """
    _refuse_other_trained_weights(model)
    base = model.get_base_model()
    config = copy.deepcopy(base.config)
    del config.quantization_config
    packed = {name: layer for name, layer in _plain_modules(model).items() if is_four_bit(layer)}
    # Beside the packed weight itself, the scales of its blocks.
    own_keys = tuple(f"{name}.weight" for name in packed)
    state = {name: value for name, value in _plain_state(model).items() if not name.startswith(own_keys)}
    adapters = dict(lora_layers(model))
    plain = AutoModelForCausalLM.from_config(config, dtype=base.get_input_embeddings().weight.dtype)
    for name, layer in packed.items():
        weight = whole_weight(layer)
        product = subtracted_product(layer)
        if product is not None:
            weight = weight - product
        if name in adapters:
            weight = weight + adapters[name].get_delta_weight(adapters[name].active_adapters[0])
        state[f"{name}.weight"] = weight.T if isinstance(plain.get_submodule(name), Conv1D) else weight
    for name, layer in adapters.items():
        if name not in packed:
            own = state[f"{name}.weight"]
            state[f"{name}.weight"] = own + layer.get_delta_weight(layer.active_adapters[0])
    plain.load_state_dict(state)
    return plain.to(base.device).eval()


@torch.no_grad()
def save_packed(model: PeftModel, tokenizer: Any, directory: Path, initial: Mapping[str, Tensor] | None = None) -> Any:
    """Save a 4-bit base as it is, with the change by unlearning as an adapter beside it.

    ``AutoModelForCausalLM.from_pretrained(directory)`` loads both. The adapter is that of :func:`save_delta_adapter`,
    also below ``adapter/`` for the stock base, packed in the same way.

    Args:
        model: The trained model; its adapter is removed.
        tokenizer: Tokenizer to save beside it; None for none.
        directory: Directory to write; created if missing.
        initial: Initial factors of :func:`~myosotis.unlearning.language.apply_fila`; None for a default start.

    Returns:
        The base without an adapter.
    """
    save_delta_adapter(model, directory / "adapter", initial)
    base = bare_base(model)
    base.save_pretrained(directory)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        shutil.copyfile(directory / "adapter" / name, directory / name)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
    return base


def bare_base(model: PeftModel) -> Any:
    """Return the 4-bit base of a model as it was before the adapter and FILA; the adapter is removed."""
    base = model.unload()
    for layer in base.modules():
        restore_weight(layer)
    return base


def _plain_modules(model: PeftModel) -> dict[str, Any]:
    """The modules of the base model under its own names."""
    return {
        name.removeprefix("base_model.model.").replace(".base_layer", ""): module
        for name, module in model.named_modules()
    }


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
