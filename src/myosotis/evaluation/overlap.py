"""How near samples to forget are to samples to retain: cosines of their features, with what is usual as a control."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.engine.errors import SettingsError


@dataclass(frozen=True)
class Overlap:
    """Cosines of features, in [-1, 1], from which the mean feature of all samples is subtracted first.

    Attributes:
        forget: Of each sample to forget, that with the nearest retained sample.
        nearest: Index of that retained sample; of equally near ones the first.
        retained: Of each retained sample, the mean of those with all samples to forget.
        control: Of each retained sample, that with the nearest retained sample of another group, as far as there is
            one: what is usual where nothing is to be forgotten.
    """

    forget: Float[Tensor, " n"]
    nearest: Int[Tensor, " n"]
    retained: Float[Tensor, " m"]
    control: Float[Tensor, " k"]

    @property
    def sentence(self) -> str:
        """The medians of both in words.

        Example:
            >>> near, usual = torch.tensor([0.9]), torch.tensor([0.5, 0.6, 0.7])
            >>> Overlap(near, torch.tensor([0]), usual, usual).sentence
            'cosine with the nearest to keep 0.90 (median), among those to keep 0.60: nearer than usual'
        """
        near = float(self.forget.quantile(0.5))
        line = f"cosine with the nearest to keep {near:.2f} (median)"
        if not len(self.control):
            return f"{line}; there is nothing to compare it with"
        low, usual, high = self.control.quantile(self.control.new_tensor([0.25, 0.5, 0.75])).tolist()
        how = "farther than" if near < low else "nearer than" if near > high else "as near as"
        return f"{line}, among those to keep {usual:.2f}: {how} usual"


def feature_overlap(
    forget: Float[Tensor, "n features"], retain: Float[Tensor, "m features"], groups: Sequence[Hashable] | None = None
) -> Overlap:
    """Return how near features of samples to forget are to those of samples to retain.

    Memory grows with the square of the number of retained samples.

    Args:
        forget: Features of the samples to forget, at least one.
        retain: Features of the samples to retain, at least one.
        groups: Group of each retained sample: those of one group are not compared with each other. By default each
            sample is a group.

    Raises:
        SettingsError: A side is empty, a feature is not finite, or there is not one group for each retained sample.

    Example:
        >>> axes = torch.eye(2)
        >>> feature_overlap(axes, axes.flip(0)).nearest
        tensor([1, 0])
    """
    groups = range(len(retain)) if groups is None else groups
    if not len(forget) or not len(retain):
        raise SettingsError(f"expected samples on both sides, got {len(forget)} to forget and {len(retain)} to retain")
    if len(groups) != len(retain):
        raise SettingsError(f"expected {len(retain)} groups, one for each retained sample, got {len(groups)}")
    both = torch.cat([forget, retain]).double()
    if not bool(both.isfinite().all()):
        raise SettingsError("a feature is not finite")
    left, right = functional.normalize(both - both.mean(dim=0), dim=1).split([len(forget), len(retain)])
    cosines = left @ right.T
    forgotten, nearest = cosines.max(dim=1)
    among = (right @ right.T).masked_fill(_same_group(groups).to(right.device), -torch.inf).amax(dim=1)
    control = among[among.isfinite()]
    return Overlap(forgotten.float(), nearest, cosines.mean(dim=0).float(), control.float())


def _same_group(groups: Sequence[Hashable]) -> Bool[Tensor, "m m"]:
    numbers: dict[Hashable, int] = {}
    group = torch.tensor([numbers.setdefault(name, len(numbers)) for name in groups])
    return group[:, None] == group[None, :]
