"""Lines of a ledger as the statements that supply-chain tools know: SLSA provenance, and in-toto test results.

Training is the build of a model from a configuration, and from the model that it began with. An audit is a run of
tests, one for each question of the verdict: yes has passed, no has failed, and unknown is a warning, since nothing was
shown either way. The statements are plain JSON for an envelope, and name no person and no record::

    statement = training_provenance({"model": digest}, run, config, version, builder="https://example.com/trainer")
    statement = audit_test_result({"model": digest}, {"forgotten": "yes", "retained": "unknown"}, config)

Specifications: https://slsa.dev/provenance/v1, https://in-toto.io/attestation/test-result/v0.1.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from myosotis.engine.result import rfc3339
from myosotis.ledger.statements import STATEMENT

Answer = Literal["yes", "no", "unknown"]
"""Answer to a question of a verdict."""

PROVENANCE = "https://slsa.dev/provenance/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
BUILD_TYPE = "urn:myosotis:run:v1"
"""Type of a build: a run of the package, by its kind, method and seed, and the configuration among its dependencies."""

_CONFIG = "config.yaml"


def training_provenance(
    subjects: Mapping[str, str],
    run: Mapping[str, Any],
    config: str,
    version: str,
    *,
    builder: str,
    invocation: str | None = None,
    parent: str | None = None,
    byproducts: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return SLSA provenance v1 of a model that a run left, as an in-toto statement.

    Args:
        subjects: SHA-256 by name: of the model, or of each of its files.
        run: Facts of the run: ``name``, ``kind``, ``method``, ``seed``, ``started`` and ``finished`` are read; others,
            like the operator, are left out.
        config: SHA-256 of the configuration.
        version: Version of the package.
        builder: URI of whoever ran it and is trusted for it; readers accept it from certain keys only.
        invocation: Identifier of the run among all; its name unless given.
        parent: SHA-256 of the model that the run began with; None for a new one.
        byproducts: SHA-256 of further files by name, like the result.

    Raises:
        ValueError: A digest is not SHA-256 in hexadecimal, the builder is not a URI, or a time has no zone.
    """
    if not re.match("[a-z][a-z0-9+.-]*:.", builder):
        raise ValueError(f"the builder is a URI, got {builder!r}")
    dependencies = [_resource(_CONFIG, config)]
    if parent is not None:
        dependencies.append(_resource("model", parent))
    metadata = {
        "invocationId": run["name"] if invocation is None else invocation,
        "startedOn": _time(run.get("started")),
        "finishedOn": _time(run.get("finished")),
    }
    details: dict[str, Any] = {
        "builder": {"id": builder, "version": {"myosotis": version}},
        "metadata": _without_none(metadata),
    }
    if byproducts:
        details["byproducts"] = [_resource(name, digest) for name, digest in byproducts.items()]
    parameters = {**{key: run.get(key) for key in ("kind", "method", "seed")}, "config": _CONFIG}
    predicate = {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": _without_none(parameters),
            "resolvedDependencies": dependencies,
        },
        "runDetails": details,
    }
    return _statement(subjects, PROVENANCE, predicate)


def audit_test_result(
    subjects: Mapping[str, str], answers: Mapping[str, Answer], config: str, url: str | None = None
) -> dict[str, Any]:
    """Return the in-toto test result of an audit, as a statement.

    Args:
        subjects: SHA-256 by name: of the model, or of each of its files.
        answers: Answers to the questions of the verdict, each put so that yes is the good one.
        config: SHA-256 of the configuration of the audit.
        url: Where the report is.

    Raises:
        ValueError: There is no answer, one is neither yes, no nor unknown, or a digest is not SHA-256 in hexadecimal.

    Example:
        >>> statement = audit_test_result({"model": "ab" * 32}, {"forgotten": "yes", "retained": "unknown"}, "cd" * 32)
        >>> statement["predicate"]["result"], statement["predicate"]["warnedTests"]
        ('WARNED', ['retained'])
    """
    tests: dict[str, list[str]] = {"yes": [], "unknown": [], "no": []}
    for question, answer in answers.items():
        if answer not in tests:
            raise ValueError(f"the answer to {question!r} is yes, no or unknown, got {answer!r}")
        tests[answer].append(question)
    if not answers:
        raise ValueError("an audit answers at least one question")
    predicate = {
        "result": "FAILED" if tests["no"] else "WARNED" if tests["unknown"] else "PASSED",
        "configuration": [_resource(_CONFIG, config)],
        "passedTests": tests["yes"],
        "warnedTests": tests["unknown"],
        "failedTests": tests["no"],
    }
    return _statement(subjects, TEST_RESULT, predicate if url is None else {**predicate, "url": url})


def _statement(subjects: Mapping[str, str], kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    if not subjects:
        raise ValueError("a statement is about at least one subject")
    subject = [_resource(name, digest) for name, digest in subjects.items()]
    return {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}


def _resource(name: str, digest: str) -> dict[str, Any]:
    if not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"the digest of {name!r} is SHA-256 in 64 hexadecimal digits, got {digest!r}")
    return {"name": name, "digest": {"sha256": digest}}


def _time(text: str | None) -> str | None:
    """A time in UTC, as in-toto writes it."""
    if text is None:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"a time has a zone, got {text!r}")
    return rfc3339(moment.astimezone(UTC))


def _without_none(content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}
