"""SimpleCIL: the class whose mean feature is nearest by angle."""

from collections.abc import Mapping, Sequence

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.exact.head import HeadSettings, SumsHead, numbered, summed
from myosotis.exact.sums import Sums


class SimpleCIL(SumsHead[HeadSettings]):
    """Cosine of a feature and the mean feature of each class (Zhou et al., IJCV 2024)."""

    card = MethodCard(
        "simplecil",
        "SimpleCIL",
        "Zhou, Cai, Ye, Zhan, Liu, IJCV 2024",
        "current task",
        "a sum of features for each class",
        "The baseline of every pre-trained body: nothing is trained. Forgets exactly.",
    )
    Settings = HeadSettings

    def sums(self, rows: Int[Tensor, "n d"], classes: Sequence[str]) -> Sums:
        """Return the sum of the features of each class."""
        names, labels = numbered(classes)
        return Sums(names, labels.bincount(minlength=len(names)), {"features": summed(rows, labels, len(names))})

    def solve(self, sums: Sums) -> dict[str, Tensor]:
        # The length of a sum is no matter, so that its mean need not be taken.
        """Return the mean features, of length 1."""
        return {"prototypes": functional.normalize(sums.by_class["features"].double(), dim=1)}

    def scores(self, head: Mapping[str, Tensor], features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return the cosines."""
        return functional.normalize(features, dim=1) @ head["prototypes"].T
