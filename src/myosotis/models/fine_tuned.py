"""A fine-tune that was saved as an adapter alone: its weights are those of its base, with the adapter merged."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json

_SETTINGS, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def base_of(directory: Path) -> str | None:
    """Return the base that a directory's adapter names; None if the directory holds a whole model, or none.

    Raises:
        InputError: The adapter names no base, or its weights are no safetensors: pickled ones are not read.
    """
    if (directory / "config.json").is_file() or not (directory / _SETTINGS).is_file():
        return None
    settings = read_json(directory / _SETTINGS)
    base = settings.get("base_model_name_or_path") if isinstance(settings, dict) else None
    if not isinstance(base, str) or not base:
        raise InputError(f"model {directory}: is an adapter whose {_SETTINGS} names no base model")
    if not (directory / _WEIGHTS).is_file():
        raise InputError(f"model {directory}: is an adapter without {_WEIGHTS}; pickled weights are not read")
    return base


def with_merged_adapter(model: Any, directory: Path) -> Any:
    """Return a model with an adapter merged into its weights.

    Args:
        model: The base.
        directory: Directory of the adapter.

    Raises:
        InputError: The adapter is of another model, or cannot be merged.
    """
    from peft import PeftModel, get_peft_model_state_dict

    try:
        with safe_open(directory / _WEIGHTS, "pt") as file:
            stored = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        adapted = PeftModel.from_pretrained(model, str(directory))
        # Embeddings are stored with it where its vocabulary is another, and only then.
        needed, known = (
            {name: tuple(value.shape) for name, value in get_peft_model_state_dict(adapted, **choice).items()}
            for choice in ({"save_embedding_layers": False}, {"save_embedding_layers": True})
        )
        merged = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"model {directory}: the adapter cannot be merged: {first_line}") from None
    strange = [name for name in {**needed, **stored} if stored.get(name) != known.get(name)]
    if strange:
        raise InputError(f"model {directory}: is an adapter of another model: {min(strange)} does not fit")
    return merged.requires_grad_(requires_grad=True)  # peft had frozen the base
