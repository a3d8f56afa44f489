"""Independent streams of randomness, each derived from one seed and the name of its purpose."""

import hashlib

import torch


def derive_seed(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed that depends on ``seed`` and on every part of ``purpose``, and on nothing else.

    Args:
        seed: The seed of the whole job.
        purpose: What the stream is for, e.g. ``"pairing", epoch``. Different purposes give unrelated streams. Names of
            files may be among them, in whatever encoding.

    Returns:
        An integer in [0, 2^63).

    Example:
        >>> derive_seed(0, "pairing", 1) == derive_seed(0, "pairing", 1)
        True
        >>> derive_seed(0, "pairing", 1) == derive_seed(0, "pairing", 2)
        False
    """
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big") >> 1


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU ``torch.Generator`` seeded by :func:`derive_seed`.

    Example:
        >>> int(torch.randint(100, (1,), generator=generator(0, "a"))) == int(
        ...     torch.randint(100, (1,), generator=generator(0, "a"))
        ... )
        True
    """
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))
