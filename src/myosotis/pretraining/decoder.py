"""The decoder of a masked autoencoder: from the visible tokens to a prediction for every token."""

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
        encoder_dim: Width of the encoder.
        prefix: Number of prefix tokens before the patches.
        outputs: Numbers for each token.
        dim: Width; divisible by 4 and by ``heads``.
        depth: Blocks.
        heads: Attention heads.
    """

    positions: Tensor

    def __init__(
        self, grid: tuple[int, int], encoder_dim: int, prefix: int, outputs: int, *, dim: int, depth: int, heads: int
    ) -> None:
        super().__init__()
        if dim % heads:
            raise SettingsError(f"decoder width {dim} is not a multiple of its {heads} heads")
        norm = partial(nn.LayerNorm, eps=1e-6)
        self.embed = nn.Linear(encoder_dim, dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, dim))
        blocks: Any = [Block(dim, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = norm(dim)
        self.predict = nn.Linear(dim, outputs)
        # Positions follow from the configuration and are not saved with the weights.
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
        self, encoded: Float[Tensor, "batch prefix_and_visible dim"], mask: TokenMask | None, *, recompute: bool = False
    ) -> Float[Tensor, "batch tokens outputs"]:
        """Return a prediction for every patch token.

        Args:
            encoded: Output of the encoder for the prefix tokens and the visible ones, or for all of them.
            mask: The hidden tokens; None for none.
            recompute: Gradient checkpointing.
        """
        x = self.embed(encoded)
        prefix, visible = x[:, : self._prefix], x[:, self._prefix :]
        if mask is not None:
            token = self.mask_token.to(x.dtype)
            if mask.ragged:
                # Behind the visible tokens of an image there is padding.
                visible = torch.where(mask.valid.unsqueeze(-1), visible, token)
            batch, tokens = mask.restore.shape
            unseen = token.expand(batch, tokens - visible.shape[1], -1)
            indices = mask.restore.unsqueeze(-1).expand(-1, -1, x.shape[-1])
            visible = torch.cat([visible, unseen], dim=1).gather(1, indices)
        x = torch.cat([prefix, visible], dim=1) + self.positions
        x = self.norm(run_blocks(self.blocks, x, recompute=recompute))
        prediction: Tensor = self.predict(x[:, self._prefix :])
        return prediction
