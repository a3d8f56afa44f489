"""The Merkle tree hash of RFC 9162 (Certificate Transparency 2.0), section 2.1, over lines that only grow in number."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of an entry: SHA-256 of a zero byte and the entry."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node: SHA-256 of a one byte and the hashes below it."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True)
class Frontier:
    """The roots of the complete subtrees that a tree consists of, from which it grows without its entries.

    Attributes:
        size: Number of entries.
        roots: A root for each one in the binary form of ``size``, the largest subtree first.

    Example:
        >>> grown = Frontier().with_entry(b"a").with_entry(b"b").with_entry(b"c")
        >>> len(grown.roots), grown.root() == merkle_root([b"a", b"b", b"c"])
        (2, True)
    """

    size: int = 0
    roots: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if len(self.roots) != self.size.bit_count():
            raise ValueError(f"{self.size} entries have {self.size.bit_count()} roots, got {len(self.roots)}")

    def with_entry(self, entry: bytes) -> "Frontier":
        """Return the frontier of the tree with one more entry."""
        roots, node, size = list(self.roots), leaf_hash(entry), self.size
        while size & 1:
            node = node_hash(roots.pop(), node)
            size >>= 1
        return Frontier(self.size + 1, (*roots, node))

    def root(self) -> bytes:
        """Return the Merkle tree hash; of no entries, the hash of the empty string."""
        if not self.roots:
            return hashlib.sha256(b"").digest()
        node = self.roots[-1]
        for left in reversed(self.roots[:-1]):
            node = node_hash(left, node)
        return node


def merkle_root(entries: Iterable[bytes]) -> bytes:
    """Return the Merkle tree hash of entries in their order.

    Example:
        >>> merkle_root([]).hex()[:16]
        'e3b0c44298fc1c14'
    """
    frontier = Frontier()
    for entry in entries:
        frontier = frontier.with_entry(entry)
    return frontier.root()
