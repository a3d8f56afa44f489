"""Checkpoints and cosignatures: the examples of the specifications, a quorum of witnesses, and what must be refused."""

from contextlib import suppress

import pytest
from hypothesis import given, strategies as st
from securesystemslib.signer import CryptoSigner

from myosotis.ledger import merkle_root
from myosotis.ledger.checkpoints import (
    Checkpoint,
    add_cosignatures,
    cosign,
    sign_checkpoint,
    verify_checkpoint,
    verify_cosignatures,
)
from myosotis.ledger.notes import COSIGNATURE, Note, NoteError, NoteKey, cosigned_message, key_of, verify_note

ORIGIN = "myosotis/0123"
EXAMPLE = """example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==
"""  # noqa: E501
GO = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
"""The key of Go's checksum database, whose checkpoint the example shows under another origin."""

BY_GO = """myosotis/0123
9
FiohwiMOAoTqOMuHOe5Lt1lHoazV1SnGOOwGiWn7PEo=

— myosotis/0123 Honfc2SVaAXCaTRd3dE4mZrx3kJc6iYHLcVAnE2j0KjxAzKe7obZ6/2zWM9SW1otDCLn25ND5y4mQ3y87fPnq0vWLQA=
— go.example/w2 oQbiDQAAAABrDm9CzMSnYz2sYkMldMnRDOYs8dMiJadeSp8AvyamDaAaxGy9eGe7Hmn6oCAvD5gn4KeKG3f07qpKi+ohitqHF7tiDw==
"""
BY_GO_KEYS = [
    "myosotis/0123+1e89df73+AYVyifkrnRYfGPgaTbAU4u8xCLJ4rSYEALC5Da/+5lSL",
    "go.example/w2+a106e20d+BL2ttbAIC9a3spmxeeP+1Dr8AFj32zknMyBF8NT7yowx",
]
"""Signed by this package, and cosigned by github.com/transparency-dev/formats, with keys of these tests alone."""

LOG, FIRST, SECOND = (CryptoSigner.generate_ed25519() for _ in range(3))
LOG_KEY = key_of(LOG, ORIGIN)
ONE, TWO = key_of(FIRST, "example.com/w1", COSIGNATURE), key_of(SECOND, "example.com/w2", COSIGNATURE)
NOTE = sign_checkpoint(Checkpoint(ORIGIN, 2, merkle_root([b"a", b"b"])), LOG)


def cosigned(*lines):
    return NOTE + "".join(map(str, lines)).encode()


def test_the_example_of_the_specification():
    note = Note.parse(EXAMPLE.encode())
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert checkpoint.text() == note.text
    assert int.from_bytes(note.signatures[1].content[:8], "big") == 1679315147
    real = EXAMPLE.replace("example.com/behind-the-sofa\n", "go.sum database tree\n")
    real = real.replace("example.com/behind-the-sofa", "sum.golang.org")
    assert verify_note(Note.parse(real.encode()), [NoteKey.parse(GO)]) == [NoteKey.parse(GO)]
    checkpoint, times = verify_checkpoint(real.encode(), "go.sum database tree", [NoteKey.parse(GO)], [ONE])
    assert (checkpoint.size, times) == (20852163, {})


def test_a_cosignature_of_another_implementation():
    log, witness = map(NoteKey.parse, BY_GO_KEYS)
    checkpoint, times = verify_checkpoint(BY_GO.encode(), ORIGIN, [log], [witness])
    assert (checkpoint.size, times) == (9, {witness: 1796108098})


def test_the_message_of_the_specification():
    text = EXAMPLE.partition("\n\n")[0] + "\n"
    assert cosigned_message(text, 1679315147) == (
        b"cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n"
        b"CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n"
    )


@given(
    st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=1),
    st.integers(0, 2**63 - 1),
    st.binary(min_size=32, max_size=32),
    st.lists(st.text(st.characters(min_codepoint=32, codec="utf-8"), min_size=1), max_size=3),
)
def test_a_checkpoint_is_read_as_it_was_written(origin, size, root, extensions):
    checkpoint = Checkpoint(origin, size, root, tuple(extensions))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"a\n1\n{ROOT}",
        f"\n1\n{ROOT}\n",
        "a\n1\n",
        f"a\n\n{ROOT}\n",
        f"a\n01\n{ROOT}\n",
        f"a\n-1\n{ROOT}\n",
        f"a\n 1\n{ROOT}\n",
        f"a\n1\n{ROOT[:-1]}\n",
        f"a\n1\n{ROOT[:-4]}\n",
        f"a\n1\n{ROOT.replace('2I=', '2J=')}\n",
        f"a\n1\n{ROOT}\n\n",
        f"a\n1\n{ROOT}\n\nmore\n",
        f"a\n1\r\n{ROOT}\n",
    ],
)
def test_a_malformed_checkpoint_is_refused(text):
    with pytest.raises(NoteError):
        Checkpoint.parse(text)


@pytest.mark.parametrize(
    "parts", [("", 1, b"r" * 32), ("a\nb", 1, b"r" * 32), ("a", -1, b"r" * 32), ("a", 2**63, b"r" * 32), ("a", 1, b"r")]
)
def test_a_checkpoint_that_cannot_be_written_is_refused(parts):
    with pytest.raises(NoteError):
        Checkpoint(*parts)
    with pytest.raises(NoteError):
        Checkpoint("a", 1, b"r" * 32, ("",))


def test_two_witnesses_cosign():
    note = cosigned(cosign(NOTE, FIRST, ONE.name, 1000), cosign(NOTE, SECOND, TWO.name, 2000))
    checkpoint, times = verify_checkpoint(note, ORIGIN, [LOG_KEY], [ONE, TWO])
    assert (checkpoint.size, times) == (2, {ONE: 1000, TWO: 2000})
    assert verify_cosignatures(note, [TWO]) == {TWO: 2000}
    assert verify_cosignatures(NOTE, [ONE, TWO]) == {}


