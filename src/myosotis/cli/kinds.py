"""The kinds of jobs: the one table that running, reporting, listing methods and recognising configurations read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosotis.engine.config import Config


@dataclass(frozen=True)
class JobKind:
    """A kind of job; modules are imported when something of them is asked for.

    Attributes:
        command: The words of the command, e.g. ``"learn classes"``; with hyphens, the kind in a result.
        settings: Module and name of the configuration; the module has ``resolve_paths`` too.
        job: Module and name of the job.
        report: The module with ``describe`` and ``compare``.
        methods: By what they are called beside the command, module and name of what it chooses from.
    """

    command: str
    settings: tuple[str, str]
    job: tuple[str, str]
    report: str
    methods: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """The kind that its results have."""
        return self.command.replace(" ", "-")

    def schema(self) -> type[Config]:
        """Return the configuration."""
        schema: type[Config] = _attribute(self.settings)
        return schema

    def settings_module(self) -> Any:
        """Return the module of the configuration."""
        return _module(self.settings[0])

    def job_class(self) -> Any:
        """Return the job."""
        return _attribute(self.job)

    def report_module(self) -> Any:
        """Return the module that describes runs."""
        return _module(self.report)

    def method_tables(self) -> dict[str, Any]:
        """Return what it chooses from, by the command and what they are called."""
        return {f"{self.command}{called}": _attribute(path) for called, path in self.methods.items()}


_SSL = "continual.selfsupervised"
JOBS: Mapping[str, JobKind] = {
    job.command: job
    for job in (
        JobKind(
            "unlearn language",
            ("unlearning.language.job.config", "LanguageUnlearningConfig"),
            ("unlearning.language.job.job", "LanguageUnlearningJob"),
            "unlearning.language.job.report",
            {"": ("unlearning.language.methods", "METHODS")},
        ),
        JobKind(
            "unlearn classifier",
            ("unlearning.classifier.job.config", "ClassifierUnlearningConfig"),
            ("unlearning.classifier.job.job", "ClassifierUnlearningJob"),
            "unlearning.classifier.job.report",
            {"": ("unlearning.classifier.methods", "METHODS")},
        ),
        JobKind(
            "learn classes",
            ("continual.classification.config", "ClassLearningConfig"),
            ("continual.classification.job", "ClassLearningJob"),
            "continual.classification.report",
            {"": ("continual.classification.methods", "METHODS")},
        ),
        JobKind(
            "learn segments",
            ("continual.segmentation.config", "SegmentLearningConfig"),
            ("continual.segmentation.job", "SegmentLearningJob"),
            "continual.segmentation.report",
            {"": ("continual.segmentation.methods", "METHODS")},
        ),
        JobKind(
            "learn representations",
            (f"{_SSL}.config", "RepresentationConfig"),
            (f"{_SSL}.job", "RepresentationJob"),
            f"{_SSL}.report",
            {"": (f"{_SSL}.methods", "METHODS"), ", base": (f"{_SSL}.bases", "BASES")},
        ),
        JobKind(
            "pretrain",
            ("pretraining.config", "PretrainConfig"),
            ("pretraining.job", "PretrainJob"),
            "pretraining.report",
            {", objective": ("pretraining.objectives", "OBJECTIVES"), ", masker": ("pretraining.maskers", "MASKERS")},
        ),
        JobKind(
            "pretrain sweep",
            ("protocol.sweep.config", "SweepConfig"),
            ("protocol.sweep.job", "SweepJob"),
            "protocol.sweep.report",
        ),
        JobKind(
            "denoise train",
            ("denoising.config", "DenoiserTrainConfig"),
            ("denoising.job", "DenoiserTrainJob"),
            "denoising.report",
            {"": ("denoising.methods", "METHODS")},
        ),
        JobKind(
            "protocol",
            ("protocol.config", "ProtocolConfig"),
            ("protocol.job", "ProtocolJob"),
            "protocol.report",
        ),
    )
}
"""Every kind by its command."""


def command_of(path: Path, own: JobKind) -> str | None:
    """Return the command that a file is a valid configuration of; None if it is one of ``own``, or of none.

    Args:
        path: The file.
        own: The kind that was given it.
    """
    from pydantic import ValidationError

    from myosotis.engine.yaml_text import read_yaml

    content = read_yaml(path)

    def fits(kind: JobKind) -> bool:
        try:
            kind.schema().model_validate(content)
        except ValidationError:
            return False
        return True

    if not isinstance(content, dict) or fits(own):
        return None
    return next((command for command, kind in JOBS.items() if kind is not own and fits(kind)), None)


def _module(name: str) -> Any:
    return import_module(f"myosotis.{name}")


def _attribute(path: tuple[str, str]) -> Any:
    module, name = path
    return getattr(_module(module), name)
