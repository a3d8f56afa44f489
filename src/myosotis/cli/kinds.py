"""Which command a configuration is for."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

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
    from pydantic import ValidationError

    from myosotis.engine.yaml_text import read_yaml

    content = read_yaml(path)

    def fits(other: type[Config]) -> bool:
        try:
            other.model_validate(content)
        except ValidationError:
            return False
        return True

    if not isinstance(content, dict) or fits(schema):
        return None
    known = {command: getattr(import_module(f"myosotis.{module}"), name) for command, (module, name) in SCHEMAS.items()}
    return next((command for command, other in known.items() if other is not schema and fits(other)), None)
