"""One call a job, and one way to open whatever a run made: by the file that describes it."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import numpy as np

from myosotis.engine.checkpoint import MANIFEST, is_complete
from myosotis.engine.config import JobConfig, load_config
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.extras import require
from myosotis.engine.files import read_json, write_json
from myosotis.engine.processes import is_main_process
from myosotis.engine.progress import hidden_progress
from myosotis.engine.result import Result
from myosotis.engine.run import OnEvent, Run
from myosotis.evaluation.comparison import ANSWERS
from myosotis.init.drafts import draft_settings
from myosotis.init.in_memory import class_names, input_folder, stage_images, stage_model, stage_records
from myosotis.jobs import JOBS, JobKind, job_named, job_of
from myosotis.ledger.table import answers_of
from myosotis.report.card import write_card
from myosotis.report.notebook import Report
from myosotis.report.render import write_html

if TYPE_CHECKING:
    from myosotis.denoising import Channel, DenoiseResult, NeuralDenoiser

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

_IMAGE_ROLES = {"retain": "train", "unseen": "test"}
_ROLES: Mapping[str, Mapping[str, str]] = {
    "unlearn-language": {"retain": "retain", "unseen": "unseen", "general": "general"},
    "unlearn-adapters": {"retain": "remaining"},
    "unlearn-classifier": _IMAGE_ROLES,
    "unlearn-exact": _IMAGE_ROLES,
    "unlearn-learner": _IMAGE_ROLES,
}
"""By the job: its inputs next to what is to be forgotten, and the names of their roles in its draft."""

_LEARNING: Mapping[str, Sequence[str]] = {
    "learn-classes": ("test",),
    "learn-representations": ("test",),
    "learn-segments": ("masks",),
    "learn-language": ("model", "unseen", "general"),
    "pretrain": ("test",),
    "pretrain-sweep": ("test",),
    "protocol": ("test",),
}
"""Jobs that learn, and the inputs that each takes in addition to its data."""

_AUDITED = {"unlearn-language": "model", "unlearn-classifier": "shadow", "unlearn-learner": "shadow"}
"""Jobs whose runs can be measured again, and the choice that each leaves."""


class FinishedRun:
    """A finished run: it prints as its report in text, and a notebook shows the page.

    Attributes:
        path: The run directory, with ``result.json``, ``report.html`` and, of most jobs, ``model/``.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a finished run.

        Args:
            path: Run directory.

        Raises:
            InputError: There is no finished run, or this version knows no report of its kind.
        """
        self.path = Path(path)
        if not self.path.is_dir():
            raise InputError(f"{path}: no such run")
        self._run = Run.read(self.path)
        name = str(self._run.result().get("kind"))
        kind = JOBS.get(name)
        if kind is None:
            raise InputError(f"{path}: unknown kind of report {name!r}")
        self._kind = kind

    @cached_property
    def result(self) -> Result:
        """What ``result.json`` says, by attribute."""
        result: Result = self._run.result_as(self._kind.job_class().Result)
        return result

    @property
    def answers(self) -> dict[str, str]:
        """The answers of the verdict, ``yes``, ``no`` or ``undecided``, by the question; empty of a job without one."""
        return {name: ANSWERS[holds] for name, holds in answers_of(self._run.result().get("verdict"))}

    @cached_property
    def model(self) -> Any:
        """What :func:`load` makes of the run."""
        return load(self.path)

    def report(self) -> Report:
        """Return the report, whose main table is also a data frame: ``report().to_pandas()``."""
        return Report(self._kind.report_module().describe(self._run))

    def __repr__(self) -> str:
        return self.report().headline()

    def __str__(self) -> str:
        return str(self.report())

    def _repr_html_(self) -> str:
        return self.report()._repr_html_()


@dataclass(frozen=True, repr=False)
class AuditReport(Report):
    """What an audit of a finished run found.

    Attributes:
        found: What ``audit.json`` says.
    """

    found: Mapping[str, object]


def run(
    config: str | Path | Mapping[str, object],
    *,
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    resume: bool = False,
    overwrite: bool = False,
    show_samples: bool = False,
    progress: bool = True,
    on_event: OnEvent | None = None,
) -> FinishedRun:
    """Carry out a job, write its report and the card of its model, and return the finished run.

    Args:
        config: The configuration: a file, or its settings, whose relative paths start from the working directory.
        out: The run directory; ``runs/`` and the name in the configuration unless given.
        overrides: Settings like ``training.epochs=3``.
        resume: Continue an interrupted run.
        overwrite: Replace an existing run.
        show_samples: Put what is deleted, and the answers about it, into the run.
        progress: Whether to say on standard error what is going on.
        on_event: Called with every event of ``metrics.jsonl`` as it happens, e.g. losses of a step.

    Raises:
        InputError: An input or a setting is wrong; nothing has been written.
        DivergedError: Training diverged.

    Example:
        >>> run({"job": "learn-clases", "name": "x"})
        Traceback (most recent call last):
        myosotis.engine.errors.InputError: unknown job 'learn-clases'; did you mean 'learn-classes'?
    """
    options = {"resume": resume, "overwrite": overwrite, "show_samples": show_samples, "on_event": on_event}
    with nullcontext() if progress else hidden_progress():
        kind, _, job = prepared(config, out, overrides, **options)
        done = job.run()
        if is_main_process():
            document = kind.report_module().describe(done)
            write_html(document, done.path / "report.html")
            write_card(document, done)
    return FinishedRun(done.path)


def settings_of(config: str | Path | Mapping[str, object], overrides: Sequence[str] = ()) -> tuple[JobKind, Any]:
    """Return the kind of a job and its validated configuration.

    Args:
        config: A file, or settings.
        overrides: Settings like ``training.epochs=3``.

    Raises:
        InputError: It is faulty.
    """
    source = Path(config) if isinstance(config, str | Path) else config
    kind = job_of(source) if isinstance(source, Path) else job_named(str(source.get("job")))
    return kind, load_config(source, kind.schema(), overrides)


def prepared(
    config: str | Path | Mapping[str, object],
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    **options: object,
) -> tuple[JobKind, Any, Any]:
    """Read the configuration of a job and check everything that the user gave; nothing is written.

    Args:
        config: A file, or settings.
        out: The run directory, see :func:`run_directory`.
        overrides: Settings like ``training.epochs=3``.
        options: Further arguments of the job.

    Returns:
        The kind of the job, its configuration, and the job.

    Raises:
        InputError: Something is wrong with them.
    """
    kind, settings = settings_of(config, overrides)
    if options.get("show_samples") and not kind.deletes:
        raise InputError(f"--show-samples: '{kind.name}' deletes nothing")
    job = kind.job_class()(settings, run_directory(settings, out), **options)
    job.prepare()
    return kind, settings, job


def run_directory(settings: JobConfig, out: str | Path | None = None) -> Path:
    """Return where a job writes: what was given, else ``runs/`` and the name in its configuration."""
    return Path("runs") / settings.name if out is None else Path(out)


def unlearn(
    model: object,
    forget: object,
    *,
    retain: object = None,
    unseen: object = None,
    general: object = None,
    inputs: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    show_samples: bool = False,
    progress: bool = True,
    on_event: OnEvent | None = None,
    **settings: object,
) -> FinishedRun:
    """Make a model forget, by the settings that ``myosotis init`` would write, and return the finished run.

    Args:
        model: A model directory or run, a file of weights of a classifier, or the packaged name of a language model; or
            in memory a classifier whose architecture timm or torchvision has, or a model of transformers with its
            tokenizer as a pair. What the model is tells the job.
        forget: What is to be forgotten: a path, or what is in memory, see
            :func:`~myosotis.init.in_memory.stage_records` and :func:`~myosotis.init.in_memory.stage_images`.
        retain: What is to be kept, likewise: records, training images, or the remaining records of an adapter.
        unseen: Records, or test images, that the model never saw.
        general: General text, for a language model.
        inputs: New folder for inputs in memory, so that the run can be resumed and audited again; it stays, also after
            an error. Unless given, it is a private temporary one, of which nothing stays.
        out: The run directory; ``runs/`` and the setting ``name``, or the job, unless given.
        overwrite: Replace an existing run.
        show_samples: Put what is deleted, and the answers about it, into the run.
        progress: Whether to say on standard error what is going on.
        on_event: Called with every event of ``metrics.jsonl`` as it happens, e.g. losses of a step.
        settings: Settings of the job, e.g. ``preset="recommended"`` or ``training={"epochs": 3}``; they go into those
            of the draft key by key; a method, and an empty mapping, as a whole.

    Raises:
        InputError: An input or a setting is wrong; nothing but ``inputs`` has been written.
        DivergedError: Training diverged.
    """
    given = {"retain": retain, "unseen": unseen, "general": general}
    with input_folder(inputs) as folder:
        path, job, known = stage_model(model, folder)
        roles = _ROLES[job]
        extra = next((name for name, value in given.items() if value is not None and name not in roles), None)
        if extra is not None:
            raise InputError(f"{extra}: '{job}' takes {', '.join(['forget', *roles])}")
        classes = class_names(path) if roles is _IMAGE_ROLES else ()
        paths = [path]
        for name, value in {"forget": forget, **given}.items():
            if value is None:
                continue
            role = roles.get(name, name)
            if roles is _IMAGE_ROLES:
                paths.append(stage_images(value, folder, role, classes))
            else:
                paths.append(stage_records(value, folder, role))
        content = draft_settings(job, paths, folder, known, settings)
        return run(
            content, out=out, overwrite=overwrite, show_samples=show_samples, progress=progress, on_event=on_event
        )


def learn(
    data: object,
    *,
    job: str | None = None,
    model: object = None,
    test: object = None,
    masks: str | Path | None = None,
    unseen: object = None,
    general: object = None,
    inputs: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    on_event: OnEvent | None = None,
    **settings: object,
) -> FinishedRun:
    """Learn from data, by the settings that ``myosotis init`` would write, and return the finished run.

    Args:
        data: Images with classes, or records about subjects: a path, or what is in memory, as for :func:`unlearn`.
        job: Kind of the job: ``learn-classes`` for images, ``learn-segments`` with masks and ``learn-language`` with a
            model, unless given.
        model: The language model that learns subjects in adapters, as for :func:`unlearn`.
        test: Test images; a fifth of each class is held out unless given.
        masks: Folder of masks with the names of the images, a folder too.
        unseen: Records about subjects that are never learned.
        general: General text.
        inputs: New folder for inputs in memory, as for :func:`unlearn`.
        out: The run directory; ``runs/`` and the setting ``name``, or the job, unless given.
        overwrite: Replace an existing run.
        progress: Whether to say on standard error what is going on.
        on_event: Called with every event of ``metrics.jsonl`` as it happens, e.g. losses of a step.
        settings: Settings of the job, as for :func:`unlearn`.

    Raises:
        InputError: An input or a setting is wrong; nothing but ``inputs`` has been written.
        DivergedError: Training diverged.
    """
    kind = job or ("learn-language" if model is not None else "learn-classes" if masks is None else "learn-segments")
    taken = _LEARNING.get(kind)
    if taken is None:
        raise InputError(f"job: '{kind}' is none of {', '.join(_LEARNING)}")
    given = {"model": model, "test": test, "masks": masks, "unseen": unseen, "general": general}
    extra = next((name for name, value in given.items() if value is not None and name not in taken), None)
    if extra is not None:
        raise InputError(f"{extra}: '{kind}' takes data, {', '.join(taken)}")
    with input_folder(inputs) as folder:
        if kind == "learn-language":
            if model is None:
                raise InputError("model: 'learn-language' teaches a language model, which is missing")
            path, _, _ = stage_model(model, folder)
            roles = {"learn": data, "unseen": unseen, "general": general}
            files = (stage_records(rows, folder, role) for role, rows in roles.items() if rows is not None)
            paths = [path, *files]
        elif kind == "learn-segments":
            if not isinstance(data, str | Path) or masks is None:
                raise InputError("'learn-segments' takes two folders: data, the images, and masks of the same names")
            paths = [Path(data), Path(masks)]
        elif test is None:
            paths = [stage_images(data, folder, "images")]
        else:
            (folder / "images").mkdir()
            stage_images(data, folder / "images", "train")
            stage_images(test, folder / "images", "test")
            paths = [folder / "images"]
        content = draft_settings(kind, paths, folder, settings)
        return run(content, out=out, overwrite=overwrite, progress=progress, on_event=on_event)


def audit(
    path: str | Path, *, model: str | None = None, shadow: int | None = None, progress: bool = True
) -> AuditReport:
    """Measure a finished run again from its model, or another model on the same records; writes ``audit.json`` into it.

    Args:
        path: A finished run of a job that unlearns by gradient.
        model: For a language model: another one to measure, a directory or name.
        shadow: For a classifier: pairs of shadow models to train for an attack.
        progress: Whether to say on standard error what is going on.

    Returns:
        What was found; ``found["reproduced"]`` says whether the figures are those of the run.

    Raises:
        InputError: There is no such run, or a choice is not one of its job.
    """
    opened = Run.read(Path(path))
    kind = JOBS.get(str(opened.result().get("kind")))
    if kind is None or kind.name not in _AUDITED:
        raise InputError(f"{path}: is not a run of {' or '.join(repr(name) for name in _AUDITED)}")
    choices = {"model": model, "shadow": shadow}
    own = _AUDITED[kind.name]
    extra = next((name for name, value in choices.items() if value is not None and name != own), None)
    if extra is not None:
        raise InputError(f"{extra}: a run of '{kind.name}' is not audited by it, but by {own}")
    config = load_config(opened.path / "config.yaml", kind.schema())
    with opened.locked(), nullcontext() if progress else hidden_progress():
        found = kind.job_class()(config, opened.path).audit_again(choices[own])
        write_json(opened.path / "audit.json", found)
    return AuditReport(kind.report_module().describe_audit(opened, found), found)


def denoise(
    noisy: object,
    channel: "Channel | float",
    *,
    letters: int | None = None,
    method: str | None = None,
    model: "NeuralDenoiser | str | Path | None" = None,
    unknown: bool = False,
    seed: int = 0,
) -> "DenoiseResult":
    """Repair symbols that went through a noisy channel; files are for ``myosotis denoise``.

    Args:
        noisy: Symbols from 0 on: an array, a tensor or a list, along a line or on a plane; or a bilevel picture of
            Pillow, whose black is 0 and white 1.
        channel: The channel, or the probability that a symbol became one of the others.
        letters: Size of the alphabet; that of the channel, or that of the symbols, at least 2, unless given.
        method: A method of :data:`~myosotis.denoising.METHODS`; ``dude``, or ``adaptive`` with a model, unless given.
        model: A denoiser of ``denoise-train``, or its file or run.
        unknown: Whether to estimate the channel, of which the given one is then the first guess.
        seed: Seed of networks.

    Returns:
        The result: ``symbols`` in the shape of ``noisy``, and the estimated share of wrong ones before and after.

    Raises:
        InputError: A file or a setting is wrong.

    Example:
        >>> import numpy as np
        >>> result = denoise(np.eye(64, dtype=np.uint8), 0.05)
        >>> result.symbols.shape, result.method
        ((64, 64), 'dude')
    """
    from myosotis.denoising import Channel, NeuralDenoiser, denoise as denoise_symbols

    symbols = np.asarray(noisy.detach().cpu() if hasattr(noisy, "detach") else noisy)
    if symbols.dtype == bool:
        symbols = symbols.astype(np.uint8)
    denoiser = load(model) if isinstance(model, str | Path) else model
    if denoiser is not None and not isinstance(denoiser, NeuralDenoiser):
        raise InputError(f"{model}: is not a model of 'denoise-train'")
    with settings_as_input():
        if not isinstance(channel, Channel):
            size = letters or max(2, int(symbols.max(initial=0)) + 1)
            channel = Channel.symmetric(size, channel)
        chosen = method or ("dude" if denoiser is None else "adaptive")
        return denoise_symbols(symbols, channel, chosen, model=denoiser, unknown=unknown, seed=seed)


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
        prompt, which goes into the template of the run; of the model directory alone as it is. Of ``learn-language``
        and ``unlearn-adapters``: :class:`~myosotis.forgetting_learner.adapters.learner.SubjectLearner` with
        ``answer(prompts)``.

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
            if name == "config.json" and folder != path:
                return _opener("unlearning.language.job.answering:open_answering")(path)
            return _opener(opener)(folder / name if name.endswith(".safetensors") else folder)
    unfinished = folder != path and not (path / "result.json").is_file()
    hint = "this run is not finished" if unfinished else f"holds none of {', '.join(_OPENERS)}"
    raise InputError(f"{path}: no model to load: {hint}")


def describe(path: str | Path) -> Report:
    """Return the report of a finished run, which a notebook shows.

    Args:
        path: Run.

    Raises:
        InputError: There is no finished run, or this version knows no report of its kind.

    Example:
        >>> describe("runs/nothing")
        Traceback (most recent call last):
        myosotis.engine.errors.InputError: runs/nothing: no such run
    """
    return FinishedRun(path).report()


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
    if name.startswith(("models.causal_lm:", "unlearning.language", "forgetting_learner.adapters")):
        require("language", "a language model")
    return resolve_name(f"myosotis.{name}")
