"""Signed notes: the examples of the specification and of Go's package, and what must be refused."""

import pytest
from securesystemslib.signer import CryptoSigner

from myosotis.ledger.notes import (
    COSIGNATURE,
    MAX_BYTES,
    MAX_SIGNATURES,
    Note,
    NoteError,
    NoteKey,
    decode_base64,
    key_of,
    parse_size,
    sign_note,
    verify_note,
)

FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
MESSAGE = """This is an example message.

— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=
"""
POEM = """Ognuno sta solo sul cuor della terra
trafitto da un raggio di sole:

ed è subito sera.

— quasimodo.example/salvatore NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=
"""  # noqa: E501
GO = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PROBLEM = """If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
"""
WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
"""A key of a public witness, of type 4."""


@pytest.fixture(scope="module")
def signed():
    signer = CryptoSigner.generate_ed25519()
    return sign_note("one\n\ntwo\n", signer, "example.com/é"), key_of(signer, "example.com/é")


@pytest.mark.parametrize(("key", "content"), [(FOO, MESSAGE), (GO, PROBLEM)])
def test_known_signatures(key, content):
    note = Note.parse(content.encode())
    assert verify_note(note, [NoteKey.parse(key)]) == [NoteKey.parse(key)]
    assert bytes(note) == content.encode()


def test_the_last_empty_line_separates_the_signatures():
    note = Note.parse(POEM.encode())
    assert note.text.endswith("sole:\n\ned è subito sera.\n")
    assert note.signatures[0].identifier.hex() == "367ba04b"


@pytest.mark.parametrize("text", [FOO, GO, WITNESS])
def test_known_identifiers_of_keys(text):
    assert str(NoteKey.parse(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/foo",
        FOO.replace("530d903a", "530d903b"),
        FOO.replace("530d903a", "530D903A"),
        FOO.replace("+Aeky", "+Beky"),
        FOO[:-1],
        FOO + "=",
        "x" + FOO,
    ],
)
def test_a_damaged_verifier_key_is_refused(text):
    with pytest.raises(NoteError):
        NoteKey.parse(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\u2028b", "a\u3000b", "a\nb", "a\x00b", "\ud800"])
def test_a_name_that_a_line_cannot_have_is_refused(name, signed):
    _, key = signed
    with pytest.raises(NoteError, match="name of a key"):
        NoteKey(name, key.public)
    if "\ud800" not in name:
        content = bytes(signed[0]).replace("example.com/é".encode(), name.encode())
        with pytest.raises(NoteError):
            Note.parse(content)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"text\n",
        b"text\n\n",
        b"text\n" + MESSAGE.encode().partition(b"\n\n")[2],
        MESSAGE.encode()[:-1],
        MESSAGE.encode() + b"\n",
        MESSAGE.encode() + b"more\n",
        MESSAGE.encode().replace(b"\n\n", b"\r\n\r\n"),
        MESSAGE.encode().replace(b"example message", b"example\tmessage"),
        MESSAGE.encode().replace(b"example message", b"example\xff"),
        MESSAGE.replace("—", "-").encode(),
        MESSAGE.replace("— ", "—  ").encode(),
        MESSAGE.replace("foo ", "foo  ").encode(),
        MESSAGE.replace("aQM=", "aQM=x").encode(),
        MESSAGE.replace("aQM=", "aQN=").encode(),
        MESSAGE.replace("aQM=", "aQM").encode(),
        b"text\n\n" + "— a AAAAAA==\n".encode(),
        b"text\n\n" + "— a AAAAAAA=\n".encode() * (MAX_SIGNATURES + 1),
        b"x" * MAX_BYTES + MESSAGE.encode(),
    ],
)
def test_a_malformed_note_is_refused(content):
    with pytest.raises(NoteError):
        verify_note(Note.parse(content), [NoteKey.parse(FOO)])


def test_any_changed_byte_is_refused(signed):
    note, key = signed
    content = bytes(note)
    for index in range(len(content)):
        for other in {content[index] ^ 1, content[index] ^ 0x20, 0x0A, 0x00} - {content[index]}:
            with pytest.raises(NoteError):
                verify_note(Note.parse(content[:index] + bytes([other]) + content[index + 1 :]), [key])
        with pytest.raises(NoteError):
            verify_note(Note.parse(content[:index] + content[index + 1 :]), [key])


def test_unknown_signatures_are_ignored_and_wrong_ones_are_not(signed):
    note, key = signed
    stranger = Note.parse(MESSAGE.encode()).signatures[0]
    same_name = type(stranger)(key.name, b"\0\0\0\0", stranger.content)
    same_identifier = type(stranger)("else", key.identifier, stranger.content)
    extended = Note(note.text, (stranger, same_name, same_identifier, *note.signatures))
    assert verify_note(Note.parse(bytes(extended)), [key]) == [key]
    wrong = type(stranger)(key.name, key.identifier, stranger.content)
    with pytest.raises(NoteError, match="does not match"):
        verify_note(Note(note.text, (*note.signatures, wrong)), [key])
    with pytest.raises(NoteError, match="by none of the trusted keys"):
        verify_note(note, [NoteKey.parse(FOO)])


def test_a_key_that_signs_twice_is_returned_once(signed):
    note, key = signed
    assert verify_note(Note(note.text, note.signatures * 2), [key, key]) == [key]


def test_a_key_of_another_type_did_not_sign(signed):
    note, key = signed
    cosigner = NoteKey(key.name, key.public, COSIGNATURE)
    assert cosigner.identifier != key.identifier
    with pytest.raises(NoteError, match="by none"):
        verify_note(note, [cosigner])


@pytest.mark.parametrize("text", ["no newline", "a\tb\n", "\ud800\n"])
def test_text_that_a_note_cannot_have_is_not_signed(text):
    with pytest.raises(NoteError):
        sign_note(text, CryptoSigner.generate_ed25519(), "a")


def test_only_ed25519_keys_sign_notes():
    with pytest.raises(NoteError, match="Ed25519"):
        sign_note("a\n", CryptoSigner.generate_ecdsa(), "a")


@pytest.mark.parametrize(
    "text", ["", "00", "01", "-1", "+1", "1 ", "1_0", "٣", "1.0", "9" * 19, str(2**63), "9" * 5000]
)
def test_a_size_has_one_spelling(text):
    with pytest.raises(NoteError, match="size of a tree"):
        parse_size(text)
    assert parse_size("0") == 0
    assert parse_size(str(2**63 - 1)) == 2**63 - 1


@pytest.mark.parametrize("text", ["QQ", "QR==", "QQ==\n", "Q Q=", "QQ-_", "é"])
def test_base64_has_one_spelling(text):
    with pytest.raises(NoteError, match="base64"):
        decode_base64(text)