def test_a_witness_counts_once():
    other_name = key_of(FIRST, "example.com/other", COSIGNATURE)
    lines = [
        cosign(NOTE, FIRST, ONE.name, 1000),
        cosign(NOTE, FIRST, other_name.name, 3000),
        cosign(NOTE, FIRST, ONE.name, 2000),
        cosign(NOTE, FIRST, ONE.name, 2000),
    ]
    assert verify_cosignatures(cosigned(*lines), [ONE, other_name, TWO]) == {ONE: 3000}
    assert verify_cosignatures(cosigned(*lines), [ONE, TWO]) == {ONE: 2000}


def test_a_wrong_cosignature_refuses_the_checkpoint():
    other = sign_checkpoint(Checkpoint(ORIGIN, 2, merkle_root([b"a", b"c"])), LOG)
    good, wrong = cosign(NOTE, FIRST, ONE.name, 1000), cosign(other, FIRST, ONE.name, 1000)
    with pytest.raises(NoteError, match="does not match"):
        verify_cosignatures(cosigned(good, wrong), [ONE])
    assert verify_cosignatures(cosigned(wrong), [TWO]) == {}


def test_a_changed_byte_never_gives_another_result():
    note = cosigned(cosign(NOTE, FIRST, ONE.name, 1000), cosign(NOTE, SECOND, TWO.name, 2000))
    results = []
    for index in range(len(note)):
        for other in {note[index] ^ 1, note[index] ^ 0x20, 0x0A} - {note[index]}:
            changed = note[:index] + bytes([other]) + note[index + 1 :]
            with suppress(NoteError):
                results.append(verify_checkpoint(changed, ORIGIN, [LOG_KEY], [ONE, TWO])[1])
    # A line whose name or identifier was changed is a line of somebody unknown.
    assert results
    assert all(times in ({ONE: 1000}, {TWO: 2000}) for times in results)
    for index in range(len(NOTE)):
        with pytest.raises(NoteError):
            verify_checkpoint(NOTE[:index] + bytes([NOTE[index] ^ 1]) + NOTE[index + 1 :], ORIGIN, [LOG_KEY])


def test_a_checkpoint_of_another_log_is_refused():
    with pytest.raises(NoteError, match="of the log 'myosotis/0123', expected 'myosotis/9'"):
        verify_checkpoint(NOTE, "myosotis/9", [LOG_KEY])
    with pytest.raises(NoteError, match="by none"):
        verify_checkpoint(NOTE, ORIGIN, [key_of(FIRST, ORIGIN)])


def test_a_log_is_not_its_own_witness():
    own = key_of(LOG, "example.com/own", COSIGNATURE)
    with pytest.raises(NoteError, match="has the key of the log"):
        verify_checkpoint(cosigned(cosign(NOTE, LOG, own.name, 1)), ORIGIN, [LOG_KEY], [own])


def test_a_plain_key_is_not_a_witness():
    with pytest.raises(NoteError, match="its type is 1, expected 4"):
        verify_cosignatures(NOTE, [LOG_KEY])


@pytest.mark.parametrize("time", [-1, 0, 2**63])
def test_a_time_out_of_range_is_refused(time):
    with pytest.raises(NoteError, match="time of a cosignature"):
        cosign(NOTE, FIRST, ONE.name, time)


def test_a_cosignature_from_the_far_future_is_refused():
    line = cosign(NOTE, FIRST, ONE.name, 1)
    late = type(line)(line.name, line.identifier, b"\xff" * 8 + line.content[8:])
    with pytest.raises(NoteError, match="above"):
        verify_cosignatures(cosigned(late), [ONE])


def test_a_cosignature_covers_further_lines():
    root = merkle_root([b"a"])
    long = sign_checkpoint(Checkpoint(ORIGIN, 1, root, ("more",)), LOG)
    line = cosign(long, FIRST, ONE.name, 5)
    assert verify_cosignatures(long + str(line).encode(), [ONE]) == {ONE: 5}
    short = sign_checkpoint(Checkpoint(ORIGIN, 1, root), LOG)
    with pytest.raises(NoteError, match="does not match"):
        verify_cosignatures(short + str(line).encode(), [ONE])


def test_only_checkpoints_are_cosigned():
    with pytest.raises(NoteError):
        cosign(b"text\n\n" + NOTE.partition(b"\n\n")[2], FIRST, ONE.name, 1)


def test_answers_of_witnesses_are_added():
    stranger = cosign(NOTE, CryptoSigner.generate_ed25519(), "example.com/w1", 7)
    note = add_cosignatures(NOTE, f"{cosign(NOTE, FIRST, ONE.name, 1000)}{stranger}".encode(), [ONE, TWO])
    note = add_cosignatures(note, str(cosign(NOTE, SECOND, TWO.name, 2000)).encode(), [ONE, TWO])
    note = add_cosignatures(note, str(cosign(NOTE, FIRST, ONE.name, 3000)).encode(), [ONE, TWO])
    assert verify_checkpoint(note, ORIGIN, [LOG_KEY], [ONE, TWO])[1] == {ONE: 3000, TWO: 2000}
    assert len(Note.parse(note).signatures) == 3
    with pytest.raises(NoteError, match="no cosignature of a trusted witness"):
        add_cosignatures(NOTE, str(stranger).encode(), [ONE, TWO])
    for damaged in (b"", b"\n", b"\xff", str(stranger).encode()[:-1]):
        with pytest.raises(NoteError):
            add_cosignatures(NOTE, damaged, [ONE, TWO])
