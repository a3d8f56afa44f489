"""The ledger: what happened to a model, line by line, signed, so that others can check it without its operator.

A ledger is a folder: ``log.intoto.jsonl``, one signed line for each thing that happened; ``head.json``, a signed Merkle
root over all lines; ``keys/``, public keys; ``VERIFY.md``, how to check all this with nothing but a hash function and a
signature. It proves what was claimed, by whom, about which bytes, in which order; not that a network forgot, nor that
no copy exists.
"""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.ledger.claims import Claim, claim_of_audit, claim_of_run, directory_digest
    from myosotis.ledger.merkle import Frontier, merkle_root
    from myosotis.ledger.store import Ledger
    from myosotis.ledger.verification import Check, Trusted, verify_ledger
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "claims": "Claim claim_of_audit claim_of_run directory_digest",
            "merkle": "Frontier merkle_root",
            "store": "Ledger",
            "verification": "Check Trusted verify_ledger",
        },
    )

__all__ = [
    "Check",
    "Claim",
    "Frontier",
    "Ledger",
    "Trusted",
    "claim_of_audit",
    "claim_of_run",
    "directory_digest",
    "merkle_root",
    "verify_ledger",
]
