"""The ledger's formats against the packages of those who defined them; in the slow tier, and where they are installed.

They need ``pip install in-toto-attestation model-signing pyOpenSSL``: model-signing 1.1.1 imports pyOpenSSL and does
not ask for it. ``cyclonedx-python-lib`` has its test beside the exports.
"""

import json

import pytest

from myosotis.ledger import directory_digest
from myosotis.ledger.destruction import destroy
from myosotis.ledger.releases import claim_of_release

pytestmark = pytest.mark.slow


def test_statements_are_those_of_in_toto(life, signer, claimed, tmp_path):
    pytest.importorskip("in_toto_attestation")
    from dataclasses import replace

    from google.protobuf.json_format import MessageToDict, Parse, ParseError
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Message

    (tmp_path / "old.bin").write_bytes(b"old")
    destroy(life, [tmp_path / "old.bin"], signer)
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "net").write_bytes(b"weights")
    subject, files = directory_digest(tmp_path / "model")
    life.append(replace(claimed("forget", "b", "c"), subjects={"model": subject}, files=files), signer)
    claim, branch = claim_of_release(life, tmp_path / "model")
    life.append(claim, signer, branch)
    kinds = []
    for statement in life.statements():
        message = Parse(json.dumps(statement), Message())
        Statement.copy_from_pb(message).validate()
        kinds.append(statement["predicateType"].split(":")[3])
        # Nothing is lost; whole numbers are doubles in protobuf, which is why statements are not written by it.
        assert MessageToDict(message) == statement
    assert kinds == ["learn", "forget", "audit", "destroy", "forget", "release"]
    with pytest.raises(ParseError):
        Parse(json.dumps({**statement, "more": 1}), Message())
    with pytest.raises(ValueError, match="subject"):
        Statement.copy_from_pb(Parse(json.dumps({**statement, "subject": []}), Message())).validate()


def test_digests_of_models_are_those_of_model_signing(tmp_path):
    pytest.importorskip("OpenSSL")
    pytest.importorskip("model_signing")
    from model_signing import hashing
    from model_signing._signing.signing import Payload

    folder = tmp_path / "model"
    # Names that another order than part by part would put elsewhere.
    for number, name in enumerate(("a.bin", "a/b.bin", "a-b.bin", "a/c/d", "Z", "ä", "a b")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(bytes([number]) * 1000)
    (folder / "empty").touch()
    manifest = hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False).hash(folder)
    digest, files = directory_digest(folder)
    assert Payload(manifest).statement.pb.subject[0].digest["sha256"] == digest
    listed = {one.identifier: one.digest.digest_hex for one in manifest.resource_descriptors()}
    assert listed == files
    assert list(listed) == list(files)
