"""Ledgers of made-up claims."""

import hashlib

import pytest

from myosotis.ledger import Claim, Ledger
from myosotis.ledger.keys import make_key, open_signer


def claim(kind, came_in, left, **more):
    subject = hashlib.sha256(left.encode()).hexdigest()
    facts = {
        "run": {"name": left, "kind": kind, "method": "er"},
        "evidence": {"result.json": hashlib.sha256(f"{kind} {came_in} {left}".encode()).hexdigest()},
        "verdict": {"forgotten": True, "kept": None, "auc": 0.5},
        **more,
    }
    return Claim(kind, {"model": subject}, {"net": subject}, came_in, (left,), facts)


@pytest.fixture(scope="session")
def claimed():
    return claim


@pytest.fixture
def signer(tmp_path):
    make_key(tmp_path / "life.key")
    return open_signer(str(tmp_path / "life.key"))


@pytest.fixture
def life(tmp_path, signer):
    """A ledger of three lines."""
    ledger = Ledger.create(tmp_path / "life", signer)
    ledger.append(claim("learn", None, "a"), signer)
    ledger.append(claim("forget", "a", "b", records={"count": 3}), signer)
    ledger.append(claim("audit", "b", "b"), signer)
    return ledger
