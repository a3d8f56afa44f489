"""Low-rank adapters on a frozen model, of which every row of a batch may have another one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.pytorch_utils import Conv1D

from myosotis.data.encoding import Example, pad_examples, pad_token_id
from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.seeding import generator
from myosotis.forgetting_learner.adapters.config import AdapterSettings, AdapterTraining

Adapter = Mapping[str, Tensor]
"""The weights of one adapter: ``LAYER.down``, (rank, in), and ``LAYER.up``, (out, rank), for each layer."""

_MLP = ("mlp", "feed_forward", "ffn")


class RowwiseLinear(nn.Module):
    """A frozen linear layer, and a low-rank change for each row of its batch (LoRA: Hu et al., ICLR 2022).

    Args:
        base: The layer: anything that maps (batch, time, in) to (batch, time, out).
        scale: Factor of the change.

    Attributes:
        down: (batch or 1, rank, in); None for the layer as it is.
        up: (batch or 1, out, rank).

    Example:
        >>> layer = RowwiseLinear(nn.Linear(2, 1, bias=False), 1.0)
        >>> layer.down = torch.tensor([[[1.0, 0.0]], [[0.0, 0.0]]])
        >>> layer.up = torch.ones(2, 1, 1)
        >>> ones = torch.ones(2, 3, 2)
        >>> (layer(ones) - layer.base(ones)).flatten(1).round().tolist()
        [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]]
    """

    def __init__(self, base: nn.Module, scale: float) -> None:
        super().__init__()
        self.base = base
        self._scale = scale
        self.down: Float[Tensor, "rows rank in"] | None = None
        self.up: Float[Tensor, "rows out rank"] | None = None

    def forward(self, inputs: Float[Tensor, "batch time in"]) -> Float[Tensor, "batch time out"]:
        """Return the output of the layer, and of each row's adapter on it."""
        output: Tensor = self.base(inputs)
        if self.down is None or self.up is None:
            return output
        if self.down.shape[0] not in (1, inputs.shape[0]):
            raise ValueError(f"{inputs.shape[0]} rows, but adapters for {self.down.shape[0]}: is this beam search?")
        change = torch.matmul(torch.matmul(inputs, self.down.to(inputs).mT), self.up.to(inputs).mT)
        return output + self._scale * change


def block_list(model: PreTrainedModel) -> str:
    """Return the name of the list of a model's blocks.

    Raises:
        SettingsError: There is no such list.
    """
    count = model.config.num_hidden_layers
    for name, module in model.named_modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return str(name)
    raise SettingsError(f"{type(model).__name__} keeps its {count} blocks in no list, so that no adapter finds them")


