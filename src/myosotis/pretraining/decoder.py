"""The decoder of a masked autoencoder: from the visible tokens to a guess for every token."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from myosotis.engine.errors import SettingsError
from myosotis.pretraining.patches import sine_positions
from myosotis.pretraining.token_mask import TokenMask
from myosotis.pretraining.vision_transformer import run_blocks


class MaskedDecoder(nn.Module):
    """A narrow transformer over all tokens, hidden ones being a learnt token with a fixed position.

    Args:
        grid: Rows and columns of tokens.
        encoder_dim: Width of what comes in.
        prefix: How many prefix tokens come before the patches.
        outputs: Numbers for each token.
        dim: Own width; divisible by 4 and by ``heads``.
        depth: Blocks.
        heads: Of attention.
    """

    positions: Tensor

    def __init__(
        self, grid: tuple[int, int], encoder_dim: int, prefix: int, outputs: int, *, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        if dim % heads:
            raise SettingsError(f"a decoder of width {dim} does not divide into {heads} heads")
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        blocks: Any = [Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(dim)
        self.predict = nn.Linear(dim, outputs)
        # What a configuration says makes positions: they need not be kept with the weights.
        both = torch.cat([torch.zeros(prefix, dim), sine_positions(grid, dim)])
        self.register_buffer("positions", both[None], persistent=False)
        self._prefix = prefix
        nn.init.normal_(self.mask_token, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        trunc_normal_(self.predict.weight, std=0.02)

    def forward(
        self, encoded: Float[Tensor, "batch prefix_and_kept dim"], mask: TokenMask | None, *, recompute: bool = False
    ) -> Float[Tensor, "batch tokens outputs"]:
        """Return a guess for every patch token.

        Args:
            encoded: What the encoder made of the prefix tokens and the visible ones, or of all of them.
            mask: What is hidden; None for nothing.
            recompute: See :func:`~myosotis.pretraining.vision_transformer.run_blocks`.
        """
        x = self.embed(encoded)
        prefix, visible = x[:, : self._prefix], x[:, self._prefix :]
        if mask is not None:
            token = self.mask_token.to(x.dtype)
            if mask.ragged:
                # What stands behind the visible tokens of an image is padding.
                visible = torch.where(mask.valid.unsqueeze(-1), visible, token)
            batch, tokens = mask.restore.shape
            unseen = token.expand(batch, tokens - visible.shape[1], -1)
            places = mask.restore.unsqueeze(-1).expand(-1, -1, x.shape[-1])
            visible = torch.cat([visible, unseen], dim=1).gather(1, places)
        x = torch.cat([prefix, visible], dim=1) + self.positions
        x = self.norm(run_blocks(self.blocks, x, recompute=recompute))
        found: Tensor = self.predict(x[:, self._prefix :])
        return found
