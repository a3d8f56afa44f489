"""What is done to a model before it unlearns: an adapter added, dropout off, weights frozen, blocks counted."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from myosotis.data.encoding import Example
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.seeding import derive_seed
from myosotis.unlearning.language.methods.term import WeightedTerm, count_units


def add_adapter(model: Any, config: LoraConfig, seed: int, request: int = 1) -> PeftModel:
    """Wrap a model in a fresh adapter whose initial weights depend on the seed and the request alone.

    PEFT draws them from torch's global generator, which is left as it was.

    Args:
        model: A causal language model without adapters; changed in place, as PEFT does.
        config: The adapter.
        seed: Seed of the training.
        request: Number of the request, from 1, where several come one after another.
    """
    with torch.random.fork_rng(devices=[]):  # PEFT draws on the CPU and moves the adapter to the device afterwards
        torch.default_generator.manual_seed(derive_seed(seed, "adapter", request))
        return get_peft_model(model, config)


def disable_dropout(model: nn.Module) -> None:
    """Set every dropout to 0: the modules, those of adapters included, and the rates that some models hand on."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def matching_parameters(model: nn.Module, pattern: str) -> set[str]:
    """Return the names of the parameters that the regular expression is found in.

    Raises:
        SettingsError: The pattern is no regular expression, or matches no parameter.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"trainable_parameters: {pattern!r} is not a regular expression: {error}") from None
    chosen = {name for name, _ in model.named_parameters() if expression.search(name)}
    if not chosen:
        first = next(iter(dict(model.named_parameters())))
        raise SettingsError(f"trainable_parameters: no parameter matches {pattern!r}; the first is called {first}")
    return chosen


def freeze_all_but(model: nn.Module, pattern: str) -> None:
    """Let only the :func:`matching_parameters` be trained."""
    chosen = matching_parameters(model, pattern)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in chosen


def check_blocks(model: Any, terms: Sequence[WeightedTerm]) -> None:
    """Refuse terms that read the output of a block that the model lacks, or of its last one: behind that is a norm.

    Raises:
        InputError: A block cannot be read.
    """
    blocks = [block for _, term in terms for block in term.blocks]
    if not blocks:
        return
    wanted, highest = max(blocks), int(model.config.num_hidden_layers) - 2
    if wanted > highest:
        raise InputError(f"block {wanted} cannot be steered: of this model's blocks 0 to {highest} can")


def check_something_to_forget(examples: Sequence[Example], terms: Sequence[WeightedTerm]) -> None:
    """Refuse a forget record of which some forget term would count nothing, as it would never be forgotten.

    Raises:
        ValueError: There is such a record.
    """
    for _, term in terms:
        for place, example in enumerate(examples if term.reads == "forget" else ()):
            if not count_units(term.counted(torch.tensor([example.labels[1:]])), term.unit):
                raise SettingsError(f"{term.name} finds no token to forget in forget record {place}; it is too short")
