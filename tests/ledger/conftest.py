"""Ledgers of made-up claims."""

import hashlib
from dataclasses import replace

import pytest

from myosotis.ledger import Claim, Ledger
from myosotis.ledger.envelopes import HEAD, LINE, sealed
from myosotis.ledger.heads import Tip
from myosotis.ledger.keys import make_key, open_signer


def claim(kind, came_in, left, **more):
    net = hashlib.sha256(left.encode())
    subject = hashlib.sha256(net.digest()).hexdigest()
    facts = {
        "run": {"name": left, "kind": kind, "method": "er"},
        "evidence": {"result.json": hashlib.sha256(f"{kind} {came_in} {left}".encode()).hexdigest()},
        "verdict": {"forgotten": True, "kept": None, "auc": 0.5},
        **more,
    }
    return Claim(kind, {"model": subject}, {"net": net.hexdigest()}, came_in, (left,), facts)


@pytest.fixture(scope="session")
def claimed():
    return claim


def forged(ledger, claim, signer, change, branch=None):
    """Append a line that a claim makes and a function changes, past every check of an append."""
    head = ledger.head()
    tip = head.tips.get(branch or "main")
    content = claim.statement(head, branch or "main", None if claim.kind == "destroy" else tip)
    change(content)
    line = sealed(content, LINE, signer)
    with (ledger.path / "log.intoto.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    subject = content["subject"][0]["digest"]["sha256"] if content["subject"] else "0" * 64
    tips = head.tips
    if claim.kind in ("learn", "forget"):
        result = claim.facts["evidence"]["result.json"]
        tip = Tip(sequence=head.size, subject=subject, weights=claim.weights_out, result=result)
        tips = {**tips, branch or "main": tip}
    head = replace(
        head,
        size=head.size + 1,
        length=head.length + len(line) + 1,
        last=hashlib.sha256(line).hexdigest(),
        frontier=head.frontier.with_entry(line),
        tips=tips,
    )
    (ledger.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))


@pytest.fixture(scope="session")
def forge():
    return forged


@pytest.fixture
def signer(tmp_path):
    make_key(tmp_path / "life.key")
    return open_signer(str(tmp_path / "life.key"))


@pytest.fixture
def auditor(tmp_path):
    make_key(tmp_path / "auditor.key")
    return open_signer(str(tmp_path / "auditor.key"))


@pytest.fixture
def life(tmp_path, signer, auditor):
    """A ledger of three lines, the last one by an auditor."""
    ledger = Ledger.create(tmp_path / "life", signer)
    ledger.add_key(auditor.public_key, "auditor", "auditor", signer)
    ledger.append(claim("learn", None, "a"), signer)
    ledger.append(claim("forget", "a", "b", records={"count": 3}), signer)
    ledger.append(claim("audit", "b", "b"), auditor)
    return ledger
