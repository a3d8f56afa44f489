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


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> list[bytes]:
    """Return the hashes which prove that a tree begins with the entries of an older one, by section 2.1.4.1.

    Args:
        leaves: Hashes of all entries, see :func:`leaf_hash`.
        old_size: Number of entries of the older tree. The proof from none, or from all of them, is empty.
    """
    if not 0 <= old_size <= len(leaves):
        raise ValueError(f"an older tree of {len(leaves)} entries has at most as many, got {old_size}")
    if old_size in (0, len(leaves)):
        return []
    proof: list[bytes] = []
    start, stop, is_known = 0, len(leaves), True  # the verifier knows the root of the whole older tree
    while old_size != stop:
        split = start + _split(stop - start)
        if old_size <= split:
            proof.append(_root(leaves[split:stop]))
            stop = split
        else:
            proof.append(_root(leaves[start:split]))
            start, is_known = split, False
    if not is_known:
        proof.append(_root(leaves[start:stop]))
    return proof[::-1]


def check_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that a tree begins with the entries of an older one, by section 2.1.4.2.

    An empty tree is consistent with all trees, by an empty proof, as https://c2sp.org/tlog-witness has it.

    Args:
        old_size: Number of entries of the older tree.
        old_root: Its root.
        new_size: Number of entries of the newer tree.
        new_root: Its root.
        proof: Hashes, see :func:`consistency_proof`.

    Raises:
        ValueError: The proof does not lead to both roots.

    Example:
        >>> leaves = [leaf_hash(entry) for entry in (b"a", b"b", b"c")]
        >>> proof = consistency_proof(leaves, 2)
        >>> check_consistency(2, merkle_root([b"a", b"b"]), 3, merkle_root([b"a", b"b", b"c"]), proof)
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"the newer tree has {new_size} entries, fewer than the {old_size} of the older one")
    for size, root in ((old_size, old_root), (new_size, new_root)):
        if size == 0 and root != Frontier().root():
            raise ValueError("the root of an empty tree is the hash of the empty string")
    if old_size in (0, new_size):
        if proof:
            raise ValueError("the proof is too long")
        if old_size == new_size and old_root != new_root:
            raise ValueError(f"two trees of {old_size} entries have different roots")
        return
    # An older tree of a power of two entries is itself a subtree of the newer one, so the proof leaves its root out.
    path = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not path:
        raise ValueError("the proof is too short")
    index, last = old_size - 1, new_size - 1
    while index & 1:
        index, last = index >> 1, last >> 1
    old_node = new_node = path[0]
    for other in path[1:]:
        if last == 0:
            raise ValueError("the proof is too long")
        if index & 1 or index == last:
            old_node, new_node = node_hash(other, old_node), node_hash(other, new_node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            new_node = node_hash(new_node, other)
        index, last = index >> 1, last >> 1
    if last:
        raise ValueError("the proof is too short")
    if (old_node, new_node) != (old_root, new_root):
        raise ValueError("the proof does not lead to both roots")


def _split(size: int) -> int:
    """The largest power of two below a number of entries."""
    return 1 << (size - 1).bit_length() - 1


def _root(leaves: Sequence[bytes]) -> bytes:
    level = list(leaves)
    while len(level) > 1:
        pairs = [node_hash(*level[left : left + 2]) for left in range(0, len(level) - 1, 2)]
        level = [*pairs, *level[len(level) - len(level) % 2 :]]
    return level[0]


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
