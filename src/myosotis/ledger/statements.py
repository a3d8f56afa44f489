"""The statements of a ledger: in-toto Statement v1 (https://in-toto.io/Statement/v1), as plain JSON."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from myosotis.engine.result import rfc3339
from myosotis.ledger.claims import Claim

STATEMENT = "https://in-toto.io/Statement/v1"
"""Type of every statement."""
VERSION = "v0.1"
"""Version of predicates and heads."""
MAIN = "main"
"""Name of the branch that lines are on unless another is given."""

_PREDICATE = "urn:myosotis:ledger:"


def make_statement(
    position: tuple[str, int, str | None], claim: Claim, branch: str, parent: dict[str, Any] | None
) -> dict[str, Any]:
    """Return the statement of a line.

    Args:
        position: Identifier of the ledger, number of earlier lines, and SHA-256 of the last one.
        claim: What the line claims.
        branch: Branch of the line.
        parent: Tip that the model began with, see :func:`tip_of`; None for a model from outside.
    """
    ledger, sequence, previous = position
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in claim.subjects.items()],
        "predicateType": f"{_PREDICATE}{claim.kind}:{VERSION}",
        "predicate": {
            "ledger": ledger,
            "sequence": sequence,
            "previous": previous,
            "branch": branch,
            "recordedOn": rfc3339(datetime.now(UTC)),
            "parent": None if parent is None else {"sequence": parent["sequence"], "sha256": parent["subject"]},
            "weights": {"in": claim.weights_in, "out": list(claim.weights_out)},
            "files": dict(claim.files),
            **claim.facts,
        },
    }


def tip_of(statement: Any, sequence: int) -> dict[str, Any]:
    """Return what later lines must fit: the model that a line left, and the run that it is of."""
    predicate = statement["predicate"]
    return {
        "sequence": sequence,
        "subject": statement["subject"][0]["digest"]["sha256"],
        "weights": list(predicate["weights"]["out"]),
        "result": predicate["evidence"]["result.json"],
    }


def kind_of(statement: Any) -> str:
    """Return the kind of a statement: ``learn``, ``forget``, ``audit``, ``destroy`` or ``release``."""
    return str(statement["predicateType"]).removeprefix(_PREDICATE).partition(":")[0]


def leaves_model(statement: Any) -> bool:
    """Return whether a statement is of a job that left a model, so that the next one can begin with it."""
    return kind_of(statement) in ("learn", "forget")


def destroyed_files(statement: Any) -> int:
    """Return how many files a ``destroy`` line says were destroyed."""
    records = statement["predicate"].get("records")
    return len(statement["subject"]) if records is None else int(records["count"])


def names_destroyed(statement: Any) -> bool:
    """Return whether a line names destroyed files by name and plain SHA-256, as lines of earlier versions do."""
    return kind_of(statement) == "destroy" and not statement["predicate"].get("records")


def roots_before(statements: Iterable[Any]) -> Iterator[frozenset[str]]:
    """Yield for each line the roots of commitments of the ``learn`` lines that its model follows from, and its root.

    Args:
        statements: Statements of a ledger, in their order.

    Raises:
        KeyError, TypeError, IndexError: A statement lacks something.
    """
    roots: list[frozenset[str]] = []
    for statement in statements:
        predicate = statement["predicate"]
        before = frozenset() if predicate["parent"] is None else roots[predicate["parent"]["sequence"]]
        root = (predicate.get("records") or {}).get("root") if kind_of(statement) == "learn" else None
        roots.append(before if root is None else before | {root})
        yield roots[-1]


def learned_under(records: Any) -> set[str]:
    """Return the roots under which the records of a line were learned, as it says.

    Args:
        records: What the line says of its records; None if nothing.
    """
    return {one["root"] for one in (records or {}).get("learned", ())}
