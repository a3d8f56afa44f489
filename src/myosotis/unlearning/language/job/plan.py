"""How much memory a job takes, part by part and by number of processes, from its configuration and shapes alone."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import Encoder, Example
from myosotis.data.records import Record
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.models.causal_lm import load_local_tokenizer, load_shapes, locate
from myosotis.unlearning.language.adapters.fila import lora_layers
from myosotis.unlearning.language.job.checks import check_positions, check_target_modules
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import encode_records, read_records
from myosotis.unlearning.language.job.memory_trace import MemoryTracer, PassShape, Trace
from myosotis.unlearning.language.job.trainer_settings import lora_config, trainer_settings
from myosotis.unlearning.language.methods import Method, build_method
from myosotis.unlearning.language.methods.gradient_ascent import GradientAscent
from myosotis.unlearning.language.methods.term import SideName
from myosotis.unlearning.language.training.pairing import PairSampler
from myosotis.unlearning.language.training.precision import upcast_trained, with_autocast
from myosotis.unlearning.language.training.preparation import add_adapter, freeze_all_but
from myosotis.unlearning.language.training.records import forget_examples, tokens_to_forget
from myosotis.unlearning.language.training.references import dealt_records, reference_bytes
from myosotis.unlearning.language.training.trainer import VETTED
from myosotis.unlearning.language.training.trainer_config import UnlearnConfig

GIB = 2**30
CARDS = (16, 24, 48, 80)
"""Sizes of common accelerators, in GB."""
HEADROOM = 0.9
"""Share of a card that a job may plan for: the rest is CUDA's own and lost between blocks."""

_BLOCK_OF_SCALES = 64
_FLOAT = 4
_STATES: Mapping[str, int] = {"adamw": 8, "paged_adamw": 8, "lion": 4, "adagrad": 4, "rmsprop": 4, "sgd": 0}
_DECOMPOSITION = 6  # times the largest weight: the weighted matrix, its factors, and the workspace of LAPACK


@dataclass(frozen=True)
class Strategy:
    """How a job is split over processes.

    Attributes:
        name: Name of the strategy.
        processes: Number of processes.
        sharded: Whether weights, gradients and states of the optimiser are divided among them.
    """

    name: str
    processes: int
    sharded: bool = False

    @property
    def shards(self) -> int:
        """Number by which weights are divided."""
        return self.processes if self.sharded else 1


STRATEGIES = (
    Strategy("1 process", 1),
    Strategy("2 DDP", 2),
    Strategy("8 DDP", 8),
    Strategy("2 FSDP2", 2, sharded=True),
    Strategy("8 FSDP2", 8, sharded=True),
)


@dataclass(frozen=True)
class Demand:
    """What a job asks of memory, in bytes, before it is divided among processes.

    Attributes:
        stored: Weights as they are loaded.
        weights: Weights while training: trained ones are in float32.
        trained: Trained weights.
        largest: Largest trained weight.
        states: States of the optimiser.
        update: Intermediate values of a step of the optimiser on an accelerator, which updates all weights at once.
        gathered: Weights of a sharded model that are whole at one time.
        unpacked: Largest 4-bit weight, dequantised.
        step: Trace of a micro-batch.
        accumulated: Whether gradients of earlier micro-batches are there.
        projected: Whether gradients of two sides are kept apart.
        references: Outputs of the old model, on the host.
        copies: Copies of the trained weights on the host: of the guard, the selection, the negation.
        vetting: Most of the guard's look at the weights beside them.
        audit: Most of an audit beside weights.
        reference_model: Whether a second model is audited.
        teacher: Weights of the other model that the method asks; 0 without.
        asking: Most of a pass through it beside weights.
        fisher: Fisher information of one side; 0 without FILA.
        fisher_pass: Most of a pass for it beside weights.
        decomposition: Intermediate values of one layer's decomposition.
        whole: All weights in float32, for relearning; 0 without.
        relearning: Trace of a step of relearning; None without.
        merged: Weights of a dequantised copy for the export; 0 without.
    """

    stored: int
    weights: int
    trained: int
    largest: int
    states: int
    update: int
    gathered: int
    unpacked: int
    step: Trace
    accumulated: bool
    projected: bool
    references: int
    copies: int
    vetting: int
    audit: int
    reference_model: bool
    teacher: int = 0
    asking: int = 0
    fisher: int = 0
    fisher_pass: int = 0
    decomposition: int = 0
    whole: int = 0
    relearning: Trace | None = None
    merged: int = 0


