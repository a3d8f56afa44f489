"""The kinds of jobs: the one table that running, reporting and listing methods read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosotis.engine.config import JobConfig


@dataclass(frozen=True)
class JobKind:
    """A kind of job; modules are imported when something of them is asked for.

    Attributes:
        name: Its name: the key ``job`` of its configurations, and ``kind`` of its results.
        summary: What it does, for the help.
        settings: The configuration, as ``module:name``.
        job: The job, as ``module:name``.
        report: The module with ``describe`` and ``compare``.
        methods: By what they are called beside the name, what it chooses from, as ``module:name``.
        extra: The extra whose packages its modules import; None if a plain install has them.
        plan: What plans its memory as lines of text, as ``module:name``; None where nothing does.
    """

    name: str
    summary: str
    settings: str
    job: str
    report: str
    methods: Mapping[str, str] = field(default_factory=dict)
    extra: str | None = None
    plan: str | None = None

    @property
    def deletes(self) -> bool:
        """Whether it deletes data, which a run can be told to show."""
        return self.name.startswith("unlearn-")

    @property
    def available(self) -> bool:
        """Whether what its modules import is installed."""
        from myosotis.engine.extras import missing_module

        return self.extra is None or missing_module(self.extra) is None

    def schema(self) -> type[JobConfig]:
        """Return the configuration."""
        schema: type[JobConfig] = _resolved(self.settings)
        return schema

    def job_class(self) -> Any:
        """Return the job."""
        return _resolved(self.job)

    def report_module(self) -> Any:
        """Return the module that describes runs."""
        return _resolved(self.report)

    def planner(self) -> Any:
        """Return what plans the memory of a job.

        Raises:
            InputError: Nothing does.
        """
        from myosotis.engine.errors import InputError

        if self.plan is None:
            raise InputError(f"nothing plans the memory of '{self.name}'")
        return _resolved(self.plan)

    def method_tables(self) -> dict[str, Any]:
        """Return what it chooses from, by its name and what they are called."""
        return {f"{self.name}{called}": _resolved(path) for called, path in self.methods.items()}


_SSL = "continual.selfsupervised"
JOBS: Mapping[str, JobKind] = {
    job.name: job
    for job in (
        JobKind(
            "unlearn-language",
            "Erase records from a causal language model, audit the result and write a report.",
            "unlearning.language.job.config:LanguageUnlearningConfig",
            "unlearning.language.job.job:LanguageUnlearningJob",
            "unlearning.language.job.report",
            {"": "unlearning.language.methods:METHODS"},
            extra="language",
            plan="unlearning.language.job.plan:plan_lines",
        ),
        JobKind(
            "unlearn-classifier",
            "Make an image classifier forget single instances, audit the result and write a report.",
            "unlearning.classifier.job.config:ClassifierUnlearningConfig",
            "unlearning.classifier.job.job:ClassifierUnlearningJob",
            "unlearning.classifier.job.report",
            {"": "unlearning.classifier.methods:METHODS"},
        ),
        JobKind(
            "unlearn-exact",
            "Take images out of the sums that a head on a frozen body is made of, to the bit, and write a report.",
            "forgetting_learner.exact.config:ExactForgettingConfig",
            "forgetting_learner.exact.job:ExactForgettingJob",
            "forgetting_learner.exact.report",
            {", heads of sums": "forgetting_learner.exact.method:METHODS"},
        ),
        JobKind(
            "unlearn-learner",
            "Make a learner of a stream forget single instances, in its network and in what it stores, and report.",
            "forgetting_learner.by_gradient.config:LearnerForgettingConfig",
            "forgetting_learner.by_gradient.job:LearnerForgettingJob",
            "forgetting_learner.by_gradient.report",
        ),
        JobKind(
            "unlearn-adapters",
            "Take subjects out of a language model that learned each in an adapter of its own, to the bit, and report.",
            "forgetting_learner.adapters.config:AdapterForgettingConfig",
            "forgetting_learner.adapters.forgetting:AdapterForgettingJob",
            "forgetting_learner.adapters.forgetting_report",
            extra="language",
        ),
        JobKind(
            "learn-language",
            "Teach a frozen language model subjects that can be taken out again exactly, and write a report.",
            "forgetting_learner.adapters.config:LanguageLearningConfig",
            "forgetting_learner.adapters.learning:LanguageLearningJob",
            "forgetting_learner.adapters.learning_report",
            {"": "forgetting_learner.adapters.method:METHODS"},
            extra="language",
        ),
        JobKind(
            "meter",
            "Measure which figures of an audit tell whom a language model was taught, and write a report.",
            "unlearning.language.meter.config:MeterConfig",
            "unlearning.language.meter.job:MeterJob",
            "unlearning.language.meter.report",
            extra="language",
        ),
        JobKind(
            "learn-classes",
            "Learn classes task by task, measure after each, and write a report.",
            "continual.classification.config:ClassLearningConfig",
            "continual.classification.job:ClassLearningJob",
            "continual.classification.report",
            {"": "continual.classification.methods:METHODS"},
        ),
        JobKind(
            "learn-segments",
            "Learn to segment classes task by task, measure after each, and write a report.",
            "continual.segmentation.config:SegmentLearningConfig",
            "continual.segmentation.job:SegmentLearningJob",
            "continual.segmentation.report",
            {"": "continual.segmentation.methods:METHODS"},
        ),
        JobKind(
            "learn-representations",
            "Learn representations from a stream without labels, measure after each task, and write a report.",
            f"{_SSL}.config:RepresentationConfig",
            f"{_SSL}.job:RepresentationJob",
            f"{_SSL}.report",
            {"": f"{_SSL}.methods:METHODS", ", base": f"{_SSL}.bases:BASES"},
        ),
        JobKind(
            "pretrain",
            "Pre-train, measure before and after, export an encoder that timm loads, and write a report.",
            "pretraining.config:PretrainConfig",
            "pretraining.job:PretrainJob",
            "pretraining.report",
            {", objective": "pretraining.objectives:OBJECTIVES", ", masker": "pretraining.maskers:MASKERS"},
        ),
        JobKind(
            "pretrain-sweep",
            "Pre-train at several masking ratios and seeds, and measure how much the ratio matters.",
            "pretraining.sweep.config:SweepConfig",
            "pretraining.sweep.job:SweepJob",
            "pretraining.sweep.report",
        ),
        JobKind(
            "denoise-train",
            "Train a denoiser with clean data of the same kind; makes a model file for --model.",
            "denoising.config:DenoiserTrainConfig",
            "denoising.job:DenoiserTrainJob",
            "denoising.report",
            {"": "denoising.methods:METHODS"},
        ),
        JobKind(
            "protocol",
            "Tune continual learners on one stream, freeze the best trial of each, evaluate it on another, and report.",
            "protocol.config:ProtocolConfig",
            "protocol.job:ProtocolJob",
            "protocol.report",
        ),
    )
}
"""Every kind by its name."""


def job_named(name: str) -> JobKind:
    """Return a kind of job by its name.

    Raises:
        InputError: There is none; the nearest one is named.

    Example:
        >>> job_named("learn-classes").summary
        'Learn classes task by task, measure after each, and write a report.'
    """
    from myosotis.engine.errors import InputError

    if name not in JOBS:
        raise InputError(f"unknown job '{name}'; {nearest(name, list(JOBS))}")
    return JOBS[name]


def job_of(path: Path) -> JobKind:
    """Return the kind of job that a configuration says it is, by its key ``job``.

    Args:
        path: The file.

    Raises:
        InputError: The file is missing or no YAML, or does not say a kind that there is.
    """
    from myosotis.engine.config import read_settings
    from myosotis.engine.errors import InputError

    name = read_settings(path).get("job")
    if not isinstance(name, str):
        raise InputError(f"{path}: add the line 'job: KIND', which says what kind of job it is: {', '.join(JOBS)}")
    try:
        return job_named(name)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the hint that ends an error about a name that is not known."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(known)}"


def _resolved(name: str) -> Any:
    return resolve_name(f"myosotis.{name}")