class Adapters:
    """A frozen model with low-rank adapters in some of its layers.

    Args:
        model: Causal language model of ``transformers``; its layers are wrapped, its weights are frozen.
        settings: Rank and layers.

    Raises:
        SettingsError: No layer is one of ``settings.targets``.
    """

    def __init__(self, model: PreTrainedModel, settings: AdapterSettings) -> None:
        self.model = model.eval().requires_grad_(False)
        self._settings = settings
        blocks = block_list(model)
        count = model.config.num_hidden_layers
        first = count // 2 if settings.first_layer is None else settings.first_layer
        if first >= count:
            raise SettingsError(f"adapter.first_layer is {first}, but the model has {count} layers")
        linear = [
            name
            for name, module in model.named_modules()
            if name.startswith(f"{blocks}.") and _features(module) is not None
        ]
        within = {name: name.removeprefix(f"{blocks}.").split(".") for name in linear}
        names = [
            name
            for name, (number, *path) in within.items()
            if int(number) >= first
            and (any(part in _MLP for part in path) if settings.targets is None else path[-1] in settings.targets)
        ]
        if not names:
            known = sorted({path[-1] for path in within.values()})
            raise SettingsError(f"no layer is one of adapter.targets; the linear layers are {', '.join(known)}")
        self._layers = {name: _wrapped(model, name, settings.alpha / settings.rank) for name in names}

    @property
    def layers(self) -> dict[str, nn.Module]:
        """The frozen layers that have adapters, by their names in the model."""
        return {name: layer.base for name, layer in self._layers.items()}

    def shapes(self) -> dict[str, tuple[int, int]]:
        """Return the shape of every tensor of an adapter, by its name."""
        rank, shapes = self._settings.rank, dict[str, tuple[int, int]]()
        for name, layer in self._layers.items():
            inputs, outputs = _features(layer.base) or (0, 0)
            shapes |= {f"{name}.down": (rank, inputs), f"{name}.up": (outputs, rank)}
        return shapes

    def start(self, seed: int, purpose: str) -> dict[str, Tensor]:
        """Return an adapter that changes nothing: ``down`` uniform within 1 / sqrt(in), ``up`` zero.

        Args:
            seed: Seed.
            purpose: What the adapter is for; others start elsewhere.
        """
        adapter, random = dict[str, Tensor](), generator(seed, "adapter", purpose)
        for name, shape in self.shapes().items():
            adapter[name] = torch.zeros(shape)
            if name.endswith(".down"):
                adapter[name].uniform_(-1 / math.sqrt(shape[1]), 1 / math.sqrt(shape[1]), generator=random)
        return adapter

    @contextmanager
    def active(self, rows: Sequence[Adapter | None]) -> Iterator[None]:
        """Answer with adapters: one for all rows of a batch, or one for each; None is the model as it is."""
        if all(row is None for row in rows):
            yield
            return
        device = next(self.model.parameters()).device
        blank = {name: torch.zeros(shape) for name, shape in self.shapes().items()} if None in rows else {}
        try:
            for name, layer in self._layers.items():
                layer.down, layer.up = (
                    torch.stack([(row or blank)[f"{name}.{part}"].float() for row in rows]).to(device)
                    for part in ("down", "up")
                )
            yield
        finally:
            for layer in self._layers.values():
                layer.down = layer.up = None

    def train(
        self,
        examples: Sequence[Example],
        settings: AdapterTraining,
        seed: int,
        purpose: str,
        tokenizer: PreTrainedTokenizerBase,
    ) -> dict[str, Tensor]:
        """Train an adapter on records alone, and return it in bfloat16.

        A fixed number of steps of AdamW, whose rate falls to zero; a step takes the next ``batch_size`` records in the
        order in which they are given. Dropout is off. The bits are a function of the arguments, on one kind of machine
        with one number of threads.

        Args:
            examples: The records, encoded.
            settings: Steps, rate and batch.
            seed: Seed.
            purpose: What the adapter is for.
            tokenizer: Tokenizer, whose padding is used.

        Raises:
            DivergedError: The loss is not finite.
        """
        device = next(self.model.parameters()).device
        weights = {name: value.to(device).requires_grad_() for name, value in self.start(seed, purpose).items()}
        optimizer = torch.optim.AdamW(weights.values(), lr=settings.learning_rate, weight_decay=0.0)
        size = min(settings.batch_size, len(examples))
        try:
            for step in range(settings.steps):
                optimizer.param_groups[0]["lr"] = settings.learning_rate * (1 - step / settings.steps)
                for name, layer in self._layers.items():
                    layer.down, layer.up = (weights[f"{name}.{part}"][None] for part in ("down", "up"))
                chosen = [examples[(step * size + turn) % len(examples)] for turn in range(size)]
                batch = {
                    name: value.to(device) for name, value in pad_examples(chosen, pad_token_id(tokenizer)).items()
                }
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    loss = self.model(**batch).loss
                if not bool(loss.isfinite()):
                    raise DivergedError(f"the loss of an adapter is not finite after {step} steps; lower the rate")
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
        finally:
            for layer in self._layers.values():
                layer.down = layer.up = None
        return {name: value.detach().bfloat16().cpu() for name, value in weights.items()}


def _features(module: nn.Module) -> tuple[int, int] | None:
    """Inputs and outputs of a linear layer; None of anything else."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):  # of GPT-2, whose weight is transposed
        return int(module.nx), int(module.nf)
    return None


def _wrapped(model: nn.Module, name: str, scale: float) -> RowwiseLinear:
    parent, _, child = name.rpartition(".")
    layer = RowwiseLinear(model.get_submodule(name), scale)
    setattr(model.get_submodule(parent), child, layer)
    return layer
