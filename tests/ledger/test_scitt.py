"""Lines as statements of SCITT: round trips, the verifier of another package, and what must be refused.

They need ``pip install 'myosotis[scitt]'``, and the verifier of others ``pip install cwt``.
"""

import pytest
from securesystemslib.signer import CryptoSigner

from myosotis.engine.extras import MissingExtraError
from myosotis.ledger.envelopes import EnvelopeError
from myosotis.ledger.merkle import inclusion_paths, leaf_hash
from myosotis.ledger.scitt import CONTENT_TYPE, make_receipt, sign_statement, verify_statement, with_receipts

ISSUER, LOG = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
LINES = [b'{"payload":"%d"}' % number for number in range(7)]
LEAVES = [leaf_hash(line) for line in LINES]


@pytest.fixture
def cbor():
    return pytest.importorskip("cbor2")


def statement(index=4, signer=ISSUER):
    return sign_statement(LINES[index], signer, "example.com/team", "urn:sha256:ab")


def receipt(index=4, signer=LOG, leaves=LEAVES):
    return make_receipt(leaves, index, signer, "myosotis/0123", "urn:sha256:ab")


def verified(content):
    return verify_statement(content, [ISSUER.public_key], [LOG.public_key])


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("myosotis.engine.extras.find_spec", lambda _: None)
    for function in (statement, receipt, lambda: with_receipts(b"", [b""]), lambda: verified(b"")):
        with pytest.raises(MissingExtraError, match=r"needs cbor2, .*'myosotis\[scitt\]'"):
            function()


@pytest.mark.parametrize("index", range(7))
def test_a_statement_with_its_receipt_holds(index, cbor):
    (one,) = verified(with_receipts(statement(index), [receipt(index)]))
    assert (one.line, one.index, one.size) == (LINES[index], index, 7)
    assert (one.issuer, one.subject, one.log) == ("example.com/team", "urn:sha256:ab", "myosotis/0123")


def test_the_numbers_are_those_of_the_standards(cbor):
    content = cbor.loads(with_receipts(statement(), [receipt()]))
    protected, unprotected, payload, signature = content.value
    header = cbor.loads(protected)
    assert (content.tag, payload, len(signature), list(unprotected)) == (18, LINES[4], 64, [394])
    assert {key: header[key] for key in (1, 3, 15)} == {
        1: -8,
        3: CONTENT_TYPE,
        15: {1: "example.com/team", 2: "urn:sha256:ab"},
    }
    one = cbor.loads(unprotected[394][0])
    protected, unprotected, payload, _ = one.value
    header = cbor.loads(protected)
    assert (one.tag, payload, header[1], header[395], header[15][1]) == (18, None, -8, 1, "myosotis/0123")
    assert cbor.loads(unprotected[396][-1][0]) == [7, 4, inclusion_paths(LEAVES)[1][4]]


def test_another_package_verifies_both_signatures(cbor):
    cwt = pytest.importorskip("cwt")
    root, _ = inclusion_paths(LEAVES)
    content = with_receipts(statement(), [receipt()])
    for message, signer, payload in ((content, ISSUER, None), (receipt(), LOG, root)):
        public = bytes.fromhex(signer.public_key.keyval["public"])
        identifier = cbor.loads(cbor.loads(message).value[0])[4]
        key = cwt.COSEKey.new({1: 1, 2: identifier, 3: -8, -1: 6, -2: public})
        reader = cwt.COSE.new(verify_kid=True)
        header, _, _ = reader.decode_with_headers(message, key, detached_payload=payload)
        assert header[4] == identifier
        changed = message[:-1] + bytes([message[-1] ^ 1])
        with pytest.raises(cwt.VerifyError):
            reader.decode_with_headers(changed, key, detached_payload=payload)


def test_what_another_package_signs_is_verified(cbor):
    cwt = pytest.importorskip("cwt")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from securesystemslib.signer import SSlibKey

    private = Ed25519PrivateKey.generate()
    public = SSlibKey.from_crypto(private.public_key())
    identifier = cbor.loads(cbor.loads(statement(signer=CryptoSigner(private))).value[0])[4]
    key = cwt.COSEKey.new(
        {1: 1, 3: -8, -1: 6, -2: bytes.fromhex(public.keyval["public"]), -4: private.private_bytes_raw()}
    )
    header = {1: -8, 3: CONTENT_TYPE, 4: identifier, 15: {1: "a", 2: "b"}}
    content = cwt.COSE.new().encode_and_sign(LINES[4], key, protected=header, unprotected={})
    (one,) = verify_statement(with_receipts(content, [receipt()]), [public], [LOG.public_key])
    assert (one.issuer, one.index) == ("a", 4)


