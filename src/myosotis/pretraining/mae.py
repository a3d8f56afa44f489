"""Masked autoencoders: an encoder of the visible tokens, and a decoder that is dropped after pre-training."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from pydantic import PositiveInt
from torch import Tensor, nn

from myosotis.engine.method import MethodCard
from myosotis.models.normalization import Normalize
from myosotis.pretraining.decoder import MaskedDecoder
from myosotis.pretraining.losses import Reduction, hidden_mean, ranking_loss
from myosotis.pretraining.masked_model import Images, MaskedModel, Objective, Reconstruction
from myosotis.pretraining.maskers.masker import Guide, Masker
from myosotis.pretraining.packing import packing
from myosotis.pretraining.patches import from_patches, normalized_patches, to_patches, with_own_statistics
from myosotis.pretraining.token_mask import TokenMask
from myosotis.pretraining.vision_transformer import (
    check_class_attention,
    check_compared,
    check_packed,
    check_transformer,
    class_attention,
    compared_tokens,
    embedded,
    encode_all,
    patch_grid,
    patch_side,
    run_blocks,
    start_anew,
    take,
)


class MaskedAutoencoder(MaskedModel):
    """MAE (He, Chen, Xie, Li, Dollár, Girshick, CVPR 2022) over a vision transformer of timm, with any masker.

    Images may differ in how many of their tokens are visible: a long sequence and a short one share a row (see
    :class:`~.packing.Packing`), neither attends to the other, and each image gets what it would get alone. Only
    stochastic depth, if the encoder has it, drops both together.

    Args:
        encoder: A ``VisionTransformer`` with positions of its own, with or without class token. It is trained in place.
        masker: The choice of what is hidden; see :func:`~myosotis.pretraining.maskers.build_masker`.
        decoder_dim: Width of the decoder.
        decoder_depth: Number of blocks of the decoder.
        decoder_heads: Attention heads of the decoder.
        norm_pix: Whether targets are pixels normalised patch by patch.
        reduction: Mean over hidden tokens, see :func:`~myosotis.pretraining.losses.hidden_mean`.
        normalize: Applied to all images; None leaves them as they are.
        fresh: Whether the encoder starts with the initial weights of the paper, and with fixed sines as
            positions. False for one that comes pre-trained.
        recompute: Gradient checkpointing.

    Raises:
        ValueError: The encoder cannot be masked, or sizes do not fit.

    Example:
        >>> import timm
        >>> from myosotis.pretraining.maskers import build_masker
        >>> sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1}
        >>> encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
        >>> model = MaskedAutoencoder(encoder, build_masker("random"), decoder_dim=16, decoder_depth=1, decoder_heads=2)
        >>> result = model(torch.rand(2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
        >>> sorted(result.terms), result.prediction.shape, result.mask.counts.tolist()
        (['reconstruction'], torch.Size([2, 16, 48]), [4, 4])
    """

    def __init__(
        self,
        encoder: nn.Module,
        masker: Masker[Any],
        *,
        decoder_dim: int = 512,
        decoder_depth: int = 8,
        decoder_heads: int = 16,
        norm_pix: bool = True,
        reduction: Reduction = "token",
        normalize: Normalize | None = None,
        fresh: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__(encoder, masker, normalize)
        vit: Any = check_transformer(encoder)
        self.grid, self.unit = patch_grid(vit), patch_side(vit)
        self.norm_pix, self.reduction, self.recompute = norm_pix, reduction, recompute
        if fresh:
            # First of all draws, so that encoders of one seed are alike whatever is built around them.
            start_anew(vit)
        check_packed(vit)
        channels = vit.patch_embed.proj.in_channels
        sizes = {"dim": decoder_dim, "depth": decoder_depth, "heads": decoder_heads}
        prefix = vit.num_prefix_tokens
        self.decoder = MaskedDecoder(self.grid, vit.embed_dim, prefix, self.unit**2 * channels, **sizes)
        # Another decoder learns to predict the loss of each patch.
        predicts_losses = masker.guide == "predicted_loss"
        self.loss_decoder = MaskedDecoder(self.grid, vit.embed_dim, prefix, 1, **sizes) if predicts_losses else None
        if masker.guide == "attention":
            check_class_attention(vit)
        check_compared(vit, masker.features)

    def forward(
        self,
        images: Images,
        *,
        ratio: float = 0.75,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        mask: TokenMask | None = None,
        guide: Float[Tensor, "batch tokens"] | None = None,
    ) -> Reconstruction:
        """Return the loss on what is hidden, and the prediction; see :meth:`.masked_model.MaskedModel.forward`."""
        x = self.normalize(images)
        prefix, tokens = embedded(self.encoder, x)
        if mask is None:
            arguments = self.masker_arguments(ratio, progress, generator, guide)
            features = self.masker.features
            compared = tokens if features == "embed" else compared_tokens(self.encoder, x, features)
            mask = self.masker(compared, **arguments)
        encoded = self._encoded(prefix, tokens, mask)
        prediction = self.decoder(encoded, mask, recompute=self.recompute).float()
        losses = (prediction - self._targets(x)).square().mean(dim=-1)
        terms = {"reconstruction": hidden_mean(losses, mask.hidden, self.reduction)}
        if self.loss_decoder is not None:
            guesses = self.loss_decoder(encoded, mask, recompute=self.recompute).float().squeeze(-1)
            terms["predicted_loss"] = ranking_loss(guesses, losses, mask.hidden)
        return Reconstruction(terms, prediction, mask)

    def encode(
        self, images: Images, mask: TokenMask | None = None
    ) -> tuple[Float[Tensor, "batch prefix dim"], Float[Tensor, "batch visible dim"]]:
        """Return prefix and patch tokens of whole images, or of the visible tokens of a mask."""
        x = self.normalize(images)
        if mask is None:
            return encode_all(self.encoder, x)
        encoded, prefix = self._encoded(*embedded(self.encoder, x), mask), self._prefix
        return encoded[:, :prefix], encoded[:, prefix:]

    @torch.no_grad()
    def guidance(self, images: Images, kind: Guide) -> Float[Tensor, "batch tokens"]:
        x = self.normalize(images)
        if kind == "attention":
            return class_attention(self.encoder, x)
        assert self.loss_decoder is not None  # noqa: S101 - it was made for a masker that asks for it
        encoded = torch.cat(encode_all(self.encoder, x), dim=1)
        predicted: Tensor = self.loss_decoder(encoded, None).float().squeeze(-1)
        return predicted

    def reconstructed(self, x: Images, reconstruction: Reconstruction) -> Images:
        """Return the predicted pixels of whole images.

        With ``norm_pix`` a prediction says nothing of brightness and contrast of a patch; they are taken from ``x``.
        """
        patches = reconstruction.prediction
        if self.norm_pix:
            patches = with_own_statistics(patches, to_patches(x, self.unit))
        return from_patches(patches, self.unit, self.grid)

    def _targets(self, x: Images) -> Float[Tensor, "batch tokens pixels"]:
        patches = to_patches(x, self.unit)
        return normalized_patches(patches) if self.norm_pix else patches

    @property
    def _prefix(self) -> int:
        return int(self.encoder.num_prefix_tokens)  # type: ignore[arg-type]

    def _encoded(self, prefix: Tensor, tokens: Tensor, mask: TokenMask) -> Tensor:
        vit: Any = self.encoder
        x = torch.cat([prefix, take(tokens, mask.keep)], dim=1)
        if mask.lengths is None:
            encoded: Tensor = vit.norm(run_blocks(vit.blocks, x, recompute=self.recompute))
            return encoded
        packed = packing(mask.lengths + prefix.shape[1], x.shape[1]).to(x.device)
        rows = run_blocks(vit.blocks, packed.pack(x), packed.attends, recompute=self.recompute)
        return packed.unpack(vit.norm(rows))


@dataclass(frozen=True)
class MaeObjective(Objective):
    """Settings of :class:`MaskedAutoencoder`.

    Attributes:
        decoder_dim: Width of the decoder.
        decoder_depth: Number of blocks of the decoder.
        decoder_heads: Attention heads of the decoder.
        norm_pix: Whether targets are pixels normalised patch by patch.
        reduction: Mean of the loss: over hidden tokens, or first over those of each sample.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="mae",
        title="Masked autoencoder (MAE)",
        paper="He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022",
        reads="images",
        memory="a decoder; the encoder sees visible tokens only, so a step costs less than a supervised one",
        purpose="The default, for plain vision transformers.",
    )
    decoder_dim: PositiveInt = 512
    decoder_depth: PositiveInt = 8
    decoder_heads: PositiveInt = 16
    norm_pix: bool = True
    reduction: Reduction = "token"

    def build(
        self,
        encoder: nn.Module,
        masker: Masker[Any],
        *,
        shape: tuple[int, int, int],  # noqa: ARG002 - a vision transformer knows it
        normalize: Normalize | None,
        fresh: bool,
        recompute: bool,
    ) -> MaskedAutoencoder:
        return MaskedAutoencoder(encoder, masker, **vars(self), normalize=normalize, fresh=fresh, recompute=recompute)
