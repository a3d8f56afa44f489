"""``result.json`` of ``myosotis unlearn classifier``."""

from typing import Any, Literal

from myosotis.engine.result import Cost, OpenPart, Result, ResultPart


class ImageCounts(ResultPart):
    """Numbers of images."""

    forget: int
    """Instances to forget."""
    remaining: int
    """Other training images."""
    test: int
    """Test images."""
    audited: dict[str, int]
    """Images that the audit looks at, by set."""
    by_class: dict[str, int]
    """Instances to forget by class."""
    duplicates: dict[str, int]
    """Remaining images that are the same as an instance to forget, or nearly the same."""


class ClassifierVerdict(OpenPart):
    """Four questions; null where an answer cannot be given."""

    known: bool | None
    """Whether the model knew the instances."""
    forgotten: bool | None
    """Whether they are forgotten."""
    kept: bool | None
    """Whether the rest is kept."""
    sure: bool | None
    """Whether no interval crosses its threshold."""


class Unlearning(OpenPart):
    """What became of the model and of the instances."""

    converged: bool
    """Whether the goal, or the level of the reference, was reached."""
    stop_reason: str
    """``goal``, ``reference``, ``already``, ``epochs``, ``steps``, ``edited`` or ``diverged``."""
    steps: int
    """Optimisation steps."""
    seconds: float
    """Wall time, preparation included."""
    instances: list[dict[str, Any]]
    """For each instance its fingerprint, predictions, probabilities and margin."""


class ClassifierCost(Cost):
    """What the job cost."""

    share_of_retraining: float | None
    """Time of unlearning divided by that of training without the instances; null where the latter is not known."""
    parameters: int
    """Parameters of the model."""


class ClassifierResult(Result):
    """Result of ``unlearn classifier``."""

    kind: Literal["unlearn-classifier"]
    goal: str
    """Goal of the unlearning."""
    classes: list[str]
    """Names of the classes in the order of the logits."""
    images: ImageCounts
    """Numbers of images."""
    metrics: dict[str, dict[str, Any]]
    """By model (``before``, ``after``, ``reference``) and set: accuracy with interval, loss, calibration error, figures
    by class, and under ``membership`` the attacks."""
    unlearning: Unlearning
    """What became of the model and of the instances."""
    variants: list[dict[str, Any]]
    """Other methods on the same request."""
    reads_retain: bool
    """Whether the method read retained samples."""
    distances: dict[str, dict[str, Any]]
    """Distances of the outputs from the model before and from the reference, by set."""
    stress: dict[str, Any]
    """Relearning curves, and accuracy on altered copies."""
    cka: dict[str, Any] | None = None
    """Similarity of the layers to those of the model before."""
    shadow: dict[str, Any] | None = None
    """Membership inference by shadow models."""
    verdict: ClassifierVerdict
    """The answers to the four questions."""
    cost: ClassifierCost
    """What the job cost."""
