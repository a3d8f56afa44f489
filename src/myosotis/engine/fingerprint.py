"""Names for weights and records that identify them without revealing them."""

import hashlib
import hmac

import torch
from torch import nn


def weights_hash(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights: names, types, shapes and bytes of its state dict, in order of names.

    Tied weights count once per name, so that a model and its saved and reloaded self have equal hashes.

    Example:
        >>> layer = nn.Linear(2, 2)
        >>> weights_hash(layer) == weights_hash(layer)
        True
    """
    digest = hashlib.sha256()
    state = model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def salted_fingerprint(text: str, salt: str) -> str:
    """Return the HMAC-SHA256 of a text, which names it to whoever holds both text and salt, and to nobody else.

    Example:
        >>> salted_fingerprint("a record", "salt") == salted_fingerprint("a record", "other salt")
        False
    """
    return hmac.digest(salt.encode(), b"myosotis/v1/fingerprint" + text.encode(), "sha256").hex()
