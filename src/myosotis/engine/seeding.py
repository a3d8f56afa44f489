"""Independent streams of randomness, each derived from one seed and the name of its purpose."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import torch

_SEPARATOR = "\x1f"


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
    return _number(hashlib.sha256(_encoded(_SEPARATOR.join(str(part) for part in (seed, *purpose)))))


def derive_seeds(seed: int, purpose: str, names: Iterable[str]) -> list[int]:
    """Return :func:`derive_seed` of ``seed``, ``purpose`` and each name; what they have in common is hashed once.

    Example:
        >>> derive_seeds(0, "limit", ["a", "b"]) == [derive_seed(0, "limit", "a"), derive_seed(0, "limit", "b")]
        True
    """
    start = hashlib.sha256(_encoded(_SEPARATOR.join((str(seed), purpose, ""))))
    seeds = []
    for name in names:
        content = start.copy()
        content.update(_encoded(name))
        seeds.append(_number(content))
    return seeds


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """Return a CPU ``torch.Generator`` seeded by :func:`derive_seed`.

    Example:
        >>> int(torch.randint(100, (1,), generator=generator(0, "a"))) == int(
        ...     torch.randint(100, (1,), generator=generator(0, "a"))
        ... )
        True
    """
    return torch.Generator().manual_seed(derive_seed(seed, *purpose))


@contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Seed torch's global generator of the CPU for a block, and that of one device; afterwards both are as before.

    ``torch.manual_seed`` inside ``fork_rng`` would reach every card of the machine, and ``fork_rng`` fails on MPS.

    Example:
        >>> with seeded(0):
        ...     first = torch.rand(2)
        >>> with seeded(0):
        ...     bool((torch.rand(2) == first).all())
        True
    """
    with ExitStack() as forked:
        forked.enter_context(torch.random.fork_rng([]))
        torch.default_generator.manual_seed(seed % 2**63)
        if device is not None and device.type != "cpu":
            kind = torch.get_device_module(device)
            # Of MPS there is one, and its functions take none.
            which = () if device.type == "mps" else (device,)
            forked.callback(kind.set_rng_state, kind.get_rng_state(*which), *which)
            with kind.device(device) if which else nullcontext():
                kind.manual_seed(seed % 2**63)
        yield


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _number(content: "hashlib._Hash") -> int:
    return int.from_bytes(content.digest()[:8], "big") >> 1
