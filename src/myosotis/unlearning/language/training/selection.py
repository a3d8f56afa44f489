"""Selection of the best epoch's weights, by a declared criterion on declared records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from myosotis.data.encoding import Example
from myosotis.engine.errors import SettingsError
from myosotis.engine.files import write_tensors
from myosotis.evaluation.comparison import TOLERANCE
from myosotis.unlearning.language.audit.answers import mean_accuracy
from myosotis.unlearning.language.audit.settings import Criterion

_SELECTED = "selected.safetensors"


@dataclass(frozen=True)
class Selection:
    r"""Keep the weights of the epoch with the best score.

    With f the accuracy on the forget records, u that on unseen records before unlearning and r that on the retain
    records held for selection, the score is

    - ``harmonic``: the harmonic mean of \(1 - |f - u|\) and r: known as unseen text is, and retained;
    - ``forgotten_first``: \(1 + r\) where \(f \le u + m\), else \(1 - f\): first forgotten, then retained. m is what
      the verdict lets be left.

    Accuracy is that on fact tokens where records have facts, else on all labelled tokens. The retain records must be
    neither trained on, as r would then measure the training set, nor those of the final audit.

    Attributes:
        forget: The records to be forgotten.
        retain: Records to retain, held out for selection.
        unseen_level: u.
        margin: m.
        criterion: See above.
        every: Epochs between measurements.

    Raises:
        ValueError: A set is empty, or ``unseen_level`` is not in [0, 1].
    """

    forget: Sequence[Example]
    retain: Sequence[Example]
    unseen_level: float
    criterion: Criterion = "harmonic"
    every: int = 1
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.forget or not self.retain:
            raise SettingsError("selection needs forget records and retain records of its own")
        if not 0 <= self.unseen_level <= 1:
            raise SettingsError(f"unseen_level must be in [0, 1], got {self.unseen_level}")
        if self.every < 1:
            raise SettingsError(f"every must be at least 1, got {self.every}")

    def score(self, forget: float, retain: float) -> float:
        """Return the score of two accuracies.

        Example:
            >>> example = Example((1, 2), (1, 2), (False, True))
            >>> round(Selection([example], [example], 0.2).score(forget=0.3, retain=0.9), 3)
            0.9
        """
        if self.criterion == "forgotten_first":
            return 1 + retain if forget <= self.unseen_level + self.margin + TOLERANCE else 1 - forget
        closeness = 1 - abs(forget - self.unseen_level)
        return 2 * closeness * retain / max(closeness + retain, 1e-12)

    def measure(self, model: Any) -> dict[str, float]:
        """Return both accuracies and the score."""
        forget, retain = mean_accuracy(model, self.forget), mean_accuracy(model, self.retain)
        return {
            "selection_forget_accuracy": forget,
            "selection_retain_accuracy": retain,
            "selection_score": self.score(forget, retain),
        }


@dataclass(frozen=True)
class Selected:
    """The best weights so far.

    Attributes:
        score: Score of the selection.
        epoch: Epoch after which it was measured.
        weights: Trained weights by name, on the CPU; under FSDP this process's shards.
    """

    score: float
    epoch: int
    weights: Mapping[str, Tensor]

    def write(self, directory: Path) -> None:
        """Write them into a checkpoint."""
        marks = {"score": repr(self.score), "epoch": str(self.epoch)}
        write_tensors(directory / _SELECTED, dict(self.weights), marks)

    @classmethod
    def read(cls, directory: Path) -> "Selected | None":
        """Return the selected weights of a checkpoint; None where nothing was selected yet."""
        path = directory / _SELECTED
        if not path.is_file():
            return None
        with safe_open(path, "pt") as file:
            marks = file.metadata()
        return cls(float(marks["score"]), int(marks["epoch"]), load_file(path))
