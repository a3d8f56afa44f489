"""Provenance and test results: the fields that the specifications require, and in the slow tier their own schemas."""

import json

import pytest

from myosotis.ledger.envelopes import LINE, opened, sealed
from myosotis.ledger.provenance import audit_test_result, training_provenance

MODEL, CONFIG, PARENT, RESULT = ("ab" * 32, "cd" * 32, "ef" * 32, "01" * 32)
RUN = {
    "name": "forget-alice",
    "kind": "unlearn-language",
    "method": "NPO",
    "seed": 0,
    "started": "2026-05-04T03:02:01.5+02:00",
    "finished": "2026-05-04T01:03:00Z",
    "operator": "Alice Example",
}


def provenance(run=RUN, **more):
    return training_provenance({"model": MODEL}, run, CONFIG, "0.1.0", builder="https://example.com/trainer", **more)


def test_provenance_of_a_run():
    statement = provenance(invocation="0123/4", parent=PARENT, byproducts={"result.json": RESULT})
    assert statement == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "model", "digest": {"sha256": MODEL}}],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": "urn:myosotis:run:v1",
                "externalParameters": {
                    "kind": "unlearn-language",
                    "method": "NPO",
                    "seed": 0,
                    "config": "config.yaml",
                },
                "resolvedDependencies": [
                    {"name": "config.yaml", "digest": {"sha256": CONFIG}},
                    {"name": "model", "digest": {"sha256": PARENT}},
                ],
            },
            "runDetails": {
                "builder": {"id": "https://example.com/trainer", "version": {"myosotis": "0.1.0"}},
                "metadata": {
                    "invocationId": "0123/4",
                    "startedOn": "2026-05-04T01:02:01Z",
                    "finishedOn": "2026-05-04T01:03:00Z",
                },
                "byproducts": [{"name": "result.json", "digest": {"sha256": RESULT}}],
            },
        },
    }


def test_no_person_is_named():
    assert "Example" not in json.dumps(provenance())


def test_what_is_unknown_is_left_out():
    predicate = provenance({"name": "a", "kind": "learn", "method": None, "seed": None})["predicate"]
    assert predicate["buildDefinition"]["externalParameters"] == {"kind": "learn", "config": "config.yaml"}
    assert predicate["runDetails"]["metadata"] == {"invocationId": "a"}
    assert len(predicate["buildDefinition"]["resolvedDependencies"]) == 1
    assert "byproducts" not in predicate["runDetails"]


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ({"a": "yes"}, "PASSED"),
        ({"a": "yes", "b": "unknown"}, "WARNED"),
        ({"a": "yes", "b": "unknown", "c": "no"}, "FAILED"),
        ({"c": "no"}, "FAILED"),
    ],
)
def test_the_result_is_that_of_the_worst_answer(answers, result):
    statement = audit_test_result({"model": MODEL}, answers, CONFIG, url="https://example.com/report")
    predicate = statement["predicate"]
    assert statement["predicateType"] == "https://in-toto.io/attestation/test-result/v0.1"
    assert (predicate["result"], predicate["url"]) == (result, "https://example.com/report")
    assert predicate["configuration"] == [{"name": "config.yaml", "digest": {"sha256": CONFIG}}]
    lists = {"yes": "passedTests", "unknown": "warnedTests", "no": "failedTests"}
    for answer, name in lists.items():
        assert predicate[name] == [question for question, other in answers.items() if other == answer]


def test_wrong_values_are_refused():
    with pytest.raises(ValueError, match="'model' is SHA-256"):
        audit_test_result({"model": "abc"}, {"a": "yes"}, CONFIG)
    with pytest.raises(ValueError, match="at least one question"):
        audit_test_result({"model": MODEL}, {}, CONFIG)
    with pytest.raises(ValueError, match="'a' is yes, no or unknown, got True"):
        audit_test_result({"model": MODEL}, {"a": True}, CONFIG)
    with pytest.raises(ValueError, match="at least one subject"):
        audit_test_result({}, {"a": "yes"}, CONFIG)
    with pytest.raises(ValueError, match="builder is a URI"):
        training_provenance({"model": MODEL}, RUN, CONFIG, "1", builder="me")
    with pytest.raises(ValueError, match="has a zone"):
        provenance({**RUN, "started": "2026-05-04T03:02:01"})


def test_statements_are_signed_like_lines(signer):
    statement = audit_test_result({"model": MODEL}, {"a": "yes"}, CONFIG)
    assert opened(sealed(statement, LINE, signer), LINE, [signer.public_key])[0] == statement


@pytest.mark.slow
def test_the_schemas_of_in_toto_know_every_field():
    pytest.importorskip("in_toto_attestation")
    from google.protobuf.json_format import MessageToDict, Parse
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.predicates.test_result.v0.test_result_pb2 import TestResult
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    built = provenance(parent=PARENT, byproducts={"result.json": RESULT})
    tested = audit_test_result(
        {"model": MODEL}, {"a": "yes", "b": "no", "c": "unknown"}, CONFIG, url="https://a.example"
    )
    for statement, schema in ((built, Provenance), (tested, TestResult)):
        Statement.copy_from_pb(Parse(json.dumps(statement), Message())).validate()
        assert MessageToDict(Parse(json.dumps(statement["predicate"]), schema())) == statement["predicate"]
