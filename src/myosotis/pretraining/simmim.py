"""SimMIM: hidden parts of an image are replaced by a learnt token, and one layer predicts their pixels."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from pydantic import PositiveInt
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from myosotis.engine.errors import SettingsError
from myosotis.engine.method import MethodCard
from myosotis.models.modes import evaluating
from myosotis.models.normalization import Normalize
from myosotis.pretraining.maps import last_map
from myosotis.pretraining.masked_model import Images, MaskedModel, Objective, Reconstruction
from myosotis.pretraining.maskers.masker import Guide, Masker
from myosotis.pretraining.token_mask import TokenMask
from myosotis.pretraining.vision_transformer import (
    check_class_attention,
    check_compared,
    check_transformer,
    class_attention,
    compared_tokens,
)

_EPSILON = 1e-5


class SimMIM(MaskedModel):
    """SimMIM (Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu, CVPR 2022) over any model of timm that returns a feature map.

    Models with patch embedding (ViT, Swin) get a learnt token in place of a hidden patch, before
    positions are added; all others a learnt colour in place of its pixels. Mask units are usually larger than
    a patch; the guide of a masker is summed over them. The loss is the mean absolute error of hidden pixels.

    Args:
        encoder: A model of timm. It is trained in place.
        masker: Chooses the hidden units. ``salience`` needs a patch embedding, ``attention`` a vision transformer,
            and ``predicted_loss`` is for masked autoencoders only.
        shape: Channels, height and width of images.
        unit: Side of a mask unit, in pixels; a multiple of the patch.
        normalize: Applied to all images; None leaves them as they are.
        recompute: Gradient checkpointing, where the model supports it.

    Raises:
        SettingsError: Sizes do not fit, or the network or the masker is not supported.

    Example:
        >>> import timm
        >>> from myosotis.pretraining.maskers import build_masker
        >>> encoder = timm.create_model("resnet18", num_classes=0)
        >>> model = SimMIM(encoder, build_masker("random"), shape=(3, 64, 64), unit=16)
        >>> result = model(torch.rand(2, 3, 64, 64), ratio=0.5, generator=torch.Generator().manual_seed(0))
        >>> result.prediction.shape, result.mask.counts.tolist()
        (torch.Size([2, 3, 64, 64]), [8, 8])
    """

    def __init__(
        self,
        encoder: nn.Module,
        masker: Masker[Any],
        *,
        shape: tuple[int, int, int],
        unit: int = 32,
        normalize: Normalize | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(encoder, masker, normalize)
        channels, height, width = shape
        if height % unit or width % unit:
            raise SettingsError(f"image size {width}x{height} is not a multiple of the mask unit {unit}x{unit}")
        self.unit, self.grid = unit, (height // unit, width // unit)
        self._channels = channels
        with evaluating(encoder), torch.no_grad():
            plain = torch.zeros(1, *shape)
            embedding = _embedding(encoder)
            tokens = None if embedding is None else embedding(plain)
            features = last_map(encoder, plain)
        rows, dim = (height, channels) if tokens is None else (_rows(embedding, tokens, shape), tokens.shape[-1])
        self.token = nn.Parameter(torch.zeros(dim))
        nn.init.normal_(self.token, std=0.02)
        self._embedding, self._patch = embedding is not None, height // rows
        self._check_masker()
        if unit % self._patch:
            raise SettingsError(f"a mask unit of {unit} pixels is not a multiple of the patch size {self._patch}")
        stride = height // features.shape[2]
        if (stride * features.shape[2], stride * features.shape[3]) != (height, width):
            raise SettingsError(f"image size {width}x{height} is not a multiple of the network's stride {stride}")
        self.head = nn.Conv2d(features.shape[1], stride**2 * channels, kernel_size=1)
        self._stride = stride
        self._freeze_the_rest(plain)
        if recompute:
            network: Any = encoder
            network.set_grad_checkpointing()

    def _freeze_the_rest(self, plain: Tensor) -> None:
        """Layers behind the last map get no gradients, for which processes would wait."""
        weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]
        # In evaluation mode: a single image has no statistics of its own.
        with evaluating(self.encoder), torch.enable_grad():
            total = last_map(self.encoder, plain).sum()
        for weight, gradient in zip(weights, torch.autograd.grad(total, weights, allow_unused=True), strict=True):
            weight.requires_grad_(gradient is not None)

    def _check_masker(self) -> None:
        name = self.masker.card.name
        if self.masker.guide == "predicted_loss":
            raise SettingsError(f"masker '{name}' is for masked autoencoders only")
        if self.masker.guide == "attention":
            check_class_attention(check_transformer(self.encoder))
        if self.masker.reads_tokens and not self._embedding:
            raise SettingsError(
                f"masker '{name}' needs patches, but {type(self.encoder).__name__} has no patch embedding"
            )
        features = self.masker.features
        if isinstance(self.encoder, VisionTransformer):
            check_compared(self.encoder, features)
        elif features not in ("embed", "patch"):
            raise SettingsError(f"features '{features}' need a plain vision transformer")

    def forward(
        self,
        images: Images,
        *,
        ratio: float = 0.6,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        mask: TokenMask | None = None,
        guide: Float[Tensor, "batch units"] | None = None,
    ) -> Reconstruction:
        """Return the loss on what is hidden, and the prediction; see :meth:`.masked_model.MaskedModel.forward`."""
        x = self.normalize(images)
        if mask is None:
            mask = self._mask(x, self.masker_arguments(ratio, progress, generator, guide))
        pixels = self.hidden_pixels(mask)
        features = self._masked(x, mask.hidden.view(-1, 1, *self.grid), pixels)
        prediction = functional.pixel_shuffle(self.head(features), self._stride).float()
        weights = pixels.to(prediction.dtype)
        error = ((prediction - x).abs() * weights).sum() / (weights.sum() + _EPSILON) / self._channels
        return Reconstruction({"reconstruction": error}, prediction, mask)

    @torch.no_grad()
    def guidance(self, images: Images, kind: Guide) -> Float[Tensor, "batch units"]:
        if kind != "attention":
            raise SettingsError(f"'{kind}' is for masked autoencoders only")
        return self._pooled(class_attention(self.encoder, self.normalize(images)))

    def reconstructed(self, x: Images, reconstruction: Reconstruction) -> Images:  # noqa: ARG002 - it is predicted
        return reconstruction.prediction

    def _mask(self, x: Tensor, arguments: dict[str, Any]) -> TokenMask:
        if self.masker.reads_tokens:
            return self.masker.hide_units(self._tokens(x), self._pooled, **arguments)
        return self.masker(x.new_empty(len(x), self.grid[0] * self.grid[1], 0), **arguments)

    def _tokens(self, images: Tensor) -> Float[Tensor, "batch tokens dim"]:
        """Embedded patches, with positions where the network adds them, in single precision; or other features."""
        if isinstance(self.encoder, VisionTransformer):
            return compared_tokens(self.encoder, images, self.masker.features)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            network: Any = self.encoder
            patches: Tensor = network.patch_embed(images)
            return patches.flatten(1, -2)

    def _pooled(self, values: Float[Tensor, "batch tokens *rest"]) -> Float[Tensor, "batch units *rest"]:
        """Sums over mask units."""
        factor, (rows, columns) = self.unit // self._patch, self.grid
        cut = values.reshape(-1, rows, factor, columns, factor, *values.shape[2:])
        return cut.sum(dim=(2, 4)).flatten(1, 2)

    def _masked(
        self, images: Tensor, units: Bool[Tensor, "batch 1 rows columns"], pixels: Bool[Tensor, "batch 1 h w"]
    ) -> Float[Tensor, "batch features map_rows map_columns"]:
        if not self._embedding:
            return last_map(self.encoder, torch.where(pixels, self.token.view(1, -1, 1, 1).to(images.dtype), images))
        factor = self.unit // self._patch
        tokens = units[:, 0].repeat_interleave(factor, 1).repeat_interleave(factor, 2)

        def replace(_module: nn.Module, _inputs: Any, embedded: Tensor) -> Tensor:
            hidden = tokens.flatten(1) if embedded.ndim == 3 else tokens
            return torch.where(hidden.unsqueeze(-1), self.token.to(embedded.dtype), embedded)

        network: Any = self.encoder
        handle = network.patch_embed.register_forward_hook(replace)
        try:
            return last_map(self.encoder, images)
        finally:
            handle.remove()


def _embedding(network: Any) -> Any:
    """The module that embeds patches as (batch, tokens, dim) or (batch, rows, columns, dim), or None."""
    embedding = getattr(network, "patch_embed", None)
    return embedding if hasattr(embedding, "grid_size") else None


def _rows(embedding: Any, tokens: Tensor, shape: tuple[int, int, int]) -> int:
    rows, columns = (int(side) for side in embedding.grid_size)
    if tokens.ndim not in (3, 4) or tokens[..., 0].numel() != rows * columns:
        raise SettingsError("the patch embedding of the network does not return its grid, channels last")
    if shape[1] * columns != shape[2] * rows:
        raise SettingsError("patches must be square")
    return rows


@dataclass(frozen=True)
class SimMIMObjective(Objective):
    """Settings of :class:`SimMIM`.

    Attributes:
        unit: Side of a mask unit in pixels, a multiple of the patch.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="simmim",
        title="SimMIM",
        paper="Xie, Zhang, Cao, Lin, Bao, Yao, Dai, Hu: SimMIM, CVPR 2022",
        reads="images",
        memory="one layer; the network sees all tokens",
        purpose="For networks other than plain vision transformers: Swin, ConvNeXt, ResNet.",
    )
    unit: PositiveInt = 32

    def build(
        self,
        encoder: nn.Module,
        masker: Masker[Any],
        *,
        shape: tuple[int, int, int],
        normalize: Normalize | None,
        fresh: bool,  # noqa: ARG002 - the weights are those of the encoder
        recompute: bool,
    ) -> SimMIM:
        return SimMIM(encoder, masker, shape=shape, unit=self.unit, normalize=normalize, recompute=recompute)
