"""Masked autoencoders: an encoder that sees only what is visible, and a decoder that is thrown away afterwards."""

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.engine.method import MethodCard
from myosotis.pretraining.decoder import MaskedDecoder
from myosotis.pretraining.maskers.masker import Guide, Masker
from myosotis.pretraining.objective import Reconstruction, Reduction, hidden_mean, ranking_loss
from myosotis.pretraining.patches import from_patches, normalized_patches, to_patches, with_own_statistics
from myosotis.pretraining.token_mask import TokenMask
from myosotis.pretraining.vision_transformer import (
    check_class_attention,
    check_compared,
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


class MaskedAutoencoder(nn.Module):
    """MAE (He, Chen, Xie, Li, Dollár, Girshick, CVPR 2022) over a vision transformer of timm, with any masker.

    Images may differ in how many of their tokens are visible: the shorter ones are padded, padding is hidden from
    attention in every block, and each image gets what it would get alone.

    Args:
        encoder: A ``VisionTransformer`` with positions of its own, with or without class token. It is trained in place.
        masker: Says what is hidden; see :func:`~myosotis.pretraining.maskers.build_masker`.
        decoder_dim: Width of the decoder.
        decoder_depth: Its blocks.
        decoder_heads: Its heads.
        norm_pix: Whether targets are pixels normalised patch by patch.
        reduction: See :func:`~myosotis.pretraining.objective.hidden_mean`.
        fresh: Whether the encoder begins anew: with the initial weights of the paper, and with fixed sines as
            positions. False for one that comes pre-trained.
        recompute: Keep no activations of blocks for the backward pass (gradient checkpointing).

    Raises:
        ValueError: The encoder cannot be masked, or sizes do not fit.

    Example:
        >>> import timm
        >>> from myosotis.pretraining.maskers import build_masker
        >>> sizes = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 1}
        >>> encoder = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
        >>> model = MaskedAutoencoder(encoder, build_masker("random"), decoder_dim=16, decoder_depth=1, decoder_heads=2)
        >>> found = model(torch.rand(2, 3, 16, 16), generator=torch.Generator().manual_seed(0))
        >>> sorted(found.terms), found.prediction.shape, found.mask.counts.tolist()
        (['reconstruction'], torch.Size([2, 16, 48]), [4, 4])
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="mae",
        title="Masked autoencoder (MAE)",
        paper="He, Chen, Xie, Li, Dollár, Girshick: Masked Autoencoders Are Scalable Vision Learners, CVPR 2022",
        reads="images",
        memory="a decoder; the encoder sees visible tokens only, so that a step costs less than a supervised one",
        purpose="The default, for plain vision transformers.",
    )

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
        fresh: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        vit: Any = check_transformer(encoder)
        self.encoder, self.masker = encoder, masker
        self.grid, self.patch = patch_grid(vit), patch_side(vit)
        self.norm_pix, self.reduction, self.recompute = norm_pix, reduction, recompute
        if fresh:
            # First of all draws, so that encoders of one seed are alike whatever is built around them.
            start_anew(vit)
        channels = vit.patch_embed.proj.in_channels
        sizes = {"dim": decoder_dim, "depth": decoder_depth, "heads": decoder_heads}
        prefix = vit.num_prefix_tokens
        self.decoder = MaskedDecoder(self.grid, vit.embed_dim, prefix, self.patch**2 * channels, **sizes)
        # Another decoder learns to predict the loss of each patch.
        wanted = masker.guide == "predicted_loss"
        self.loss_decoder = MaskedDecoder(self.grid, vit.embed_dim, prefix, 1, **sizes) if wanted else None
        if masker.guide == "attention":
            check_class_attention(vit)
        check_compared(vit, masker.features)

    def forward(
        self,
        images: Float[Tensor, "batch channels height width"],
        *,
        ratio: float = 0.75,
        progress: float = 1.0,
        generator: torch.Generator | None = None,
        mask: TokenMask | None = None,
        guide: Float[Tensor, "batch tokens"] | None = None,
    ) -> Reconstruction:
        """Return the loss on what is hidden, and the guess.

        Args:
            images: As the encoder takes them.
            ratio: Share of hidden tokens.
            progress: Share of the training that is made.
            generator: Of the mask, on the CPU.
            mask: Hide this instead of asking the masker.
            guide: What a teacher says, for maskers with a :attr:`~.maskers.masker.Masker.guide`; see :meth:`guidance`.

        Raises:
            ValueError: There is neither a mask nor a generator, or the masker misses its guide.
        """
        prefix, tokens = embedded(self.encoder, images)
        if mask is None:
            features = self.masker.features
            seen = tokens if features == "embed" else compared_tokens(self.encoder, images, features)
            mask = self.draw(seen, ratio=ratio, progress=progress, generator=generator, guide=guide)
        encoded = self._encoded(prefix, tokens, mask)
        prediction = self.decoder(encoded, mask, recompute=self.recompute).float()
        losses = (prediction - self.targets(images)).square().mean(dim=-1)
        terms = {"reconstruction": hidden_mean(losses, mask.hidden, self.reduction)}
        if self.loss_decoder is not None:
            guesses = self.loss_decoder(encoded, mask, recompute=self.recompute).float().squeeze(-1)
            terms["predicted_loss"] = ranking_loss(guesses, losses, mask.hidden)
        return Reconstruction(terms, prediction, mask)

    def draw(
        self,
        tokens: Float[Tensor, "batch tokens dim"],
        *,
        ratio: float,
        progress: float,
        generator: torch.Generator | None,
        guide: Float[Tensor, "batch tokens"] | None = None,
    ) -> TokenMask:
        """Return what the masker hides, given the tokens that it looks at; see :meth:`forward`."""
        if generator is None:
            raise ValueError("give a generator or a mask")
        said: dict[str, Any] = {} if self.masker.guide is None else {self.masker.guide: guide}
        return self.masker(tokens, grid=self.grid, ratio=ratio, progress=progress, generator=generator, **said)

    def encode(
        self, images: Float[Tensor, "batch channels height width"], mask: TokenMask | None = None
    ) -> tuple[Float[Tensor, "batch prefix dim"], Float[Tensor, "batch kept dim"]]:
        """Return prefix and patch tokens of whole images, or of what a mask leaves of them."""
        if mask is None:
            return encode_all(self.encoder, images)
        encoded, prefix = self._encoded(*embedded(self.encoder, images), mask), self._prefix
        return encoded[:, :prefix], encoded[:, prefix:]

    def targets(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens pixels"]:
        """Return what is to be reconstructed."""
        patches = to_patches(images, self.patch)
        return normalized_patches(patches) if self.norm_pix else patches

    @torch.no_grad()
    def guidance(
        self, images: Float[Tensor, "batch channels height width"], kind: Guide
    ) -> Float[Tensor, "batch tokens"]:
        """Return what this network says as a teacher, of whole images."""
        if kind == "attention":
            return class_attention(self.encoder, images)
        assert self.loss_decoder is not None  # noqa: S101 - it was made for a masker that asks for it
        encoded = torch.cat(encode_all(self.encoder, images), dim=1)
        found: Tensor = self.loss_decoder(encoded, None).float().squeeze(-1)
        return found

    @torch.no_grad()
    def pictures(
        self, images: Float[Tensor, "batch channels height width"], found: Reconstruction
    ) -> tuple[Float[Tensor, "batch channels height width"], Float[Tensor, "batch channels height width"]]:
        """Return images with grey where something is hidden, and with guesses there.

        With ``norm_pix`` a guess says nothing of brightness and contrast of a patch; they are taken from the original.
        """
        original, hidden = to_patches(images, self.patch), found.mask.hidden.unsqueeze(-1)
        guess = with_own_statistics(found.prediction, original) if self.norm_pix else found.prediction
        shown = torch.where(hidden, images.mean(), original), torch.where(hidden, guess, original)
        first, second = (from_patches(patches, self.patch, self.grid) for patches in shown)
        return first, second

    @property
    def _prefix(self) -> int:
        return int(self.encoder.num_prefix_tokens)  # type: ignore[arg-type]

    def _encoded(self, prefix: Tensor, tokens: Tensor, mask: TokenMask) -> Tensor:
        vit: Any = self.encoder
        x = torch.cat([prefix, take(tokens, mask.keep)], dim=1)
        keys = None
        if mask.ragged:
            always = mask.valid.new_ones(len(x), prefix.shape[1])
            keys = torch.cat([always, mask.valid], dim=1)[:, None, None, :]
        found: Tensor = vit.norm(run_blocks(vit.blocks, x, keys, recompute=self.recompute))
        return found
