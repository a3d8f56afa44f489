"""The kinds of jobs: the one table that running, reporting, listing methods and recognising configurations read."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosotis.engine.config import Config


@dataclass(frozen=True)
class JobKind:
    """A kind of job; modules are imported when something of them is asked for.

    Attributes:
        command: The words of the command, e.g. ``"learn classes"``; with hyphens, the kind in a result.
        summary: What the command does, for its help.
        settings: The configuration, as ``module:name``.
        job: The job, as ``module:name``.
        report: The module with ``describe`` and ``compare``.
        methods: By what they are called beside the command, what it chooses from, as ``module:name``.
        extra: The extra whose packages its modules import; None if a plain install has them.
        plan: What plans its memory as lines of text, as ``module:name``; None where nothing does.
        method: Method in a configuration of the command ``typed`` that is carried out by this kind instead.
        model: Key of ``model`` in a configuration of the command ``typed`` that is carried out by this kind instead.
        typed: The words of the command that carries it out, where these are another kind's.
        keys: Keys of its configurations beside those of all jobs, so that a file can be told without an import.
    """

    command: str
    summary: str
    settings: str
    job: str
    report: str
    methods: Mapping[str, str] = field(default_factory=dict)
    extra: str | None = None
    plan: str | None = None
    method: str | None = None
    model: str | None = None
    typed: str | None = None
    keys: str = ""

    @property
    def kind(self) -> str:
        """The kind that its results have."""
        return self.command.replace(" ", "-")

    @property
    def words(self) -> str:
        """The words of the command that carries it out."""
        return self.typed or self.command

    @property
    def available(self) -> bool:
        """Whether what its modules import is installed."""
        from myosotis.engine.extras import missing_module

        return self.extra is None or missing_module(self.extra) is None

    def takes(self, content: Mapping[str, Any]) -> bool:
        """Return whether all keys at the top of a configuration are keys of this kind."""
        return set(content) <= {*self.keys.split(), *_OF_ALL}

    def schema(self) -> type[Config]:
        """Return the configuration."""
        schema: type[Config] = _resolved(self.settings)
        return schema

    def job_class(self) -> Any:
        """Return the job."""
        return _resolved(self.job)

    def report_module(self) -> Any:
        """Return the module that describes runs."""
        return _resolved(self.report)

    def planner(self) -> Any:
        """Return what plans the memory of a job."""
        return None if self.plan is None else _resolved(self.plan)

    def method_tables(self) -> dict[str, Any]:
        """Return what it chooses from, by the command and what they are called."""
        return {f"{self.words}{called}": _resolved(path) for called, path in self.methods.items()}


_OF_ALL = ("name", "seed", "operator", "trackers")
_HEAD = re.compile(r"# Job: (.+)")
_SSL = "continual.selfsupervised"
_CLASSIFIER_KEYS = (
    "model data train reference preset preset_changes goal new_labels method training stop requests replay compare "
    "audit request keep_original"
)
JOBS: Mapping[str, JobKind] = {
    job.command: job
    for job in (
        JobKind(
            "unlearn language",
            "Erase records from a causal language model, audit the result and write a report.",
            "unlearning.language.job.config:LanguageUnlearningConfig",
            "unlearning.language.job.job:LanguageUnlearningJob",
            "unlearning.language.job.report",
            {"": "unlearning.language.methods:METHODS"},
            extra="language",
            plan="unlearning.language.job.plan:plan_lines",
            keys=(
                "model data fine_tune reference method teacher lora training stop selection audit request "
                "checkpoint_every keep_fine_tuned"
            ),
        ),
        JobKind(
            "unlearn classifier",
            "Make an image classifier forget single instances, audit the result and write a report.",
            "unlearning.classifier.job.config:ClassifierUnlearningConfig",
            "unlearning.classifier.job.job:ClassifierUnlearningJob",
            "unlearning.classifier.job.report",
            {"": "unlearning.classifier.methods:METHODS"},
            keys=_CLASSIFIER_KEYS,
        ),
        JobKind(
            "unlearn exact",
            "Take images out of the sums that a head on a frozen body is made of, to the bit, and write a report.",
            "forgetting_learner.exact.config:ExactForgettingConfig",
            "forgetting_learner.exact.job:ExactForgettingJob",
            "forgetting_learner.exact.report",
            {", heads of sums": "forgetting_learner.exact.method:METHODS"},
            method="exact",
            typed="unlearn classifier",
            keys="model data method recompute audit request",
        ),
        JobKind(
            "unlearn learner",
            "Make a learner of a stream forget single instances, in its network and in what it stores, and report.",
            "forgetting_learner.by_gradient.config:LearnerForgettingConfig",
            "forgetting_learner.by_gradient.job:LearnerForgettingJob",
            "forgetting_learner.by_gradient.report",
            model="learner",
            typed="unlearn classifier",
            keys=f"{_CLASSIFIER_KEYS} refill",
        ),
        JobKind(
            "learn classes",
            "Learn classes task by task, measure after each, and write a report.",
            "continual.classification.config:ClassLearningConfig",
            "continual.classification.job:ClassLearningJob",
            "continual.classification.report",
            {"": "continual.classification.methods:METHODS"},
            keys=(
                "checkpoint_every keep_learners data scenario model method norm memory training confidence "
                "continue_from forgotten watch"
            ),
        ),
        JobKind(
            "learn segments",
            "Learn to segment classes task by task, measure after each, and write a report.",
            "continual.segmentation.config:SegmentLearningConfig",
            "continual.segmentation.job:SegmentLearningJob",
            "continual.segmentation.report",
            {"": "continual.segmentation.methods:METHODS"},
            keys="checkpoint_every keep_learners data scenario model method memory training panels",
        ),
        JobKind(
            "learn representations",
            "Learn representations from a stream without labels, measure after each task, and write a report.",
            f"{_SSL}.config:RepresentationConfig",
            f"{_SSL}.job:RepresentationJob",
            f"{_SSL}.report",
            {"": f"{_SSL}.methods:METHODS", ", base": f"{_SSL}.bases:BASES"},
            keys=(
                "checkpoint_every keep_learners data scenario model base method memory training probes shown confidence"
            ),
        ),
        JobKind(
            "pretrain",
            "Pre-train, measure before and after, export an encoder that timm loads, and write a report.",
            "pretraining.config:PretrainConfig",
            "pretraining.job:PretrainJob",
            "pretraining.report",
            {", objective": "pretraining.objectives:OBJECTIVES", ", masker": "pretraining.maskers:MASKERS"},
            keys=(
                "data model objective masker ratio ratio_end training probes finetune shown checkpoint_every confidence"
            ),
        ),
        JobKind(
            "pretrain sweep",
            "Pre-train at several masking ratios and seeds, and measure how much the ratio matters.",
            "pretraining.sweep.config:SweepConfig",
            "pretraining.sweep.job:SweepJob",
            "pretraining.sweep.report",
            keys=(
                "data model objective masker ratio ratio_end training probes finetune shown "
                "checkpoint_every confidence ratios seeds maskers executor"
            ),
        ),
        JobKind(
            "denoise train",
            "Train a denoiser with clean data of the same kind; makes a model file for --model.",
            "denoising.config:DenoiserTrainConfig",
            "denoising.job:DenoiserTrainJob",
            "denoising.report",
            {"": "denoising.methods:METHODS"},
            keys="data noise model training held_out",
        ),
        JobKind(
            "protocol",
            "Tune continual learners on one stream, freeze the best trial of each, evaluate it on another, and report.",
            "protocol.config:ProtocolConfig",
            "protocol.job:ProtocolJob",
            "protocol.report",
            keys=(
                "job tuning evaluation methods trials seeds evaluation_seeds prune metric conventional "
                "storage executor confidence"
            ),
        ),
    )
}
"""Every kind by its command."""


def job_named(name: str) -> JobKind:
    """Return a kind of job by its name with hyphens, or by its command.

    Raises:
        InputError: There is none; the nearest one is named.

    Example:
        >>> job_named("learn-classes").command
        'learn classes'
    """
    from myosotis.engine.errors import InputError

    kind = next((job for job in JOBS.values() if name in (job.kind, job.command)), None)
    if kind is None:
        raise InputError(f"unknown job '{name}'; {nearest(name, [job.kind for job in JOBS.values()])}")
    return kind


def routed(command: str, config: Path, overrides: Sequence[str] | None) -> str:
    """Return the kind of job that a configuration of a command is: the command, or one of its method or its model.

    Args:
        command: The words of the command that was typed.
        config: The file.
        overrides: Settings like ``method=exact``.

    Raises:
        InputError: The file is missing, or no YAML.
    """
    from myosotis.engine.yaml_text import read_yaml

    content = read_yaml(config)
    content = content if isinstance(content, dict) else {}
    method, model = content.get("method"), content.get("model")
    name = method.get("name") if isinstance(method, dict) else method
    of_model = set(model) if isinstance(model, dict) else set()
    for override in overrides or ():
        key, _, value = override.partition("=")
        if key.strip() in ("method", "method.name"):
            name = value.strip()
        if key.strip().startswith("model."):
            of_model.add(key.strip().removeprefix("model."))
    others = [job for job in JOBS.values() if job.typed == command]
    by_method = (job.command for job in others if job.method is not None and job.method == name)
    by_model = (job.command for job in others if job.model in of_model)
    return next(by_method, None) or next(by_model, command)


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the hint that ends an error about a name that is not known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def command_of(path: Path, own: JobKind) -> str | None:
    """Return the command that a file is a valid configuration of; None if it is one of ``own``, or of none.

    Without an unknown key, with faults below one known key alone, or with one key that is nearly a known one, it is a
    slip in a configuration of ``own``; the other kinds, which take seconds, are not imported for it.

    Args:
        path: The file.
        own: The kind that was given it.
    """
    from pydantic import ValidationError

    from myosotis.engine.yaml_text import read_yaml

    content = read_yaml(path)

    def faults(kind: JobKind) -> list[Any]:
        try:
            kind.schema().model_validate(content)
        except ValidationError as error:
            return list(error.errors())
        return []

    if not isinstance(content, dict):
        return None
    of_own = faults(own)
    named = _HEAD.match(path.read_text("utf-8"))
    if of_own and named is not None and named[1] in JOBS:
        # Examples, and what `myosotis init` writes, say it in their first line.
        return None if JOBS[named[1]] is own else named[1]
    keys = {(fault["loc"] or ("",))[0] for fault in of_own}
    if not any(fault["type"] == "extra_forbidden" for fault in of_own):
        return None
    fields = own.schema().model_fields
    unknown = [str(key) for key in content if key not in fields]
    if (len(keys) == 1 and not unknown) or (len(unknown) == 1 and difflib.get_close_matches(unknown[0], fields)):
        return None
    others = [kind for kind in JOBS.values() if kind is not own and kind.available and kind.takes(content)]
    # Language models last: their libraries take seconds.
    others.sort(key=lambda kind: kind.extra is not None)
    return next((kind.command for kind in others if not faults(kind)), None)


def _resolved(name: str) -> Any:
    return resolve_name(f"myosotis.{name}")