@dataclass(frozen=True)
class Phase:
    """The most memory of a phase of a job.

    Attributes:
        name: Name of the phase.
        device: Bytes on an accelerator.
        host: Bytes on the host beside it.
        saved_on_cpus: Bytes that CPUs do not need, of those on the device.
    """

    name: str
    device: int
    host: int = 0
    saved_on_cpus: int = 0

    @property
    def on_cpu(self) -> int:
        """Bytes where there is no accelerator."""
        return self.device + self.host - self.saved_on_cpus


def rows_of(demand: Demand, strategy: Strategy) -> dict[str, int]:
    """Return the parts of the memory of a training step, by name, for each process."""
    shards, step = strategy.shards, demand.step
    peak = step.peak(shards, accumulated=demand.accumulated)
    gradients = demand.trained // shards
    rows = {
        "weights": demand.weights // shards,
        "weights gathered for a block": demand.gathered if strategy.sharded else 0,
        "gradients": gradients * (3 if demand.projected else 1),
        "gradients on their way to other processes": 0,
        "states of the optimiser": demand.states // shards,
        "activations of the forward pass": step.after_forward,
        "loss and backward pass": max(peak - gradients - step.after_forward, 0) + demand.unpacked,
        "host: outputs of the old model": demand.references,
        "host: copies of the trained weights": demand.copies * demand.trained // shards,
        "host: Fisher information": demand.fisher,
    }
    if strategy.processes > 1:
        # DDP copies gradients into buckets; a sharded model reduces those of one block at a time.
        whole_block = min(demand.gathered, demand.trained)
        rows["gradients on their way to other processes"] = whole_block if strategy.sharded else demand.trained
    return rows


