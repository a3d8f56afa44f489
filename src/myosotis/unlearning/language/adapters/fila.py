"""FILA: low-rank adapters initialised on the weights that matter to the forget set and not to the rest."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor

from myosotis.engine.errors import DivergedError, SettingsError
from myosotis.engine.progress import progress
from myosotis.engine.seeding import seeded
from myosotis.models.four_bit import is_four_bit, whole_weight
from myosotis.unlearning.language.adapters.residual import subtract_product

Epsilon = Literal["relative", "official"]

_OFFICIAL_EPSILON = 1e-5
_RELATIVE_EPSILON = 1e-2
_SMALLEST_ROW_WEIGHT = 1e-3
_EXACT_UP_TO = 2048
_OVERSAMPLING = 8
_POWER_ITERATIONS = 4


@dataclass(frozen=True)
class FilaFactors:
    """The start of a low-rank adapter: ``scale * b @ a + residual`` is the original weight.

    Attributes:
        a: (rank, in).
        b: (out, rank).
        residual: (out, in), the new frozen weight.
    """

    a: Float[Tensor, "rank in"]
    b: Float[Tensor, "out rank"]
    residual: Float[Tensor, "out in"]


def fila_factors(
    weight: Float[Tensor, "out in"],
    forget_fisher: Float[Tensor, "out in"] | Float[Tensor, " out"],
    retain_fisher: Float[Tensor, "out in"] | Float[Tensor, " out"] | None,
    rank: int,
    scale: float,
    epsilon: Epsilon = "relative",
) -> FilaFactors:
    r"""Split a weight into a low-rank part that carries its forget-specific importance, and a residual.

    Row weights $d_i = \sqrt{\sum_j F^f_{ij} / (F^r_{ij} + \epsilon)}$, D = diag(d); the rank-r minimiser of
    $\|D(W - s B A)\|_F$ comes from the SVD $D W \approx U S V^T$: $A = (S/s)^{1/2} V^T$, $B = D^{-1} U (S/s)^{1/2}$.
    (Cha et al., ICLR 2025, section 4.2.)

    Args:
        weight: The weight, one row per output unit.
        forget_fisher: Fisher information on the forget set; or its row sums (out,), then the ratio is taken between
            row sums, a cheaper variant that is not the paper's.
        retain_fisher: The same on the retain set; None without one, then only ``forget_fisher`` counts.
        rank: Rank of the adapter, at most min(out, in).
        scale: alpha / rank of the adapter, s above.
        epsilon: ``"relative"``: 1 % of the mean of ``retain_fisher``, and row weights of at least 0.1 % of the
            largest, so that a common factor of the Fisher information changes nothing. ``"official"``: the released
            code's 1e-5, next to which the Fisher information of language models usually vanishes.

    Returns:
        The factors in float32 or better. The SVD is exact up to a smaller side of 2,048 and randomised (seeded, with
        oversampling and power iterations) beyond.

    Raises:
        ValueError: A shape, ``rank``, ``scale`` or ``epsilon`` does not fit, or the forget Fisher information is all 0.

    Example:
        >>> ones = torch.ones(2, 2)
        >>> factors = fila_factors(torch.diag(torch.tensor([3.0, 1.0])), ones, ones, rank=1, scale=2.0)
        >>> bool(torch.allclose(2.0 * factors.b @ factors.a, torch.tensor([[3.0, 0.0], [0.0, 0.0]]), atol=1e-5))
        True
    """
    _check(weight, forget_fisher, retain_fisher, rank, scale)
    W = weight.detach().to(torch.promote_types(weight.dtype, torch.float32))
    d, inverse = _row_weights(forget_fisher.to(W), None if retain_fisher is None else retain_fisher.to(W), epsilon)
    U, S, V = _truncated_svd(d.unsqueeze(1) * W, rank)
    root = (S / scale).sqrt()
    a = root.unsqueeze(1) * V.T
    b = inverse.unsqueeze(1) * U * root
    return FilaFactors(a=a, b=b, residual=W - scale * b @ a)


def _check(weight: Tensor, forget_fisher: Tensor, retain_fisher: Tensor | None, rank: int, scale: float) -> None:
    if weight.ndim != 2:
        raise ValueError(f"expected a weight (out, in), got shape {tuple(weight.shape)}")
    for name, fisher in (("forget_fisher", forget_fisher), ("retain_fisher", retain_fisher)):
        if fisher is not None and fisher.shape not in (weight.shape, weight.shape[:1]):
            raise ValueError(
                f"{name} must have the shape of the weight {tuple(weight.shape)} or its rows {tuple(weight.shape[:1])},"
                f" got {tuple(fisher.shape)}"
            )
    if retain_fisher is not None and retain_fisher.shape != forget_fisher.shape:
        raise ValueError("forget_fisher and retain_fisher must both be full or both be row sums")
    if not 1 <= rank <= min(weight.shape):
        raise SettingsError(f"rank must be between 1 and {min(weight.shape)}, got {rank}")
    if not scale > 0:
        raise SettingsError(f"scale must be > 0, got {scale}")


def _row_weights(forget: Tensor, retain: Tensor | None, epsilon: Epsilon) -> tuple[Tensor, Tensor]:
    """The row weights d (out,) and their inverse."""
    if not forget.any():
        raise SettingsError("the forget Fisher information is 0 everywhere: the forget set does not reach this module")
    retain = torch.ones_like(forget) if retain is None else retain
    if epsilon == "official":
        ratio = forget / (retain + _OFFICIAL_EPSILON)
    elif epsilon == "relative":
        floor = _RELATIVE_EPSILON * retain.mean()
        if floor == 0:
            raise SettingsError("the retain Fisher information is 0 everywhere; pass None where there is no retain set")
        ratio = forget / (retain + floor)
    else:
        raise SettingsError(f"epsilon must be 'relative' or 'official', got {epsilon!r}")
    d = (ratio if ratio.ndim == 1 else ratio.sum(dim=1)).sqrt()
    if epsilon == "official":
        return d, 1 / (d + _OFFICIAL_EPSILON)
    d = d.clamp(min=_SMALLEST_ROW_WEIGHT * d.max().item())
    return d, 1 / d


def _truncated_svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    if min(matrix.shape) <= _EXACT_UP_TO:
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        return U[:, :rank], S[:rank], Vh[:rank].T
    with seeded(0, matrix.device):
        size = min(rank + _OVERSAMPLING, min(matrix.shape))
        U, S, V = torch.svd_lowrank(matrix, q=size, niter=_POWER_ITERATIONS)
    return U[:, :rank], S[:rank], V[:, :rank]


def lora_layers(model: PeftModel) -> Iterator[tuple[str, LoraLayer]]:
    """Yield name and LoRA layer of a PEFT model, the name as in the base model; the base may be packed into 4 bits.

    Raises:
        ValueError: FILA and the delta export do not support a layer: it is not linear, of 8 bits, or DoRA.
    """
    prefix = "base_model.model."
    for name, module in model.named_modules():
        if not isinstance(module, LoraLayer):
            continue
        plain = name.removeprefix(prefix)
        adapter = module.active_adapters[0]
        base = module.get_base_layer()
        plain_linear = isinstance(module, LoraLinear) and torch.is_floating_point(base.weight)
        if not plain_linear and not is_four_bit(base):
            raise SettingsError(
                f"module {plain!r}: only plain linear layers are supported, not {type(module).__name__}"
            )
        if getattr(module, "use_dora", {}).get(adapter) or getattr(module, "lora_variant", {}).get(adapter):
            raise SettingsError(f"module {plain!r}: variants of LoRA such as DoRA are not supported")
        yield plain, module


def refuse_tied_layers(peft_model: PeftModel) -> None:
    """Raise ``ValueError`` if an adapted weight is tied to the embeddings, which a merged adapter would change too."""
    embedding = getattr(peft_model.get_input_embeddings(), "weight", None)
    for name, module in peft_model.named_modules():
        if isinstance(module, LoraLayer) and getattr(module.get_base_layer(), "weight", None) is embedding:
            plain = name.removeprefix("base_model.model.")
            raise SettingsError(f"module {plain!r}: its weight is tied to the embeddings; leave it out of the targets")


@torch.no_grad()
def apply_fila(
    peft_model: PeftModel,
    forget_fisher: Mapping[str, Tensor],
    retain_fisher: Mapping[str, Tensor] | None,
    epsilon: Epsilon = "relative",
) -> dict[str, Tensor]:
    """Initialise the adapter of a PEFT LoRA model by FILA, in place; the model's function does not change.

    The base weights become the residuals, computed from the factors as they are stored, which compensates for rounding
    to a narrow dtype. A 4-bit base keeps its weights, as packing the residual would round it again: the SVD is that of
    the dequantised weight, and the layer subtracts the product of the initial factors from its output. In either case
    the adapter alone is meaningless on the original base: export with
    :func:`~myosotis.unlearning.language.save_merged` or :func:`~myosotis.unlearning.language.save_delta_adapter`.

    Args:
        peft_model: A model with one active LoRA adapter on linear layers (``nn.Linear`` or ``Conv1D``).
        forget_fisher: By module name of the base model, in the shape of the module's weight, or row sums (out,); on any
            device.
        retain_fisher: The same on the retain set; None without one.
        epsilon: See :func:`fila_factors`.

    Returns:
        The initial factors, for the delta export: ``"<module>.a"`` and ``"<module>.b"``.

    Raises:
        ValueError: There is no LoRA layer, a module's Fisher information is missing, or a layer is not supported.
    """
    initial: dict[str, Tensor] = {}
    layers = list(lora_layers(peft_model))
    if not layers:
        raise SettingsError("the model has no LoRA layer")
    # Everything is checked before the first weight changes.
    fishers = [
        (_fisher_of(name, forget_fisher), None if retain_fisher is None else _fisher_of(name, retain_fisher))
        for name, _ in layers
    ]
    refuse_tied_layers(peft_model)
    for name, layer in layers:
        if layer.lora_B[layer.active_adapters[0]].weight.any():
            raise ValueError(f"module {name!r}: its adapter is already trained; merge it first")
    with progress("initialising the adapter by FILA", len(layers)) as ticker:
        for (name, layer), (forget, retain) in zip(layers, fishers, strict=True):
            adapter = layer.active_adapters[0]
            base = layer.get_base_layer()
            weight = whole_weight(base)
            stored_transposed = bool(layer.fan_in_fan_out)

            def upright(matrix: Tensor, transposed: bool = stored_transposed) -> Tensor:
                return matrix.T if transposed and matrix.ndim == 2 else matrix

            factors = fila_factors(
                upright(weight),
                upright(forget.to(weight.device)),
                None if retain is None else upright(retain.to(weight.device)),
                layer.r[adapter],
                layer.scaling[adapter],
                epsilon,
            )
            set_factors(layer, adapter, factors.a, factors.b)
            a, b = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight
            _subtract_from_base(layer, adapter)
            initial[f"{name}.a"], initial[f"{name}.b"] = a.detach().clone(), b.detach().clone()
            ticker.advance()
    return initial


def _subtract_from_base(layer: LoraLayer, adapter: str) -> None:
    """Subtract the product of a layer's factors from its base: from the weight, or from the output of a packed one."""
    a, b, scale = layer.lora_A[adapter].weight, layer.lora_B[adapter].weight, layer.scaling[adapter]
    base = layer.get_base_layer()
    if is_four_bit(base):
        subtract_product(base, a, b, scale)
        return
    wide = torch.promote_types(base.weight.dtype, torch.float32)
    upright = base.weight.T if layer.fan_in_fan_out else base.weight
    residual = upright.to(wide) - scale * (b.to(wide) @ a.to(wide))
    base.weight.copy_(residual.T if layer.fan_in_fan_out else residual)