def test_a_changed_byte_is_refused(cbor):
    content = with_receipts(statement(), [receipt()])
    for index in range(len(content)):
        for other in {content[index] ^ 1, content[index] ^ 0x80, 0}:
            if other != content[index]:
                with pytest.raises(EnvelopeError):
                    verified(content[:index] + bytes([other]) + content[index + 1 :])
        with pytest.raises(EnvelopeError):
            verified(content[:index])
    with pytest.raises(EnvelopeError, match="after its end"):
        verified(content + b"\0")


def test_another_line_index_or_log_is_refused(cbor):
    with pytest.raises(EnvelopeError, match="does not hold"):
        verified(with_receipts(statement(3), [receipt(4)]))
    other = [*LEAVES[:4], leaf_hash(b"other"), *LEAVES[5:]]
    with pytest.raises(EnvelopeError, match="does not hold"):
        verified(with_receipts(statement(), [receipt(leaves=other)]))
    with pytest.raises(EnvelopeError, match="no receipt of a trusted log"):
        verified(with_receipts(statement(), [receipt(signer=ISSUER)]))
    with pytest.raises(EnvelopeError, match="none of the given keys"):
        verified(with_receipts(statement(signer=LOG), [receipt()]))
    with pytest.raises(EnvelopeError, match="no receipt of a trusted log"):
        verified(statement())


def test_receipts_of_strangers_are_ignored(cbor):
    stranger = receipt(signer=CryptoSigner.generate_ed25519())
    content = with_receipts(statement(), [stranger, receipt(), receipt(leaves=LEAVES[:5])])
    assert [one.size for one in verified(content)] == [7, 5]


def test_a_header_that_is_not_understood_is_refused(cbor):
    def changed(number, value):
        protected, unprotected, payload, _ = cbor.loads(statement()).value
        header = cbor.dumps({**cbor.loads(protected), number: value})
        signature = ISSUER.sign(cbor.dumps(["Signature1", header, b"", payload])).signature
        content = cbor.dumps(cbor.CBORTag(18, [header, unprotected, payload, bytes.fromhex(signature)]))
        return with_receipts(content, [receipt()])

    assert verified(changed(99, "ignored"))
    assert verified(changed(1, -19))
    for number, value, reason in (
        (1, -7, "not signed with Ed25519"),
        (2, [99], "critical"),
        (3, "text/plain", "of type 'text/plain'"),
        (15, {1: "a"}, "issuer and its subject"),
        (4, 7, "damaged"),
    ):
        with pytest.raises(EnvelopeError, match=reason):
            verified(changed(number, value))


@pytest.mark.parametrize(
    "proof", [[7, 4], [7, 4, []], [7, 4, [b"x"]], [7, "4", [b"x" * 32]], [7, 9, [b"x" * 32] * 3], 7]
)
def test_a_damaged_proof_is_refused(proof, cbor):
    protected, _, payload, signature = cbor.loads(receipt()).value
    message = cbor.CBORTag(18, [protected, {396: {-1: [cbor.dumps(proof)]}}, payload, signature])
    with pytest.raises(EnvelopeError):
        verified(with_receipts(statement(), [cbor.dumps(message)]))


def test_what_cannot_be_made(cbor):
    with pytest.raises(ValueError, match="at least two lines, got index 0 of 1"):
        receipt(0, leaves=LEAVES[:1])
    with pytest.raises(ValueError, match="got index 7 of 7"):
        receipt(7)
    with pytest.raises(ValueError, match="issuer and its subject"):
        sign_statement(b"", ISSUER, "", "a")
    with pytest.raises(ValueError, match="at least one receipt"):
        with_receipts(statement(), [])
    with pytest.raises(ValueError, match="Ed25519"):
        statement(signer=CryptoSigner.generate_ecdsa())
