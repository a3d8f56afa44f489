"""What of a language model fits into the memory at hand: batches, and what a draft saves where it is short."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from myosotis.init.look import memory_at_hand
from myosotis.models.causal_lm import locate
from myosotis.models.fine_tuned import base_of
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.plan import GIB, HEADROOM, STRATEGIES, Planned, phases_of

_SMALL = 1 / 8
"""Share of the memory below which the weights of a model need no plan."""


@dataclass(frozen=True)
class Saving:
    """Settings that save memory.

    Attributes:
        model: Below ``model``, as YAML.
        training: Line of ``training``; empty without.
        words: What they are, for a remark.
    """

    model: str = ""
    training: str = ""
    words: str = "as it is"


_CHECKPOINTING = "\n  gradient_checkpointing: true  # activations are computed twice"
_SAVINGS = (
    Saving(),
    Saving(", dtype: bfloat16", "", "in bfloat16"),
    Saving(", dtype: bfloat16", _CHECKPOINTING, "in bfloat16 with checkpointing"),
    Saving(", dtype: bfloat16, quantization: nf4", _CHECKPOINTING, "in 4 bits with checkpointing"),
)
"""From what costs nothing to what costs most."""


def saving_for(draft: Callable[[Saving], str], parameters: float | None, folder: Path) -> tuple[Saving, str | None]:
    """Return what saves enough memory for an adapter, by the plan of the job, and a remark; nothing where all fits.

    Args:
        draft: From a saving to the text of the configuration.
        parameters: Number of weights of the model; None where it is not known.
        folder: Folder of the configuration.
    """
    at_hand = memory_at_hand()
    if parameters is None or 4 * parameters < _SMALL * at_hand:
        return Saving(), None
    needs = 0
    for saving in _SAVINGS:
        config = LanguageUnlearningConfig.model_validate(
            yaml.safe_load(draft(saving)), context={"folder": folder.resolve()}
        )
        phases = phases_of(Planned(config, folder).demand, STRATEGIES[0])
        needs = max(phase.device if torch.cuda.is_available() else phase.on_cpu for phase in phases)
        if needs <= HEADROOM * at_hand:
            return saving, f"Fits {_remark(saving, needs, at_hand)}"
    return _SAVINGS[-1], f"Too large, even {_remark(_SAVINGS[-1], needs, at_hand)}"


def _remark(saving: Saving, needs: int, at_hand: int) -> str:
    return (
        f"{saving.words}: {needs / GIB:.1f} of {at_hand / GIB:.1f} GiB at hand are needed, computed, not measured; "
        "see `myosotis check --plan`."
    )


def parameters_of(model: Path | str) -> float | None:
    """Roughly the number of weights, by the size of their files; None for a name of the hub."""
    location, gguf = locate(str(model) if isinstance(model, str) or model.is_absolute() else f"./{model}")
    directory = Path(location)
    base = base_of(directory)
    if base is not None:
        return parameters_of(base)
    if gguf is not None:
        return (directory / gguf).stat().st_size / 1.06  # 8-bit weights and their scales
    files = list(directory.glob("*.safetensors"))
    return sum(file.stat().st_size for file in files) / 4 if files else None


def batch_for(parameters: float | None, longest: int, records: int, *, adapter: bool) -> int:
    """Records of a batch: what half of the memory holds beside weights, gradients and the optimiser's state."""
    weights = 4 * (parameters or 1e9) * (1.2 if adapter else 4)
    logits = longest * 50_000 * 4 * 4
    fits = (memory_at_hand() / 2 - weights) / logits
    size = max(1, min(16, records, int(fits)))
    return 1 << (size.bit_length() - 1)
