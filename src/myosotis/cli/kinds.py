"""Which command a configuration is for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from myosotis.engine.config import Config

SCHEMAS = {
    "unlearn language": ("unlearning.language.config", "LanguageUnlearningConfig"),
    "unlearn classifier": ("unlearning.classifier.config", "ClassifierUnlearningConfig"),
    "learn classes": ("continual.classification.config", "ClassLearningConfig"),
    "learn segments": ("continual.segmentation.config", "SegmentLearningConfig"),
    "learn representations": ("continual.selfsupervised.config", "RepresentationConfig"),
    "pretrain": ("pretraining.config", "PretrainConfig"),
    "pretrain sweep": ("protocol.sweep", "SweepConfig"),
    "denoise train": ("denoising.config", "DenoiserTrainConfig"),
    "protocol": ("protocol.config", "ProtocolConfig"),
}
"""The configuration of each command, by module and name: they are imported only to say which one a file is for."""


def command_of(path: Path, schema: type[Config]) -> str | None:
    """Return the command that a file is a valid configuration of; None if it is that of ``schema``, or of none.

    Args:
        path: The file.
        schema: Of the command that was given it.
    """
    from myosotis.engine.config import load_config
    from myosotis.engine.errors import InputError

    def fits(other: Any) -> bool:
        try:
            load_config(path, other)
        except InputError:
            return False
        return True

    if fits(schema):
        return None
    known = {command: getattr(import_module(f"myosotis.{module}"), name) for command, (module, name) in SCHEMAS.items()}
    return next((command for command, other in known.items() if other is not schema and fits(other)), None)
