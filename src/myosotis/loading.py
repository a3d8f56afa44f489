"""One way to open whatever a run made: by the file that describes it."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require

_OPENERS: Mapping[str, str] = {
    "learner.json": "continual.classification.saved:open_learner",
    "segmenter.json": "continual.segmentation.saved:open_segmenter",
    # An encoder of `learn representations` or `pretrain` is a classifier without classes.
    "classifier.json": "models.image_classifier:open_classifier",
    "config.json": "models.causal_lm:open_language_model",
    "denoiser.safetensors": "denoising.denoiser_file:open_denoiser",
}
"""By the file that a directory holds, in this order: module and function that open it."""


def load(path: str | Path) -> Any:
    """Open a trained model, whatever made it.

    Args:
        path: A run, or the ``model`` directory of one, or a file of ``denoise train``.

    Returns:
        What answers in the habit of its field:

        - ``learn classes``, ``learn segments``, ``unlearn classifier``:
          :class:`~myosotis.models.predictor.ImagePredictor` with ``predict(images)``, ``scores(images)``, ``classes``.
        - ``learn representations``, ``pretrain``: :class:`~myosotis.models.predictor.ImageEncoder` with
          ``transform(images)``.
        - ``denoise train``: :class:`~myosotis.denoising.NeuralDenoiser` with ``denoise(noisy, channel)``.
        - ``unlearn language``: a ``transformers`` text-generation pipeline, called with a prompt.

    Raises:
        InputError: There is no model, or it is damaged.

    Example:
        >>> load("runs/nothing")
        Traceback (most recent call last):
        myosotis.engine.errors.InputError: runs/nothing: no such file or directory
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or directory")
    if path.is_file():
        return _opener("denoising.denoiser_file:open_denoiser")(path)
    folder = path / "model" if (path / "config.yaml").is_file() else path
    for name, opener in _OPENERS.items():
        if (folder / name).is_file():
            return _opener(opener)(folder / name if name.endswith(".safetensors") else folder)
    unfinished = folder != path and not (path / "result.json").is_file()
    hint = "this run is not finished" if unfinished else f"holds none of {', '.join(_OPENERS)}"
    raise InputError(f"{path}: no model to load: {hint}")


def _opener(name: str) -> Any:
    module, _, function = name.partition(":")
    if module == "models.causal_lm":
        require("language", "a language model")
    return getattr(import_module(f"myosotis.{module}"), function)
