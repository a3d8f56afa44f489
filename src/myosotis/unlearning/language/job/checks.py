"""Checks of a job's settings against its model and records, before anything is written."""

import difflib
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn
from transformers import Trainer
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import Encoder, Example
from myosotis.engine.errors import InputError, SettingsError, settings_as_input
from myosotis.models.four_bit import linear_shape
from myosotis.unlearning.language.audit.forgotten import LENGTHWISE
from myosotis.unlearning.language.audit.memorization import check_lengths, measured_lengths
from myosotis.unlearning.language.audit.sets import measurable
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig, LoraSettings
from myosotis.unlearning.language.job.inputs import JobInputs, split_requests
from myosotis.unlearning.language.job.trainer_settings import trainer_settings
from myosotis.unlearning.language.methods import build_method
from myosotis.unlearning.language.methods.term import SideName
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.preparation import (
    check_blocks,
    check_shardable,
    check_something_to_forget,
    matching_parameters,
)
from myosotis.unlearning.language.training.records import forget_examples, tokens_to_forget
from myosotis.unlearning.language.training.references import check_reference_size, dealt_records
from myosotis.unlearning.language.training.refusals import REFUSALS, refusal_records
from myosotis.unlearning.language.training.strangers import Strangers, check_subjects
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig


def check_inputs(config: LanguageUnlearningConfig, inputs: JobInputs, model: Any, directory: Path) -> None:
    """Refuse records, settings and model that do not suit each other.

    Args:
        config: The configuration of the job.
        inputs: Everything that was read.
        model: The model, as it is loaded.
        directory: The run directory; nothing is written to it.

    Raises:
        InputError: Something would fail later.
    """
    sets, forget = inputs.sets, inputs.records.forget
    examples = [*inputs.selection, *sets.examples]
    check_positions(model, examples)
    texts = [text for record in forget for text in (record.alternate or "", *record.paraphrases)]
    texts += [*(config.data.refusals or REFUSALS), *inputs.suites.texts()]
    check_token_ids(model, inputs.tokenizer, examples, texts)
    method = build_method(config.method.name, config.method.settings)
    if method.alternates is not None:
        refusal_records(forget, config.seed)
    if method.strangers is not None:
        data, seed = config.data, trainer_settings(config, directory).seed
        encoder = Encoder(inputs.tokenizer, data.template, data.max_length, data.append_eos)
        Strangers.made(inputs.forget_rows, encoder, method.strangers, seed, sets.retain)
    elif config.training.replay_prompts:
        check_subjects(forget)
    check_blocks(model, method.terms())
    portions = [list(range(len(sets.forget)))]
    if config.data.requests is not None:
        portions = split_requests(forget, config.data.requests)
    with settings_as_input("training"):
        requests = [[sets.forget[index] for index in portion] for portion in portions]
        if config.data.replay:
            requests = [
                [example for request in requests[: number + 1] for example in request]
                for number in range(len(requests))
            ]
        check_training(trainer_settings(config, directory), model, requests, sets.retain)
    inputs.suites.check()
    if config.stop is not None and LENGTHWISE.issuperset(config.stop.figures):
        check_stop(requests, sets.unseen, config.audit.n, config.audit.length_tolerance)


def check_quantized_launch() -> None:
    """Raise ``InputError`` if the launcher shards weights: packed ones cannot be."""
    if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true":
        raise InputError("model.quantization: packed weights cannot be sharded by FSDP; launch with DDP")


def check_positions(model: Any, examples: Sequence[Example]) -> None:
    """Raise ``InputError`` if an example is longer than the model's context."""
    longest = max(len(example.input_ids) for example in examples)
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions is not None and longest > positions:
        raise InputError(f"a record has {longest} tokens, the model takes {positions}; lower data.max_length")


def check_stop(requests: Sequence[Sequence[Example]], unseen: Sequence[Example], n: int, tolerance: float) -> None:
    """Refuse a stop rule by length-dependent figures alone that could not compare each request with the unseen records.

    Args:
        requests: The forget records of each request.
        unseen: The unseen records.
        n: Length of the n-grams of the extraction likelihood.
        tolerance: Relative tolerance of lengths.

    Raises:
        InputError: Records are too short, or of another length.
    """
    for name, parts in (("forget", requests), ("unseen", [unseen])):
        longest = [max(len(example.input_ids) - max(example.response_start, 1) for example in part) for part in parts]
        if min(longest) < n:
            where = "" if len(parts) == 1 else " of some request"
            raise InputError(
                f"stop: no {name} answer{where} has as many tokens as audit.n={n}; "
                f"--set audit.n={min(3, *longest)} measures shorter ones"
            )
    reference = measurable(unseen, n)
    calibrated = measured_lengths(reference.sequences, reference.starts)
    with settings_as_input("stop"):
        for request in requests:
            own = measurable(request, n)
            lengths = measured_lengths(own.sequences, own.starts)
            check_lengths(lengths, (min(calibrated), max(calibrated)), tolerance)


