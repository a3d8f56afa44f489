"""What a line of a ledger claims, made from a finished run."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from myosotis import __version__
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.digests import DIGESTS
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json
from myosotis.engine.result import rfc3339
from myosotis.engine.run import Run
from myosotis.exact import check_learner
from myosotis.exact.classifier import DESCRIPTION
from myosotis.ledger.commitments import SCHEME, Commitment
from myosotis.ledger.heads import Head, Tip
from myosotis.ledger.statements import STATEMENT, VERSION, Kind, digest_of


@dataclass(frozen=True)
class Claim:
    """What happened to a model, or to files that knew of it.

    Attributes:
        kind: ``learn``, ``forget``, ``audit``, ``destroy`` or ``release``.
        subjects: SHA-256 by name: of ``model``, the model that was left, audited or released, see
            :func:`directory_digest`; or the root of ``commitments`` to the files that were destroyed.
        files: SHA-256 of each file of the model, by name.
        weights_in: What a result calls the model that came in; None for a new one.
        weights_out: What results call the model that was left.
        facts: What is said about it: run, method, verdict, evidence by digest.
    """

    kind: Kind
    subjects: Mapping[str, str]
    files: Mapping[str, str]
    weights_in: str | None
    weights_out: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        """SHA-256 of the model, or the root of the commitments to what was destroyed."""
        return next(iter(self.subjects.values()))

    def statement(self, head: Head, branch: str, parent: Tip | None) -> dict[str, Any]:
        """Return the statement of the line that comes after a head.

        Args:
            head: Head of the ledger.
            branch: Branch of the line.
            parent: Tip that the model began with; None for a model from outside.
        """
        return {
            "_type": STATEMENT,
            "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in self.subjects.items()],
            "predicateType": f"urn:myosotis:ledger:{self.kind}:{VERSION}",
            "predicate": {
                "ledger": head.ledger,
                "sequence": head.size,
                "previous": head.last,
                "branch": branch,
                "recordedOn": max(head.issued, rfc3339(datetime.now(UTC))),
                "parent": None if parent is None else {"sequence": parent.sequence, "sha256": parent.subject},
                "weights": {"in": self.weights_in, "out": list(self.weights_out)},
                "files": dict(self.files),
                **self.facts,
            },
        }


def directory_digest(path: Path) -> tuple[str, dict[str, str]]:
    """Return the SHA-256 over the SHA-256 of every file, in the order of their paths, and these by name.

    It is the digest of OpenSSF model signing (https://sigstore.dev, serialisation "files"), which orders paths part
    by part: ``a/b`` comes before ``a-b``. It binds the order of the files; their names are listed beside it.

    Raises:
        InputError: The directory holds no file, or a link.
    """
    names = []
    for file in path.rglob("*"):
        if file.is_symlink():
            raise InputError(f"{file}: is a link, which has no content of its own to sign")
        if not file.is_dir():
            if not file.is_file():
                raise InputError(f"{file}: is not a regular file")
            names.append(file.relative_to(path).as_posix())
    if not names:
        raise InputError(f"{path}: holds no file")
    digests = {name: file_digest(path / name) for name in sorted(names, key=lambda name: name.split("/"))}
    return digest_of(digests), digests


def claim_of_run(path: Path) -> Claim:
    """Return what a finished run claims: it learnt, or it forgot.

    Raises:
        InputError: It is not finished, has changed since, or neither learnt nor forgot.
    """
    run, result, subjects, files = _read(path)
    lineage = result["lineage"]
    kind: Kind = "forget" if str(result["kind"]).startswith("unlearn") else "learn"
    continued = lineage.get("continued_from") or {}
    came_in = lineage.get("model_in") or continued.get("model")
    left = [lineage.get("model_out"), lineage.get("classifier_out")]
    facts = _facts(run, result)
    facts["records"] = {"count": _forgotten(result) if kind == "forget" else _learned(result)}
    if kind == "forget":
        facts["request"] = result["request"]
    if "digests" in result:
        facts["statistics"] = result["digests"]
    return Claim(kind, subjects, files, came_in, tuple(str(name) for name in left if name is not None), facts)


def claim_of_audit(path: Path) -> Claim:
    """Return what a second audit of a finished run claims: that of its ``audit.json``.

    Raises:
        InputError: There is none, or the run is not finished or has changed since.
    """
    run, result, subjects, files = _read(path)
    if not (path / "audit.json").is_file():
        raise InputError(f"{path}: was not audited; `myosotis audit` writes its audit.json")
    audit = read_json(path / "audit.json")
    if audit.get("model") is not None:
        raise InputError(f"{path}/audit.json: is of another model, '{audit['model']}'; audit that of the run")
    if "claimed" in audit and not (
        audit["claimed"] == read_json(path / "model" / DESCRIPTION)["digests"]
        and audit["equal"] == (audit["claimed"] == audit["recomputed"])
    ):
        raise InputError(f"{path}/audit.json: does not fit the model, or itself; audit the run again")
    facts = _facts(run, result)
    facts["evidence"]["audit.json"] = file_digest(path / "audit.json")
    answers = ("model_matches", "data_matches", "reproduced", "equal")
    facts["verdict"] = {name: audit[name] for name in answers if name in audit}
    left = str(result["lineage"]["model_out"])
    return Claim("audit", subjects, files, left, (left,), facts)


def with_commitment(claim: Claim, commitment: Commitment, learned: Sequence[Mapping[str, Any]] = ()) -> Claim:
    """Return a claim that commits to records.

    Args:
        claim: The claim.
        commitment: Commitments to the records.
        learned: Root and number of records of each commitment to what was learned that they are among.

    Raises:
        InputError: The run says that it was of another number of records.
    """
    expected = (claim.facts.get("records") or {}).get("count")
    if expected is not None and expected != commitment.records:
        verb = "forgot" if claim.kind == "forget" else "learned"
        raise InputError(f"the run {verb} {expected} records, {commitment.records} are given")
    records: dict[str, Any] = {
        "count": commitment.records,
        "scheme": SCHEME,
        "root": commitment.root,
        "commitments": commitment.size,
    }
    if learned:
        records["learned"] = [dict(one) for one in learned]
    return replace(claim, facts={**claim.facts, "records": records})


def _read(path: Path) -> tuple[Run, dict[str, Any], dict[str, str], dict[str, str]]:
    run = Run.read(path)
    result, model = run.result(), path / "model"
    if not model.is_dir() or "lineage" not in result:
        raise InputError(f"{path}: left no model, so there is nothing to record")
    if not is_complete(model):
        raise InputError(f"{model}: its files have changed since the run was finished")
    if (model / DESCRIPTION).is_file():
        check_learner(model)
    if not (path / DIGESTS).is_file():
        raise InputError(f"{path}: has no {DIGESTS}, so nobody can tell whether its result was edited")
    digest, files = directory_digest(model)
    return run, result, {"model": digest}, files


def _facts(run: Run, result: Mapping[str, Any]) -> dict[str, Any]:
    evidence = {
        name: file_digest(run.path / name) for name in ("result.json", "report.html") if (run.path / name).is_file()
    }
    return {
        "run": {key: result[key] for key in ("name", "kind", "method", "seed", "started", "finished", "operator")},
        "tool": {"name": "myosotis", "version": __version__},
        "config": {"sha256": file_digest(run.path / "config.yaml")},
        "evidence": evidence,
        "verdict": result.get("verdict"),
        "cost": {"seconds": sum(result["cost"]["seconds"].values())},
    }


def _forgotten(result: Mapping[str, Any]) -> int | None:
    """The number of records that were forgotten."""
    for part in ("images", "records"):
        if part in result and "forget" in result[part]:
            return int(result[part]["forget"])
    return None


def _learned(result: Mapping[str, Any]) -> int | None:
    """The number of records that a run learned itself, without those of the run that it continued."""
    samples = result.get("samples") or {}
    if not isinstance(samples.get("train"), list):
        return None
    begun = (result["lineage"].get("continued_from") or {}).get("tasks", 0)
    return sum(sum(samples.get(part, [])[begun:]) for part in ("train", "validation"))


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
