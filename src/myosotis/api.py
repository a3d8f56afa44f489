"""One way to open whatever a run made: by the file that describes it."""

from collections.abc import Mapping
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from myosotis.engine.errors import InputError
from myosotis.engine.extras import require

_OPENERS: Mapping[str, str] = {
    "subjects.json": "forgetting_learner.adapters.learner:SubjectLearner.load",
    "learner.json": "continual.classification.saved:open_learner",
    "segmenter.json": "continual.segmentation.saved:open_segmenter",
    # An encoder of `learn-representations` or `pretrain` is a classifier without classes.
    "classifier.json": "models.image_classifier:open_classifier",
    "config.json": "models.causal_lm:open_language_model",
    "denoiser.safetensors": "denoising.denoiser_file:open_denoiser",
}
"""By the file that a directory holds, in this order: module and function that open it."""


def load(path: str | Path) -> Any:
    """Open a trained model, whatever made it.

    Args:
        path: A run, or the ``model`` directory of one, or a file of ``denoise-train``.

    Returns:
        What answers in the habit of its field. Of ``learn-classes``, ``learn-segments`` and ``unlearn-classifier``:
        :class:`~myosotis.models.predictor.ImagePredictor` with ``predict(images)``, ``scores(images)``, ``classes``. Of
        ``learn-representations`` and ``pretrain``: :class:`~myosotis.models.predictor.ImageEncoder` with
        ``transform(images)``. Of ``denoise-train``: :class:`~myosotis.denoising.NeuralDenoiser` with
        ``denoise(noisy, channel)``. Of ``unlearn-language``: a ``transformers`` text-generation pipeline, called with a
        prompt. Of ``learn-language`` and ``unlearn-adapters``:
        :class:`~myosotis.forgetting_learner.adapters.learner.SubjectLearner` with ``answer(prompts)``.

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


def describe(path: str | Path) -> Any:
    """Return the report of a finished run, a :class:`~myosotis.report.notebook.Report`, which a notebook shows.

    Args:
        path: Run.

    Raises:
        InputError: There is no finished run, or this version knows no report of its kind.

    Example:
        >>> describe("runs/nothing")
        Traceback (most recent call last):
        myosotis.engine.errors.InputError: runs/nothing: no such run
    """
    from myosotis.engine.run import Run
    from myosotis.jobs import JOBS
    from myosotis.report.notebook import Report

    path = Path(path)
    if not path.is_dir():
        raise InputError(f"{path}: no such run")
    run = Run.read(path)
    kind = JOBS.get(str(run.result().get("kind")))
    if kind is None:
        raise InputError(f"{path}: unknown kind of report {run.result().get('kind')!r}")
    return Report(kind.report_module().describe(run))


def push_to_hub(path: str | Path, repository: str, *, private: bool = True, token: str | None = None) -> str:
    """Send the model of a finished run, with its model card, to a repository of the Hugging Face hub.

    Only the files of ``model/`` are sent: no configuration, no figures, no salt, nothing else of the run.

    Args:
        path: Run.
        repository: Name like ``me/my-model``; it is made if there is none.
        private: Whether a new repository is private.
        token: Token of the hub; the one that ``hf auth login`` stored unless given.

    Returns:
        The URL of the repository.

    Raises:
        InputError: The run has no complete model, or one that holds the list of its records.
    """
    from huggingface_hub import HfApi

    from myosotis.engine.checkpoint import MANIFEST, is_complete
    from myosotis.engine.files import read_json

    folder = Path(path) / "model"
    if not is_complete(folder):
        raise InputError(f"{path}: has no complete model/ to send; is the run finished?")
    if (folder / "exact.json").is_file() or (folder / "subjects.json").is_file():
        raise InputError(
            f"{path}: this learner holds the list of its records and their key, by which anybody could test who is "
            "among them, so it is not sent to a hub"
        )
    hub = HfApi(token=token)
    url = hub.create_repo(repository, private=private, exist_ok=True)
    # The card is written when the figures are there, after the model is sealed.
    names = [*read_json(folder / MANIFEST), MANIFEST, "README.md"]
    hub.upload_folder(
        repo_id=repository, folder_path=folder, allow_patterns=names, commit_message="Add a model of myosotis"
    )
    return str(url)


def _opener(name: str) -> Any:
    if name.startswith(("models.causal_lm:", "forgetting_learner.adapters")):
        require("language", "a language model")
    return resolve_name(f"myosotis.{name}")