def phases_of(demand: Demand, strategy: Strategy) -> list[Phase]:
    """Return the most memory of every phase of a job, for each process.

    Only training is sharded: before and after it each process has the whole model.
    """
    shards = strategy.shards
    parts = rows_of(demand, strategy)
    gathered = parts["weights gathered for a block"]
    kept = parts["host: outputs of the old model"] + parts["host: copies of the trained weights"]
    state = parts["weights"] + parts["states of the optimiser"]
    gradients, buckets = parts["gradients"], parts["gradients on their way to other processes"]
    peak = demand.step.peak(shards, accumulated=demand.accumulated)
    others = (gradients - demand.trained // shards) + buckets + gathered + demand.unpacked
    # The model before judges the answers of the one after, which waits on the host, or stays where it is if packed.
    packed = demand.unpacked > 0
    models = demand.stored * (2 if demand.reference_model or packed else 1)
    phases = [
        Phase("audits", models + demand.audit + demand.unpacked, 0 if packed else demand.stored),
        Phase("training: forward and backward pass", state + peak + others, kept),
        Phase(
            "training: step of the optimiser",
            state + gradients + buckets + demand.update // shards,
            kept,
            # There weights are updated one after another.
            (demand.update - 2 * demand.largest) // shards,
        ),
    ]
    # The guard makes a new copy before it drops the last one.
    phases.append(
        Phase("training: end of an epoch", state + buckets + demand.vetting + gathered, kept + demand.trained // shards)
    )
    if demand.teacher:
        phases.append(Phase("asking the teacher", demand.weights + demand.teacher + demand.asking, demand.references))
    if demand.fisher:
        at_once = max(demand.fisher_pass, demand.decomposition) + demand.unpacked
        start = demand.weights + demand.fisher + at_once
        phases.append(Phase("initialising by FILA", start, demand.references + demand.fisher))
    if demand.relearning is not None:
        moments = 2 * demand.whole
        phases.append(Phase("relearning", demand.whole + moments + demand.relearning.peak(1), demand.stored))
    if strategy.sharded:
        # Weights are split, and put together again, one after another.
        phases.append(Phase("training: sharding and gathering", demand.weights + demand.weights // shards))
    if demand.merged:
        phases.append(Phase("merging", demand.weights + demand.merged))
    return phases


def plan_lines(config: LanguageUnlearningConfig, directory: Path) -> list[str]:
    """Return the plan of a job as lines of text; no weight is read, and nothing is written.

    Args:
        config: The configuration of the job.
        directory: Run directory; nothing is written to it.

    Raises:
        InputError: The architecture is not known, or a record or a setting is faulty.
    """
    planned = Planned(config, directory)
    demand = planned.demand
    strategies = [each for each in STRATEGIES if not each.sharded or config.model.quantization is None]
    lines = [*planned.description(), "", "GiB for each process".ljust(46) + _cells([each.name for each in strategies])]

    def row(name: str, values: Sequence[int]) -> str:
        return f"{name:<46}" + _cells([f"{value / GIB:.2f}" if value else "-" for value in values])

    parts = [rows_of(demand, strategy) for strategy in strategies]
    lines += [row(name, [own[name] for own in parts]) for name in parts[0] if any(own[name] for own in parts)]
    by_strategy = [phases_of(demand, strategy) for strategy in strategies]
    lines += ["", "most at once on the device"]
    names = dict.fromkeys(phase.name for phases in by_strategy for phase in phases)
    for name in names:
        found = [sum(phase.device for phase in phases if phase.name == name) for phases in by_strategy]
        lines.append(row(f"  {name}", found))
    device = [max(phase.device for phase in phases) for phases in by_strategy]
    lines += [
        row("largest: device", device),
        row("largest: host beside it", [max(phase.host for phase in phases) for phases in by_strategy]),
        row("largest: on CPUs", [max(phase.on_cpu for phase in phases) for phases in by_strategy]),
        "smallest card, in GB".ljust(46) + _cells([_card(value) for value in device]),
        "",
        f"A card counts as large enough if the device needs at most {HEADROOM:.0%} of it. Python, CUDA and the reading "
        "of files come on top.",
    ]
    return lines


class Planned:
    """A job whose shapes are known: :attr:`demand` says what it asks of memory.

    Args:
        config: The configuration of the job.
        directory: Run directory; nothing is written to it.
    """

    def __init__(self, config: LanguageUnlearningConfig, directory: Path) -> None:
        self._config = config
        self._method: Method = build_method(config.method.name, config.method.settings)
        with settings_as_input("training"):
            self._args = trainer_settings(config, directory)
        self._dtype: torch.dtype = getattr(torch, config.model.dtype)
        self._network = load_shapes(config.model.name, self._dtype)
        if getattr(self._network.config, "vocab_size", None) is None:
            raise InputError(f"model {config.model.name}: its config.json has no vocab_size, so logits cannot be sized")
        if config.lora is not None:
            check_target_modules(self._network, config.lora)
        self._examples, self._measured = self._read()
        if self._measured:
            check_positions(self._network, [example for own in self._examples.values() for example in own])
        self._count = sum(parameter.numel() for parameter in self._network.parameters())
        self.shape = self._batch_shape()
        self.demand = self._demand()

    def description(self) -> list[str]:
        """Return what the plan is for, and what it assumes."""
        config, shape = self._config, self.shape
        trained = self.demand.trained / _FLOAT
        adapter = "all weights" if config.lora is None else f"LoRA of rank {config.lora.rank}"
        adapter += " by FILA" if config.lora is not None and config.lora.init == "fila" else ""
        packed = "" if config.model.quantization is None else f", packed as {config.model.quantization}"
        rows = " + ".join(f"{count} {side}" for side, count in shape.rows.items())
        length = f"{shape.length} tokens at most, {shape.labelled} of them labelled"
        if not self._measured:
            length = f"data.max_length={shape.length} tokens, as no tokenizer is there to count them"
        return [
            f"{config.model.name}: {self._count / 1e6:,.1f} million weights in {config.model.dtype}{packed}; "
            f"{self._method.card.name}, {adapter}, {trained / 1e6:,.1f} million trained",
            f"a batch of each process: {rows} records of {length}",
        ]

    def _read(self) -> tuple[dict[SideName, list[Example]], bool]:
        """The records of each side, and whether their tokens were counted."""
        config, data = self._config, self._config.data
        records, _ = read_records(config)
        tokenizer = load_local_tokenizer(config.model.name) if _has_tokenizer(config.model.name) else None
        sides: dict[SideName, list[Record]] = {"forget": records.forget, "retain": records.retain}
        if tokenizer is None:
            longest = Example((0,) * data.max_length, (0,) * data.max_length, (True,) * data.max_length)
            return {side: [longest] * len(own) for side, own in sides.items()}, False
        with settings_as_input(f"model {config.model.name}"):
            encoder = Encoder(tokenizer, data.template, data.max_length, data.append_eos)
        return {side: encode_records(own, encoder, side) for side, own in sides.items()}, True

    def _batch_shape(self) -> PassShape:
        training, method, examples = self._config.training, self._method, self._examples
        batch = min(training.batch_size, len(examples["forget"]))
        rows: dict[SideName, int] = {"forget": batch}
        if method.alternates is not None:
            rows["alternate"] = batch
        if method.reads("retain"):
            rows["retain"] = batch * (training.retain_per_forget + (training.replay_prompts > 0))
        read = [example for side in rows for example in examples.get(side, ())]
        return PassShape(rows, *_longest(read))

    def _demand(self) -> Demand:
        config, args, network = self._config, self._args, self._network
        packed = _packed_layers(network) if config.model.quantization is not None else {}
        stored = sum(_packed_bytes(layer) for layer in packed.values()) + _bytes(
            parameter for parameter in _parameters_beside(network, packed.values())
        )
        unpacked = max((layer.weight.numel() for layer in packed.values()), default=0) * self._dtype.itemsize
        root, block = _groups(network)
        adapter = lora_config(config.lora)
        fisher_layers: dict[str, Any] = {}
        if adapter is not None:
            network = add_adapter(network, adapter, 0)
            adapter_bytes = _bytes(p for name, p in network.named_parameters() if ".lora_" in name)
            for name, layer in lora_layers(network):
                fisher_layers[f"base_model.model.{name}.base_layer"] = layer
            weights = stored + adapter_bytes
        else:
            if args.trainable_parameters is not None:
                with settings_as_input("training"):
                    freeze_all_but(network, args.trainable_parameters)
            dtypes = upcast_trained(network, torch.device("meta"))
            weights = _bytes(network.parameters())
            with settings_as_input("training"):
                args = with_autocast(args, dtypes)
        trained = [p for p in network.parameters() if p.requires_grad]
        trained_bytes = _bytes(trained)
        if args.activation_checkpointing:
            if adapter is not None:
                network.enable_input_require_grads()
            network.activation_checkpointing_enable()
        autocast = _autocast(args)
        # accelerate returns float32 where it autocasts.
        self._itemsize = self._dtype.itemsize if autocast is None else _FLOAT
        tracer = MemoryTracer(network, autocast)
        count = sum(parameter.numel() for parameter in trained)
        watched = 1 + (config.selection is not None) + (self._method.negation is not None)
        demand = Demand(
            stored=stored,
            weights=weights,
            trained=trained_bytes,
            largest=max((p.numel() for p in trained), default=0) * _FLOAT,
            states=_states_per_weight(config.training.optimizer) * count,
            update=0 if "fused" in config.training.optimizer else trained_bytes,
            gathered=root + 2 * block,
            unpacked=unpacked,
            step=tracer.step(self.shape, self._method.terms()),
            accumulated=config.training.accumulate > 1,
            projected=self._method.projection is not None,
            references=self._references(args),
            copies=watched,
            vetting=self._vetting(tracer),
            audit=self._audit(tracer),
            reference_model=config.reference not in (None, "names"),
        )
        if self._method.teacher_model is not None:
            shape = PassShape({"forget": self.shape.rows["forget"]}, self.shape.length, self.shape.labelled)
            asking = tracer.inference(shape).peak()
            demand = replace(demand, teacher=self._count * self._dtype.itemsize, asking=asking)
        if config.lora is not None and config.lora.init == "fila":
            rows = min(args.fila_batch_size, len(self._examples["forget"]))
            shape = PassShape({"forget": rows}, self.shape.length, self.shape.labelled)
            sizes = [layer.in_features * layer.out_features for layer in fisher_layers.values()]
            rows_alone = [layer.out_features for layer in fisher_layers.values()]
            demand = replace(
                demand,
                fisher=_FLOAT * sum(sizes if config.lora.fisher == "element" else rows_alone),
                fisher_pass=tracer.fisher(shape, list(fisher_layers)).peak(),
                decomposition=_DECOMPOSITION * _FLOAT * max(sizes),
            )
        if config.lora is not None and config.lora.merge_dequantized:
            demand = replace(demand, merged=self._count * self._dtype.itemsize)
        stress = config.audit.stress
        if stress is not None and stress.relearn_steps:
            shown = max(1, round(stress.relearn_share * len(self._examples["forget"])))
            whole = MemoryTracer(load_shapes(config.model.name))
            shape = PassShape({"forget": shown}, *_longest(self._examples["forget"]))
            # Its loss is that of ascent with the other sign.
            trace = whole.step(shape, [(-1.0, GradientAscent().forget_term())], whole=True)
            demand = replace(demand, whole=_FLOAT * self._count, relearning=trace)
        return demand

    def _references(self, args: UnlearnConfig) -> int:
        """Bytes of the outputs of the old model that the method keeps."""
        terms, examples = self._method.terms(), self._examples
        forget = forget_examples(examples["forget"], tokens_to_forget(self._method, args.forget_tokens))
        retain = examples["retain"] if self._method.reads("retain") else []
        sides: dict[SideName, list[Example]] = {"forget": forget, "alternate": [], "retain": retain}
        sampler = PairSampler.of_settings(args, len(forget), len(retain))
        dealt = dealt_records(terms, sides, sampler, args)
        return sum(reference_bytes(self._network.config, self._itemsize, terms, sides, dealt).values())

    def _vetting(self, tracer: MemoryTracer) -> int:
        """Bytes of the passes over a few records of either side, whose logits are kept until the last one."""
        records = sum(min(VETTED, len(own)) for own in self._examples.values())
        batch = min(self._config.training.batch_size, records)
        trace = tracer.inference(PassShape({"forget": batch}, self.shape.length, self.shape.labelled))
        logits = (records - batch) * self.shape.labelled * self._network.config.vocab_size * self._itemsize
        return trace.peak() + int(logits)

    def _audit(self, tracer: MemoryTracer) -> int:
        audit = self._config.audit
        every = [example for own in self._examples.values() for example in own]
        shape = PassShape({"forget": min(audit.batch_size, len(every))}, *_longest(every))
        judged = tracer.inference(shape).peak()
        generated = tracer.inference(shape, audit.max_new_tokens)
        # The cache is copied for the sequences that leave the true text.
        return max(judged, generated.peak() + generated.after_forward)


def _cells(values: Sequence[str]) -> str:
    return "".join(f"{value:>11}" for value in values)


def _card(value: int) -> str:
    return next((str(card) for card in CARDS if value <= HEADROOM * card * 1e9), "-")


def _longest(examples: Sequence[Example]) -> tuple[int, int]:
    """The tokens of the longest example, and the labelled ones of the one that has most, shifted by one."""
    length = max(len(example.input_ids) for example in examples)
    return length, max(1, max(sum(label >= 0 for label in example.labels[1:]) for example in examples))


def _has_tokenizer(name: str) -> bool:
    location, gguf_file = locate(name)
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json")
    return gguf_file is not None or any((Path(location) / file).is_file() for file in files)


def _bytes(parameters: Any) -> int:
    return sum(int(parameter.numel() * parameter.dtype.itemsize) for parameter in parameters)


def _packed_layers(network: Any) -> dict[str, Any]:
    """The layers that are packed into 4 bits: all linear ones, but for the output layer."""
    head = network.get_output_embeddings()
    return {
        name: layer
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and layer is not head
    }


def _packed_bytes(layer: Any) -> int:
    """Two weights per byte, and a float32 scale for each block."""
    count = int(layer.weight.numel())
    return math.ceil(count / 2) + _FLOAT * math.ceil(count / _BLOCK_OF_SCALES)


def _parameters_beside(network: nn.Module, layers: Any) -> list[nn.Parameter]:
    packed = {id(layer.weight) for layer in layers}
    return [parameter for parameter in network.parameters() if id(parameter) not in packed]


def _groups(network: Any) -> tuple[int, int]:
    """Bytes of the weights outside the blocks that are sharded one by one, and of the largest block."""
    names = set(network._no_split_modules or ())
    blocks = [module for module in network.modules() if type(module).__name__ in names]
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    root = _bytes(parameter for parameter in network.parameters() if id(parameter) not in inside)
    return root, max((_bytes(block.parameters()) for block in blocks), default=0)


def _states_per_weight(optimizer: str) -> int:
    """Bytes of the optimiser's states for each trained weight.

    Raises:
        InputError: They are not known.
    """
    kind = max((name for name in _STATES if optimizer.startswith(name)), key=len, default=None)
    if kind is None:
        raise InputError(f"training.optimizer: the states of {optimizer!r} are not known, so they cannot be planned")
    return _STATES[kind] // (4 if "8bit" in optimizer else 1)


def _autocast(args: UnlearnConfig) -> torch.dtype | None:
    return torch.bfloat16 if args.bf16 else torch.float16 if args.fp16 else None
