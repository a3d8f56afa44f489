"""timm's vision transformers, taken apart: patches, the blocks on some of the tokens, attention of the class token."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from myosotis.engine.errors import SettingsError
from myosotis.models.modes import evaluating
from myosotis.pretraining.packing import packing
from myosotis.pretraining.patches import sine_positions

Prefix = Float[Tensor, "batch prefix dim"]
Tokens = Float[Tensor, "batch tokens dim"]


def check_transformer(network: nn.Module) -> VisionTransformer:
    """Return a network as a vision transformer whose tokens can be left out.

    Raises:
        SettingsError: It is another network, drops tokens by itself, or has an untrained norm after pooling.
    """
    if not isinstance(network, VisionTransformer):
        raise SettingsError(
            f"{type(network).__name__} is not a plain vision transformer; 'simmim' can train any model of timm"
        )
    vit: Any = network
    if vit.pos_embed is None:
        raise SettingsError("a transformer without position embeddings cannot be masked")
    if vit.dynamic_img_size:
        raise SettingsError("leave 'dynamic_img_size' out: masks need a fixed grid")
    (height, width), (rows, columns) = vit.patch_embed.img_size, vit.patch_embed.patch_size
    if height % rows or width % columns:
        raise SettingsError(f"image size {width}x{height} is not a multiple of the patch size {columns}x{rows}")
    if not isinstance(vit.patch_drop, nn.Identity):
        raise SettingsError("leave 'patch_drop_rate' out: the masker chooses what is hidden")
    if getattr(vit, "attn_pool", None) is not None:
        raise SettingsError("attention pooling would stay untrained; set 'global_pool' to avg")
    if not isinstance(vit.fc_norm, nn.Identity):
        raise SettingsError("with 'fc_norm' the norm after pooling would stay untrained; set it to false")
    return vit


def patch_grid(vit: Any) -> tuple[int, int]:
    """Return rows and columns of patches."""
    rows, columns = vit.patch_embed.grid_size
    return int(rows), int(columns)


def patch_side(vit: Any) -> int:
    """Return the side of a patch in pixels.

    Raises:
        SettingsError: Patches are not square.
    """
    height, width = vit.patch_embed.patch_size
    if height != width:
        raise SettingsError(f"patches must be square, got {width}x{height}")
    return int(height)


@torch.no_grad()
def start_anew(vit: Any) -> None:
    """Give a transformer the initial weights of MAE, from torch's global generator.

    Matrices and the patch embedding are drawn by Glorot's uniform rule, biases are zero, prefix tokens small;
    positions are fixed sines, those of prefix tokens zero, and are not trained.
    """
    for module in vit.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    kernel = vit.patch_embed.proj.weight
    nn.init.xavier_uniform_(kernel.view(len(kernel), -1))
    for token in (vit.cls_token, vit.reg_token):
        if token is not None:
            nn.init.normal_(token, std=0.02)
    prefix = 0 if vit.no_embed_class else vit.num_prefix_tokens
    vit.pos_embed.zero_()
    vit.pos_embed[0, prefix:] = sine_positions(patch_grid(vit), vit.embed_dim).to(vit.pos_embed)
    vit.pos_embed.requires_grad_(requires_grad=False)


def embedded(vit: Any, images: Float[Tensor, "batch channels height width"]) -> tuple[Prefix, Tokens]:
    """Return prefix tokens, such as the class token, and patch tokens, both with their positions.

    In single precision, also under autocast: they decide what is hidden, and they are a small part of the work.
    """
    with torch.autocast(images.device.type, enabled=False):
        x = vit.norm_pre(vit._pos_embed(vit.patch_embed(images)))
    return x[:, : vit.num_prefix_tokens], x[:, vit.num_prefix_tokens :]


def check_compared(vit: Any, features: str) -> None:
    """Raise ``SettingsError`` unless :func:`compared_tokens` can be asked of a transformer."""
    if _blocks_before(features) > len(vit.blocks):
        raise SettingsError(f"features '{features}' do not exist in a transformer of {len(vit.blocks)} blocks")


@torch.no_grad()
def compared_tokens(vit: Any, images: Float[Tensor, "batch channels height width"], features: str) -> Tokens:
    """Return the tokens that salience compares, of whole images, without dropout and in single precision.

    Args:
        vit: A vision transformer of timm.
        images: Normalised images.
        features: A value of :attr:`.maskers.salience.SalienceSettings.features`.
    """
    with evaluating(vit), torch.autocast(images.device.type, enabled=False):
        if features == "patch":
            patches: Tensor = vit.patch_embed(images)
            return patches.flatten(1, -2)
        x = run_blocks(vit.blocks[: _blocks_before(features)], torch.cat(embedded(vit, images), dim=1))
    return x[:, vit.num_prefix_tokens :]


def _blocks_before(features: str) -> int:
    return int(features.removeprefix("block:")) if features.startswith("block:") else 0


def take(tokens: Tokens, indices: Int[Tensor, "batch visible"]) -> Float[Tensor, "batch visible dim"]:
    """Return the tokens at given indices of each image."""
    return tokens.gather(1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def run_blocks(
    blocks: Any,
    tokens: Tokens,
    attends: Bool[Tensor, "batch 1 tokens tokens"] | None = None,
    *,
    recompute: bool = False,
) -> Tokens:
    """Return the output of blocks.

    Args:
        blocks: Transformer blocks of timm.
        tokens: Prefix tokens first.
        attends: Whether a token, by the third index, may read another; None for all.
        recompute: Gradient checkpointing: activations are computed again in the backward pass.
    """
    for block in blocks:
        if recompute and torch.is_grad_enabled():
            tokens = checkpoint(block, tokens, attends, use_reentrant=False)
        else:
            tokens = block(tokens, attn_mask=attends)
    return tokens


@torch.no_grad()
def check_packed(vit: Any) -> None:
    """Pass two tiny sequences through the blocks in one row, and each alone.

    Raises:
        SettingsError: They read each other: an attention takes no mask, or does not keep to it.
    """
    lengths = torch.tensor([2, 3])
    weight = next(vit.blocks.parameters())
    tokens = torch.arange(2 * 3 * vit.embed_dim).sin().view(2, 3, -1).to(weight)
    packed = packing(lengths, 3).to(weight.device)
    with evaluating(vit):
        try:
            together = packed.unpack(run_blocks(vit.blocks, packed.pack(tokens), packed.attends))
        except TypeError as error:
            raise SettingsError(f"the blocks of the transformer take no mask of attention: {error}") from None
        for number, length in enumerate(lengths.tolist()):
            alone = run_blocks(vit.blocks, tokens[number : number + 1, :length])[0]
            if not torch.allclose(together[number, :length].float(), alone.float(), rtol=1e-2, atol=1e-2):
                raise SettingsError(
                    f"{type(vit.blocks[0]).__name__}: its attention does not keep to a mask of yes and no, so that "
                    "images in one row would read each other"
                )


def encode_all(vit: Any, images: Float[Tensor, "batch channels height width"]) -> tuple[Prefix, Tokens]:
    """Return prefix and patch tokens behind the last norm, with nothing hidden."""
    prefix, patches = embedded(vit, images)
    x = vit.norm(run_blocks(vit.blocks, torch.cat([prefix, patches], dim=1)))
    return x[:, : vit.num_prefix_tokens], x[:, vit.num_prefix_tokens :]


def check_class_attention(vit: Any) -> None:
    """Raise ``SettingsError`` unless :func:`class_attention` can be asked of a transformer."""
    if vit.cls_token is None:
        raise SettingsError("this masker needs a class token; set 'class_token' to true")
    if not hasattr(getattr(vit.blocks[-1], "attn", None), "qkv"):
        raise SettingsError(
            f"the last block of the transformer, {type(vit.blocks[-1]).__name__}, has no plain attention layer"
        )


@torch.no_grad()
def class_attention(
    vit: Any, images: Float[Tensor, "batch channels height width"]
) -> Float[Tensor, "batch patch_tokens"]:
    """Return how much the class token reads each patch in the last block, the mean over heads (AttMask).

    The parts of an image do not sum to one, as the class token reads itself too.

    Raises:
        SettingsError: See :func:`check_class_attention`.
    """
    check_class_attention(vit)
    x = run_blocks(vit.blocks[:-1], torch.cat(embedded(vit, images), dim=1))
    last = vit.blocks[-1]
    attention, x = last.attn, last.norm1(x)
    batch, count, _ = x.shape
    qkv = attention.qkv(x).reshape(batch, count, 3, attention.num_heads, attention.head_dim).permute(2, 0, 3, 1, 4)
    query, key = attention.q_norm(qkv[0][:, :, :1]), attention.k_norm(qkv[1])
    weights = ((query * attention.scale) @ key.transpose(-2, -1)).float().softmax(dim=-1)
    attended: Tensor = weights[:, :, 0, vit.num_prefix_tokens :].mean(dim=1)
    return attended
