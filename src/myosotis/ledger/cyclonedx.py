"""A model of a ledger as a CycloneDX 1.6 bill of materials (https://cyclonedx.org/docs/1.6/json/)."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from myosotis import __version__
from myosotis.engine.printable import printable
from myosotis.ledger.figures import figures_of, number_text
from myosotis.ledger.limits import limits_of
from myosotis.ledger.recorded import RecordedModel
from myosotis.ledger.statements import Statement
from myosotis.ledger.store import LOG
from myosotis.ledger.table import answers_of, what_of, word_of

_DIGEST = "SHA-256 over the SHA-256 of every file in the order of their paths (OpenSSF model signing)"


def bill_of_materials(model: RecordedModel) -> dict[str, Any]:
    """Return the bill; equal ledgers have equal bills.

    The serial number is that of the ledger's branch, the version grows with its lines. A deletion request is not
    part of it.

    Args:
        model: The model.
    """
    bill = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid5(NAMESPACE_URL, f"urn:myosotis:ledger:{model.head.ledger}:{model.branch}").urn,
        "version": model.head.size,
        "metadata": {
            "timestamp": (model.about[-1] if model.about else model.line).predicate.recorded_on,
            "tools": {"components": [{"type": "application", "name": "myosotis", "version": __version__}]},
            "component": _component(model),
            "properties": _properties(
                {
                    "ledger": model.head.ledger,
                    "ledger:lines": model.head.size,
                    "ledger:root": model.head.frontier.root().hex(),
                    "ledger:branch": model.branch,
                }
            ),
        },
    }
    shown: dict[str, Any] = _printable(bill)
    return shown


def _component(model: RecordedModel) -> dict[str, Any]:
    number, predicate = model.line.line, model.line.predicate
    evidence = {
        (one.line, name): digest
        for one in (model.line, *model.about)
        for name, digest in one.predicate.evidence.items()
        if digest
    }
    component = {
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": predicate.run.name,
        "version": f"line {number}",
        "hashes": _hashes(model.line.digest),
        "modelCard": _card(model),
        "pedigree": {"ancestors": [_ancestor(one) for one in model.before]},
        "externalReferences": [
            {"type": "evidence", "url": name, "comment": f"line {line}", "hashes": _hashes(digest)}
            for (line, name), digest in evidence.items()
        ]
        + [{"type": "attestation", "url": LOG, "comment": f"line {number} of the signed ledger"}],
        "components": [
            {"type": "file", "bom-ref": f"file {name}", "name": name, "hashes": _hashes(digest)}
            for name, digest in predicate.files.items()
        ],
        "properties": _properties(
            {
                "digest": _DIGEST,
                "run:kind": predicate.run.kind,
                "run:method": predicate.run.method,
                "run:seed": predicate.run.seed,
                "records": predicate.records.count,
                "records:root": predicate.records.root,
            }
        ),
    }
    return {key: value for key, value in component.items() if value}


def _card(model: RecordedModel) -> dict[str, Any]:
    metrics, answers = [], []
    for statement in (model.line, *model.about):
        verdict, where = statement.predicate.verdict, f"line {statement.line}: {what_of(statement)}"
        for figure in figures_of(verdict):
            metric: dict[str, Any] = {"type": figure.measure, "value": number_text(figure.value, 6), "slice": where}
            if figure.low is not None and figure.high is not None:
                ends = number_text(figure.low, 6), number_text(figure.high, 6)
                metric["confidenceInterval"] = dict(zip(("lowerBound", "upperBound"), ends, strict=True))
            metrics.append(metric)
        answers += [
            {"name": f"myosotis:verdict:line {statement.line}:{name}", "value": word_of(holds)}
            for name, holds in answers_of(verdict)
        ]
    card = {
        "quantitativeAnalysis": {"performanceMetrics": metrics} if metrics else None,
        "considerations": {"technicalLimitations": limits_of(model)},
        "properties": answers,
    }
    return {key: value for key, value in card.items() if value}


def _ancestor(statement: Statement) -> dict[str, Any]:
    return {
        "type": "machine-learning-model",
        "bom-ref": f"line {statement.line}",
        "name": statement.predicate.run.name,
        "version": f"line {statement.line}",
        "hashes": _hashes(statement.digest),
        "properties": _properties({"happened": what_of(statement), "kind": statement.kind}),
    }


def _hashes(digest: str) -> list[dict[str, str]]:
    return [{"alg": "SHA-256", "content": digest}]


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": f"myosotis:{name}", "value": str(value)} for name, value in values.items() if value is not None]


def _printable(value: Any) -> Any:
    """The same without characters that command a terminal or turn the reading order round."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: _printable(inner) for key, inner in value.items()}
    return [_printable(inner) for inner in value] if isinstance(value, Sequence) else value
