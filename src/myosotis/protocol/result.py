"""``result.json`` of ``myosotis protocol``."""

from typing import Any, Literal

from pydantic import Field

from myosotis.engine.result import LeftOut, Result, ResultPart


class Stream(ResultPart):
    """A stream of the protocol."""

    classes: list[str]
    """Its classes."""
    train: int
    """Training images."""
    test: int
    """Test images."""
    repeated: int
    """Test images that are training images too."""


class ProtocolResult(Result):
    """Result of ``protocol``."""

    kind: Literal["protocol"]
    metric: str
    """Figure that trials are chosen by."""
    trials: int
    """Trials of each method."""
    seeds: int
    """Seeds of each trial."""
    evaluation_seeds: int
    """Seeds of the evaluation."""
    pruned: bool
    """Whether hopeless trials were stopped."""
    streams: dict[Literal["tuning", "evaluation"], Stream]
    """The two streams."""
    methods: dict[str, dict[str, Any]]
    """By method: the chosen trial, its figures on both streams, the conventional choice, failures and cost."""
    not_run: dict[str, LeftOut] = Field(default_factory=dict)
    """Methods that are left out, since some of their runs did not fit the memory even alone."""
    ranks: dict[str, Any]
    """Rank of each method by phase."""
    agreement: dict[str, Any] | None
    """Rank correlation of the phases, with its interval."""
