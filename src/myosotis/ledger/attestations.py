"""A line of a ledger for others' tools: in-toto attestations they know, and statements of SCITT."""

from securesystemslib.signer import Signer

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.ledger.envelopes import LINE, sealed
from myosotis.ledger.heads import role_for
from myosotis.ledger.merkle import leaf_hash
from myosotis.ledger.provenance import audit_test_result, training_provenance
from myosotis.ledger.scitt import make_receipt, sign_statement, with_receipts
from myosotis.ledger.statements import Statement
from myosotis.ledger.store import Ledger
from myosotis.ledger.table import answers_of, word_of


def attestation_of(ledger: Ledger, statement: Statement, signer: Signer, builder: str) -> bytes:
    """Return a line as SLSA provenance of its model, or as the test result of an audit, in a signed envelope.

    Args:
        ledger: The ledger.
        statement: The line: it learned, forgot, or is of an audit.
        signer: Signer of the envelope, whose role may sign such a line.
        builder: URI of whoever ran the job.

    Raises:
        InputError: The line is of another kind, or does not say enough; or the signer's key has another role.
    """
    ledger.check_signer(signer, role_for(statement.kind), statement.kind)
    said = statement.predicate
    if statement.kind not in ("learn", "forget", "audit") or said.config is None:
        raise InputError(f"line {statement.line}: is of kind '{statement.kind}', of which there is no attestation")
    subjects, evidence = {"model": statement.digest}, {name: digest for name, digest in said.evidence.items() if digest}
    try:
        if statement.kind == "audit":
            answers = {name: word_of(holds) for name, holds in answers_of(said.verdict)}
            content = audit_test_result(subjects, answers, said.config.sha256)  # type: ignore[arg-type]
        else:
            content = training_provenance(
                subjects,
                said.run.model_dump(include={"name", "kind", "method", "seed", "started", "finished"}),
                said.config.sha256,
                said.tool.version if said.tool is not None else __version__,
                builder=builder,
                invocation=f"urn:myosotis:ledger:{said.ledger}:{statement.line}",
                parent=None if said.parent is None else said.parent.sha256,
                byproducts=evidence,
            )
    except ValueError as error:
        raise InputError(f"line {statement.line}: {error}") from None
    return sealed(content, LINE, signer)


def statement_of_scitt(ledger: Ledger, statement: Statement, signer: Signer, issuer: str) -> bytes:
    """Return a line as a transparent statement: COSE_Sign1 over its bytes, with a receipt of all lines.

    Args:
        ledger: The ledger.
        statement: The line.
        signer: Signer of the statement and of the receipt, an operator.
        issuer: URI of whoever makes the statement.

    Raises:
        InputError: The ledger has one line alone, of which there is no receipt; or the signer is not an operator.
    """
    ledger.check_signer(signer, "operator", "scitt")
    lines = list(ledger.lines())
    if len(lines) < 2:
        raise InputError(f"{ledger.path}: a receipt needs at least two lines")
    subject = f"urn:sha256:{statement.digest}"
    leaves = [leaf_hash(line) for line in lines]
    log = f"urn:myosotis:ledger:{statement.predicate.ledger}"
    receipt = make_receipt(leaves, statement.line - 1, signer, issuer=log, subject=subject)
    return with_receipts(sign_statement(lines[statement.line - 1], signer, issuer, subject), [receipt])
