"""The network: from the context of a symbol, without the symbol itself, to logits."""

import itertools

import torch
from jaxtyping import Float, Int8
from torch import Tensor, nn


class ContextNetwork(nn.Module):
    """A perceptron over a context.

    Symbols beyond an edge are zero. Bits are -1 and 1; larger alphabets are one-hot.

    Args:
        size: Number of symbols in a context.
        symbols: Size of the alphabet.
        outputs: Logits.
        hidden: Width of the hidden layers.
        layers: Hidden layers, ReLU.

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
        >>> ContextNetwork(4, 2, 3)(torch.tensor([[0, 1, 1, 2]], dtype=torch.int8)).shape
        torch.Size([1, 3])
    """

    codes: Tensor

    def __init__(self, size: int, symbols: int, outputs: int, *, hidden: int = 64, layers: int = 4) -> None:
        super().__init__()
        codes = torch.tensor([[-1.0], [1.0]]) if symbols == 2 else torch.eye(symbols)
        self.register_buffer("codes", torch.cat([codes, torch.zeros(1, codes.shape[1])]), persistent=False)
        widths = [size * codes.shape[1], *[hidden] * layers]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            layer = nn.Linear(before, after)
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
            parts += [layer, nn.ReLU()]
        last = nn.Linear(widths[-1], outputs)
        nn.init.xavier_uniform_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(*parts, last)

    def forward(self, windows: Int8[Tensor, "batch size"]) -> Float[Tensor, "batch outputs"]:
        """Return logits."""
        logits: Tensor = self.layers(self.codes[windows.long()].flatten(1))
        return logits
