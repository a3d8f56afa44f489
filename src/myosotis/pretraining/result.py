"""``result.json`` of ``pretrain``."""

from typing import Any, Literal

from myosotis.engine.result import Cost, Result, ResultPart
from myosotis.evaluation.learning import LearningVerdict


class Accuracies(ResultPart):
    """Accuracies of probes on the test set."""

    linear: float
    """Linear probe."""
    knn: float
    """Nearest neighbours."""
    penalty: float
    """Penalty of the linear probe."""


class ProbesPart(ResultPart):
    """Probes before and after."""

    pixels: Accuracies
    """On raw pixels."""
    untrained: Accuracies
    """On features of the encoder before pre-training."""
    pretrained: Accuracies
    """On features of the encoder after it."""
    intervals: dict[str, dict[str, float]]
    """Exact intervals of the accuracies after, by kind of probe."""
    count: int
    """Test images."""


class PretrainCost(Cost):
    """What pre-training cost."""

    steps: int
    """Optimisation steps."""
    processes: int
    """Processes that shared the work."""
    parameters_encoder: int
    """Parameters of the encoder."""
    parameters_training: int
    """Parameters of the network in training."""


class PretrainResult(Result):
    """Result of ``pretrain``."""

    kind: Literal["pretrain"]
    objective: str
    """Name of the objective."""
    masker: str
    """Name of the masker."""
    ratio: float
    """Share of hidden tokens, at the start."""
    images: int
    """Training images."""
    test_images: int = 0
    """Test images."""
    repeated: int = 0
    """Test images that are training images too."""
    tokens: int
    """Tokens of an image."""
    probes: ProbesPart | None
    """Probes before and after; null without labelled images."""
    verdict: LearningVerdict | None = None
    """Whether the linear probe is better than on the encoder before and than on raw pixels; null without probes."""
    finetuned: float | None
    """Accuracy after fine-tuning; null where it was not asked for."""
    masks: dict[str, Any]
    """Statistics of the masks of the last epoch, and its mean loss terms."""
    cost: PretrainCost
    """What it cost."""
