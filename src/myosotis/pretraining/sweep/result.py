"""``result.json`` of ``myosotis pretrain sweep``."""

from typing import Any, Literal

from pydantic import Field

from myosotis.engine.result import LeftOut, Result


class SweepResult(Result):
    """Result of ``pretrain sweep``."""

    kind: Literal["pretrain-sweep"]
    seeds: int
    """Seeds of each masker and ratio."""
    ratios: list[float]
    """Shares of hidden tokens."""
    objective: str
    """Name of the objective."""
    test_images: int
    """Test images."""
    repeated: int
    """Test images that are training images too."""
    measures: list[str]
    """Measures of the encoders: ``linear``, ``knn``, ``finetuned``."""
    maskers: dict[str, dict[str, Any]]
    """By masker: figures at each ratio, their mean and range over ratios, seconds, failures, masks."""
    not_run: dict[str, LeftOut] = Field(default_factory=dict)
    """Maskers that are left out, since some of their runs did not fit the memory even alone."""
    differences: dict[str, dict[str, Any]]
    """Differences of each masker to the first one on the same seeds; none where that is left out."""
    untrained: dict[str, Any]
    """Figures of untrained encoders."""
    untrained_failures: list[dict[str, Any]]
    """Failures among these."""
    pixels: dict[str, Any] | None
    """Probes on raw pixels."""