def set_factors(layer: LoraLayer, adapter: str, a: Tensor, b: Tensor) -> None:
    """Overwrite the factors of a LoRA layer in place."""
    layer.lora_A[adapter].weight.data.copy_(a)
    layer.lora_B[adapter].weight.data.copy_(b)


@torch.no_grad()
def subtract_initial(peft_model: PeftModel, initial: Mapping[str, Tensor]) -> None:
    """Turn original base weights into the residuals that belong to saved initial factors, bit for bit as before.

    Args:
        peft_model: A fresh PEFT model on the original base; its adapter is set to the initial factors too.
        initial: Initial factors of :func:`apply_fila`.
    """
    for name, layer in lora_layers(peft_model):
        adapter = layer.active_adapters[0]
        set_factors(layer, adapter, initial[f"{name}.a"], initial[f"{name}.b"])
        _subtract_from_base(layer, adapter)


def _fisher_of(name: str, fisher: Mapping[str, Any]) -> Tensor:
    for key in (name, f"base_model.model.{name}.base_layer", f"base_model.model.{name}", f"{name}.base_layer"):
        if key in fisher:
            values = fisher[key]
            if not isinstance(values, Tensor) or not math.isfinite(float(values.sum())):
                raise DivergedError(f"module {name!r}: its Fisher information is not finite")
            return values
    raise ValueError(f"module {name!r}: its Fisher information is missing")
