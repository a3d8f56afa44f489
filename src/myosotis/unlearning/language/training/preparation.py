"""Before a model unlearns: settings are checked, an adapter is added, dropout is switched off, weights are frozen."""

import re
from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from myosotis.data.encoding import Example
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.processes import shards_weights
from myosotis.engine.seeding import derive_seed
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.adapters.fila import refuse_tied_layers
from myosotis.unlearning.language.methods import Method, build_method
from myosotis.unlearning.language.methods.term import WeightedTerm, count_units
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


def model_and_tokenizer(model: nn.Module | str, tokenizer: Any) -> tuple[Any, Any]:
    """Return a model that may be given by its name, with its tokenizer.

    Raises:
        SettingsError: There is no tokenizer.
    """
    if isinstance(model, str):
        loaded, own_tokenizer = load_causal_lm(model)
        return loaded, tokenizer or own_tokenizer
    if tokenizer is None:
        raise SettingsError("processing_class, the tokenizer, is missing")
    return model, tokenizer


def method_of(method: Method | str | None, args: UnlearnConfig) -> Method:
    """Return the method that is given, by name or as it is, and else that of the settings.

    Raises:
        SettingsError: Settings are given for a method other than ``args.method``.
    """
    if method is None:
        return build_method(args.method, args.method_settings)
    if args.method_settings:
        raise SettingsError("args.method_settings belong to args.method; give a method that has its settings instead")
    return method if isinstance(method, Method) else build_method(method)


def check_sets(forget: Sequence[Any], retain: Sequence[Any] | None, method: Method, *, replays: bool = False) -> None:
    """Refuse an empty forget set, and a method whose retain set is missing.

    Args:
        forget: The forget set.
        retain: The retain set.
        method: The method.
        replays: Whether answers about strangers are retained too, so that there is something to retain.

    Raises:
        SettingsError: A set is missing.
    """
    if not len(forget):
        raise SettingsError("the forget set is empty")
    if method.reads("retain") and not len(retain or ()) and not replays:
        raise SettingsError(
            f"method {method.card.name!r} with its retain term needs a retain set; leave the term out with "
            "method_settings={'retain': None}"
        )


def check_teacher(method: Method, model: Any, teacher: Any) -> None:
    """Refuse a teacher that is missing, has no effect, or has another vocabulary.

    Args:
        method: The method.
        model: The model that unlearns.
        teacher: The teacher; None for none.

    Raises:
        SettingsError: It does not fit.
    """
    if teacher is None and method.teacher_model is not None:
        raise SettingsError(
            f"method {method.card.name!r} with its settings learns from another model: give one that never saw the "
            "forget records as 'teacher'"
        )
    if teacher is not None and method.teacher_model is None:
        raise SettingsError(f"method {method.card.name!r} with its settings reads no 'teacher'")
    if teacher is not None and teacher.config.vocab_size != model.config.vocab_size:
        raise SettingsError(
            f"the teacher knows {teacher.config.vocab_size} tokens and the model {model.config.vocab_size}: they must "
            "have one vocabulary"
        )


def check_settings(args: UnlearnConfig, method: Method, *, adapts: bool, watched: bool) -> None:
    """Refuse settings that exclude each other.

    Args:
        args: Settings of the training.
        method: The method.
        adapts: Whether an adapter is trained instead of all weights.
        watched: Whether a stop rule or a selection measures the model during training.

    Raises:
        SettingsError: Two settings exclude each other.
    """
    if args.lora_init == "fila" and not adapts:
        raise SettingsError("lora_init='fila' needs a peft_config: FILA initialises low-rank adapters")
    if method.negation is not None and (watched or args.lora_init == "fila"):
        raise SettingsError(
            f"{method.card.name} negates the change of the weights once training has ended: it supports "
            "no stop rule or selection and needs adapters that start at zero (lora_init='default')"
        )
    if args.trainable_parameters is not None and adapts:
        raise SettingsError("trainable_parameters chooses among all weights; an adapter has target_modules instead")


def check_projection(args: UnlearnConfig, method: Method) -> None:
    """Refuse to project gradients that are scaled or sharded.

    Args:
        args: Settings of the training, with the precision that the weights ask for.
        method: The method.

    Raises:
        SettingsError: The method projects gradients, and they are not whole.
    """
    if method.projection is not None and (args.fp16 or args.deepspeed_plugin is not None or shards_weights()):
        raise SettingsError(
            "projection works on whole gradients: not with fp16, nor with all weights in float16, nor with DeepSpeed "
            "or FSDP"
        )


def check_shardable(model: nn.Module) -> None:
    """Refuse to shard quantised weights.

    Raises:
        SettingsError: The launcher shards, and a weight of the model is not a floating-point number.
    """
    if shards_weights() and not all(parameter.is_floating_point() for parameter in model.parameters()):
        raise SettingsError("quantised weights cannot be sharded by FSDP; launch with DDP")


def prepare_model(model: Any, args: UnlearnConfig, peft_config: LoraConfig | None) -> Any:
    """Return a model ready to be trained: with its adapter, frozen weights and without dropout; changed in place.

    Args:
        model: A causal language model, with an adapter or not.
        args: Settings of the training.
        peft_config: The adapter to add; None for none.

    Raises:
        SettingsError: No parameter matches ``trainable_parameters``, or an adapted weight is tied to the embeddings.
    """
    if peft_config is not None:
        model = add_adapter(model, peft_config, args.seed)
    if isinstance(model, PeftModel):
        refuse_tied_layers(model)
        if args.activation_checkpointing:
            # Otherwise reentrant checkpointing gives the adapters no gradient, and says nothing.
            model.enable_input_require_grads()
    if args.trainable_parameters is not None:
        freeze_all_but(model, args.trainable_parameters)
    if args.disable_dropout:
        disable_dropout(model)
    return model


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
    """Set every dropout to 0: in modules, those of adapters included, and in the rates that some models pass on."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name, value in vars(module).items():
            if "dropout" in name and isinstance(value, float):
                setattr(module, name, 0.0)


def matching_parameters(model: nn.Module, pattern: str) -> set[str]:
    """Return the names of the parameters that match a regular expression anywhere.

    Raises:
        SettingsError: The pattern is not a regular expression, or matches no parameter.
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
    """Freeze all parameters but the :func:`matching_parameters`."""
    chosen = matching_parameters(model, pattern)
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in chosen


def check_blocks(model: Any, terms: Sequence[WeightedTerm]) -> None:
    """Refuse terms that read a block that the model lacks, or its last one, which a norm follows.

    Raises:
        InputError: A block cannot be read.
    """
    blocks = [block for _, term in terms for block in term.blocks]
    if not blocks:
        return
    block, highest = max(blocks), int(model.config.num_hidden_layers) - 2
    if block > highest:
        raise InputError(f"block {block} cannot be steered; blocks 0 to {highest} of this model can")


def check_something_to_forget(examples: Sequence[Example], terms: Sequence[WeightedTerm]) -> None:
    """Refuse a forget record of which a forget term would count nothing: it would never be forgotten.

    Raises:
        ValueError: There is such a record.
    """
    for _, term in terms:
        for index, example in enumerate(examples if term.reads == "forget" else ()):
            if not count_units(term.counted(torch.tensor([example.labels[1:]])), term.unit):
                raise SettingsError(f"{term.name} finds no token to forget in forget record {index}; it is too short")