def check_training(
    args: UnlearnConfig, model: Any, requests: Sequence[Sequence[Example]], retain: Sequence[Example]
) -> None:
    """Refuse at the start settings that the trainer would refuse after teaching and auditing.

    Args:
        args: Settings of the trainer.
        model: The model, as it is loaded.
        requests: Forget records of each request.
        retain: Retain records.

    Raises:
        SettingsError: The settings do not suit the model, the records or what is installed.
    """
    check_shardable(model)
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
    held = list(retain) if method.reads("retain") else []
    for request in requests:
        forget = forget_examples(request, tokens_to_forget(method, args.forget_tokens))
        check_something_to_forget(forget, terms)
        examples: dict[SideName, list[Example]] = {"forget": forget, "alternate": [], "retain": held}
        sampler = PairSampler.of_settings(args, len(forget), len(held))
        dealt = dealt_records(terms, examples, sampler, args)
        check_reference_size(model, terms, examples, dealt, args.reference_cache_gb)


def check_target_modules(model: Any, lora: LoraSettings) -> None:
    """Raise ``InputError`` if a pattern matches no linear module, or a module is narrower than the adapter's rank."""
    layers = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D)}
    targets = lora.target_modules
    if targets == "all-linear":
        head = model.get_output_embeddings()
        matched = [name for name, layer in layers.items() if layer is not head]
    elif isinstance(targets, str):
        try:
            matched = [name for name in layers if re.fullmatch(targets, name)]
        except re.error as error:
            raise InputError(f"lora.target_modules: {targets!r} is not a regular expression: {error}") from None
        _refuse_unmatched([] if matched else [targets], layers)
    else:
        by_pattern = {
            pattern: [name for name in layers if name == pattern or name.endswith(f".{pattern}")] for pattern in targets
        }
        _refuse_unmatched([pattern for pattern, names in by_pattern.items() if not names], layers)
        matched = [name for names in by_pattern.values() for name in names]
    embedding = getattr(model.get_input_embeddings(), "weight", None)
    for name in matched:
        if layers[name].weight is embedding:
            raise InputError(f"lora.target_modules: the weight of {name} is tied to the embeddings; leave it out")
        side = min(linear_shape(layers[name]))
        if lora.rank > side:
            raise InputError(f"lora.rank: {lora.rank} is too large for module {name}; expected at most {side}")


def _refuse_unmatched(patterns: Sequence[str], layers: Iterable[str]) -> None:
    if patterns:
        last = sorted({name.rpartition(".")[2] for name in layers})
        close = difflib.get_close_matches(patterns[0], last, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"the model has {', '.join(last)}"
        raise InputError(f"lora.target_modules: no module matches {patterns[0]!r}; {hint}")


def check_tokenizer(tokenizer: Any, other: Any, name: str) -> None:
    """Raise ``InputError`` if another model has another vocabulary: the same tokens must mean the same to both.

    Args:
        tokenizer: The model's tokenizer.
        other: The other model's tokenizer.
        name: What the other model is called in the configuration.
    """
    if tokenizer.get_vocab() != other.get_vocab():
        raise InputError(f"{name}: has another tokenizer than the model, so their figures cannot be compared")


def check_token_ids(model: Any, tokenizer: Any, examples: Sequence[Example], texts: Sequence[str]) -> None:
    """Raise ``InputError`` if examples or texts have a token that the model has no embedding for."""
    ids = [token for example in examples for token in example.input_ids]
    ids += [token for text in texts for token in tokenizer(text, verbose=False)["input_ids"]]
    rows = len(model.get_input_embeddings().weight)
    if max(ids) >= rows:
        raise InputError(
            f"model: its tokenizer produces token {max(ids)} of these records, but it has embeddings for tokens 0 to "
            f"{rows - 1} only; resize them to the tokenizer"
        )
