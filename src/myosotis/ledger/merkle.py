"""The Merkle tree hash of RFC 9162 (Certificate Transparency 2.0), section 2.1, over lines that only grow in number."""

import hashlib
from collections.abc import Iterable, Sequence
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


def inclusion_paths(leaves: Sequence[bytes]) -> tuple[bytes, list[list[bytes]]]:
    """Return the root over leaf hashes, and for each leaf the hashes that lead from it to the root (section 2.1.3).

    Args:
        leaves: At least one hash of an entry, see :func:`leaf_hash`.
    """
    if not leaves:
        raise ValueError("there is no leaf")
    paths: list[list[bytes]] = [[] for _ in leaves]
    level = [(leaf, range(index, index + 1)) for index, leaf in enumerate(leaves)]
    while len(level) > 1:
        above = []
        for left in range(0, len(level) - 1, 2):
            (one, under_one), (other, under_other) = level[left], level[left + 1]
            for index in under_one:
                paths[index].append(other)
            for index in under_other:
                paths[index].append(one)
            above.append((node_hash(one, other), range(under_one.start, under_other.stop)))
        level = [*above, *level[len(level) - len(level) % 2 :]]
    return level[0][0], paths


def root_of_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root that an inclusion path leads to, by section 2.1.3.2.

    Args:
        leaf: Hash of the entry.
        index: Index of the entry.
        size: Number of entries.
        path: Hashes from the leaf to the root.

    Raises:
        ValueError: The path has another length than such an entry has.

    Example:
        >>> root, paths = inclusion_paths([leaf_hash(entry) for entry in (b"a", b"b", b"c")])
        >>> root_of_path(leaf_hash(b"c"), 2, 3, paths[2]) == root == merkle_root([b"a", b"b", b"c"])
        True
    """
    if not 0 <= index < size:
        raise ValueError(f"an index of {size} entries is below {size}, got {index}")
    node, last = leaf, size - 1
    for other in path:
        if last == 0:
            raise ValueError("the path is too long")
        if index & 1 or index == last:
            node = node_hash(other, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = node_hash(node, other)
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the path is too short")
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
