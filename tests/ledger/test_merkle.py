"""The Merkle tree of RFC 9162: known roots, and the definition word for word."""

import hashlib

import pytest
from hypothesis import given, strategies as st

from myosotis.ledger import Frontier, merkle_root
from myosotis.ledger.merkle import check_consistency, consistency_proof, inclusion_paths, leaf_hash, root_of_path

ENTRIES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f")
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Entries and roots of the tests of Certificate Transparency's own implementation."""


def defined(entries):
    """Section 2.1.1: the hash of n entries splits at the largest power of two below n."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    split = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + defined(entries[:split]) + defined(entries[split:])).digest()


@pytest.mark.parametrize("count", range(1, 9))
def test_known_roots(count):
    assert merkle_root(ENTRIES[:count]).hex() == ROOTS[count - 1]


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_a_tree_that_grows_has_the_root_of_the_definition(entries):
    assert merkle_root(entries) == defined(entries)


def test_a_frontier_has_a_root_for_every_one_in_its_size():
    with pytest.raises(ValueError, match="3 entries have 2 roots, got 1"):
        Frontier(3, (b"",))


@given(st.integers(1, 70))
def test_every_path_leads_to_the_root(count):
    leaves = [leaf_hash(bytes([number])) for number in range(count)]
    root, paths = inclusion_paths(leaves)
    assert root == defined([bytes([number]) for number in range(count)])
    for index, path in enumerate(paths):
        assert root_of_path(leaves[index], index, count, path) == root


def test_a_path_of_another_leaf_leads_elsewhere():
    leaves = [leaf_hash(bytes([number])) for number in range(7)]
    root, paths = inclusion_paths(leaves)
    assert root_of_path(leaves[1], 2, 7, paths[2]) != root
    assert root_of_path(leaves[2], 3, 7, paths[2]) != root
    with pytest.raises(ValueError, match="too long"):
        root_of_path(leaves[2], 2, 7, [*paths[2], root])
    with pytest.raises(ValueError, match="too short"):
        root_of_path(leaves[2], 2, 7, paths[2][:-1])
    with pytest.raises(ValueError, match="below 7"):
        root_of_path(leaves[2], 7, 7, paths[2])
    with pytest.raises(ValueError, match="no leaf"):
        inclusion_paths([])


def defined_proof(entries, old, whole=True):
    """Section 2.1.4.1, word for word: SUBPROOF(m, D_n, b)."""
    if old == len(entries):
        return [] if whole else [defined(entries)]
    split = 1 << (len(entries) - 1).bit_length() - 1
    if old <= split:
        return [*defined_proof(entries[:split], old, whole), defined(entries[split:])]
    return [*defined_proof(entries[split:], old - split, False), defined(entries[:split])]


MANY = [bytes([number]) for number in range(33)]
LEAVES = [leaf_hash(entry) for entry in MANY]
MANY_ROOTS = [defined(MANY[:size]) for size in range(34)]


@pytest.mark.parametrize("size", range(34))
def test_a_tree_is_consistent_with_all_older_ones(size):
    for old in range(size + 1):
        proof = consistency_proof(LEAVES[:size], old)
        assert proof == (defined_proof(MANY[:size], old) if old else [])
        check_consistency(old, MANY_ROOTS[old], size, MANY_ROOTS[size], proof)


@pytest.mark.parametrize("size", range(1, 34))
def test_a_proof_holds_for_its_own_sizes_and_roots_alone(size):
    other = b"\xff" * 32
    for old in range(size + 1):
        proof = consistency_proof(LEAVES[:size], old)
        forged = [(old, other, size, MANY_ROOTS[size], proof)]
        forged.append((old, MANY_ROOTS[old], size, MANY_ROOTS[size], [*proof, other]))
        if old:
            forged.append((old, MANY_ROOTS[old], size, other, proof))
        forged += [
            (old, MANY_ROOTS[old], size, MANY_ROOTS[size], [*proof[:index], other, *proof[index + 1 :]])
            for index in range(len(proof))
        ]
        if proof:
            forged.append((old, MANY_ROOTS[old], size, MANY_ROOTS[size], proof[:-1]))
        for case in forged:
            with pytest.raises(ValueError, match="proof|root"):
                check_consistency(*case)


def test_a_rewritten_entry_is_not_consistent():
    entries = [*MANY[:5], b"other", *MANY[6:12]]
    leaves = [leaf_hash(entry) for entry in entries]
    with pytest.raises(ValueError, match="both roots"):
        check_consistency(8, MANY_ROOTS[8], 12, defined(entries), consistency_proof(leaves, 8))
    check_consistency(5, MANY_ROOTS[5], 12, defined(entries), consistency_proof(leaves, 5))


def test_known_consistency_proof():
    """Section 2.1.5 of RFC 9162: PROOF(3, D[7]) = [c, d, g, l], PROOF(4, D[7]) = [l], PROOF(6, D[7]) = [i, j, k]."""
    a, b, c, d, e, f, j = LEAVES[:7]

    def node(left, right):
        return hashlib.sha256(b"\x01" + left + right).digest()

    g, h, i = node(a, b), node(c, d), node(e, f)
    k, l = node(g, h), node(i, j)  # noqa: E741 - the names of the RFC
    assert consistency_proof(LEAVES[:7], 3) == [c, d, g, l]
    assert consistency_proof(LEAVES[:7], 4) == [l]
    assert consistency_proof(LEAVES[:7], 6) == [i, j, k]


def test_sizes_of_a_consistency_proof():
    with pytest.raises(ValueError, match="fewer than the 3"):
        check_consistency(3, MANY_ROOTS[3], 2, MANY_ROOTS[2], [])
    with pytest.raises(ValueError, match="at most as many, got 8"):
        consistency_proof(LEAVES[:7], 8)
    with pytest.raises(ValueError, match="too short"):
        check_consistency(3, MANY_ROOTS[3], 7, MANY_ROOTS[7], [])
