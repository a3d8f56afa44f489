"""Salience-based adaptive masking (SBAM), with an adaptive ratio for every image (AMR)."""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Float
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.pretraining.maskers.masker import Masker, Part, Pool, uniform
from myosotis.pretraining.salience import (
    Scope,
    Threshold,
    adaptive_ratio,
    rank_interval,
    received_affinity,
    unit_interval,
)
from myosotis.pretraining.token_mask import TokenMask, mask_from_scores

Features = Annotated[str, Field(pattern=r"^(embed|patch|block:[1-9]\d*)$")]
"""Names of the tokens that salience compares."""


@dataclass(frozen=True)
class SalienceSettings:
    """How salience decides. The paper's ratio, spread and threshold are not published; see the guide.

    Attributes:
        features: Tokens that are compared: ``"embed"``, the input of the first block, as released; ``"patch"``, the
            embedded patches without positions; ``"block:k"``, the output of the first k blocks for the whole image, at
            their cost.
        scale: Divisor of dot products, see :func:`~myosotis.pretraining.salience.received_affinity`: 1 as
            released; ``"sqrt_dim"`` is recommended for small images.
        exclude_self: Whether a token does not read itself.
        normalize: ``"minmax"`` stretches salience over [0, 1]; ``"rank"`` takes ranks, where a few tokens receive
            nearly everything.
        noise: Uniform noise in [0, noise] is added to each token's salience: 0 hides the same tokens each time, a large
            one is random masking.
        invert: Hide what is least salient: a control.
        warmup: Share of the training, at its beginning, with random masks and the same ratio for all.
        spread: AMR: largest distance of an image's ratio from the one asked for; 0 for the same ratio for all.
        threshold: AMR: a token above it counts as salient; ``"mean"`` is the image's mean.
        scope: AMR: a ratio for each ``"sample"``, or one for the ``"batch"`` as in the released code.
    """

    features: Features = "embed"
    scale: PositiveFloat | Literal["sqrt_dim"] = 1.0
    exclude_self: bool = False
    normalize: Literal["minmax", "rank"] = "minmax"
    noise: NonNegativeFloat = 0.5
    invert: bool = False
    warmup: Part = 0.25
    spread: Part = 0.0
    threshold: Part | Literal["mean"] = 0.5
    scope: Literal["sample", "batch"] = "sample"


class SalienceMasker(Masker[SalienceSettings]):
    """Tokens that the others read most are hidden, with noise; it needs nothing but the embedded patches.

    Called directly it compares the given tokens; networks pass the tokens that ``features`` names.

    Raises:
        SettingsError: ``threshold`` or ``scope`` is set while ``spread`` is 0.
    """

    card = MethodCard(
        name="salience",
        title="Salience-based adaptive masking (SBAM), with adaptive masking ratio (AMR) where 'spread' is set",
        paper=(
            "Choi, Park, Yi, Cha, Min: Salience-Based Adaptive Masking: Revisiting Token Dynamics for Enhanced "
            "Pre-training, ECCV 2024"
        ),
        reads="images",
        memory="nothing; a product of the patch embeddings with themselves",
        purpose="Guided masking without a teacher. Salience depends on pixel normalisation: see the maps.",
    )
    Settings = SalienceSettings
    reads_tokens = True

    def __init__(self, settings: SalienceSettings) -> None:
        super().__init__(settings)
        plain = SalienceSettings()
        if not settings.spread and (settings.threshold, settings.scope) != (plain.threshold, plain.scope):
            raise SettingsError("'threshold' and 'scope' need an adaptive ratio: set 'spread'")

    @property
    def features(self) -> str:
        return self.settings.features

    def ratio_range(self, ratio: float) -> tuple[float, float]:
        """Return the smallest and the largest ratio that an image may get."""
        return ratio - self.settings.spread, ratio + self.settings.spread

    def guide_statistics(self, guide: Float[Tensor, "batch tokens"]) -> dict[str, Tensor]:
        """Return the share of tokens with a salience above the threshold, and the median salience of an image."""
        threshold = self.settings.threshold
        level = guide.mean(dim=1, keepdim=True) if threshold == "mean" else threshold
        return {
            "salient_share": (guide > level).float().mean(),
            "salience_median": guide.median(dim=1).values.mean(),
        }

    def salience(
        self, tokens: Float[Tensor, "batch tokens dim"], pool: Pool | None = None
    ) -> Float[Tensor, "batch units"]:
        """Return the salience in [0, 1] of tokens, or of mask units, which receive what their tokens receive."""
        received = received_affinity(tokens, scale=self.settings.scale, exclude_self=self.settings.exclude_self)
        if pool is not None:
            received = pool(received)
        return rank_interval(received) if self.settings.normalize == "rank" else unit_interval(received)

    def __call__(
        self,
        tokens: Tensor,
        *,
        ratio: float,
        progress: float = 1.0,
        generator: torch.Generator,
        pool: Pool | None = None,
        **_: Any,
    ) -> TokenMask:
        """Return the mask; see :class:`~myosotis.pretraining.maskers.masker.Masker`."""
        return self.from_salience(self.salience(tokens, pool), ratio, progress, generator)

    def hide_units(self, tokens: Float[Tensor, "batch tokens dim"], pool: Pool, **arguments: Any) -> TokenMask:
        """Return the hidden mask units; the affinity that tokens receive is summed over a unit."""
        return self(tokens, pool=pool, **arguments)

    def from_salience(
        self, salience: Float[Tensor, "batch tokens"], ratio: float, progress: float, generator: torch.Generator
    ) -> TokenMask:
        """Return the mask of given salience."""
        settings, noise = self.settings, uniform(salience, generator)
        if progress < settings.warmup:
            return mask_from_scores(noise, ratio, salience)
        scores = (1 - salience if settings.invert else salience) + settings.noise * noise
        if not settings.spread:
            return mask_from_scores(scores, ratio, salience)
        threshold: Threshold = settings.threshold
        scope: Scope = settings.scope
        return mask_from_scores(scores, adaptive_ratio(salience, ratio, settings.spread, threshold, scope), salience)
