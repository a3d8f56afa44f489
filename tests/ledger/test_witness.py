"""A witness: cosigns what continues, refuses forks, roll-backs and damage, in one process and in several."""

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor

import pytest
from securesystemslib.signer import CryptoSigner

from myosotis.engine.errors import InputError
from myosotis.ledger import merkle_root
from myosotis.ledger.checkpoints import Checkpoint, add_cosignatures, sign_checkpoint, verify_checkpoint
from myosotis.ledger.merkle import consistency_proof, leaf_hash
from myosotis.ledger.notes import MAX_BYTES, MAX_SIGNATURES, NoteError, key_of
from myosotis.ledger.witness import RefusedError, Request, Witness

ORIGIN = "myosotis/0123"
LOG, OWN = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
LOG_KEY = key_of(LOG, ORIGIN)
ENTRIES = [bytes([number]) for number in range(9)]


def checkpoint(entries, signer=LOG, origin=ORIGIN):
    return sign_checkpoint(Checkpoint(origin, len(entries), merkle_root(entries)), signer)


def request(old, entries=ENTRIES, signer=LOG):
    proof = consistency_proof([leaf_hash(entry) for entry in entries], old)
    return bytes(Request(old, tuple(proof), checkpoint(entries, signer)))


@pytest.fixture
def witness(tmp_path):
    return Witness(tmp_path / "witness.json", OWN, "example.com/w1", {ORIGIN: [LOG_KEY]})


def refusal(witness, content):
    before = witness.path.read_bytes() if witness.path.exists() else None
    with pytest.raises(RefusedError) as error:
        witness.add_checkpoint(content, 1)
    assert (witness.path.read_bytes() if witness.path.exists() else None) == before
    return error.value


def test_a_growing_log_is_cosigned(witness):
    old = 0
    for time, size in enumerate((0, 0, 1, 2, 2, 5, 9), start=1):
        answer = witness.add_checkpoint(request(old, ENTRIES[:size]), time)
        note = add_cosignatures(checkpoint(ENTRIES[:size]), answer, [witness.key])
        assert verify_checkpoint(note, ORIGIN, [LOG_KEY], [witness.key])[1] == {witness.key: time}
        assert witness.newest(ORIGIN) == note
        old = size


def test_first_contact_may_be_at_any_size(witness):
    assert witness.newest(ORIGIN) is None
    assert witness.add_checkpoint(request(0), 5).decode().startswith("— example.com/w1 ")


def test_the_state_outlives_the_witness(witness):
    witness.add_checkpoint(request(0, ENTRIES[:3]), 1)
    again = Witness(witness.path, OWN, "example.com/w1", {ORIGIN: [LOG_KEY]})
    assert refusal(again, request(0, ENTRIES[:2])).size == 3
    again.add_checkpoint(request(3, ENTRIES[:4]), 2)


def test_a_rollback_is_refused(witness):
    witness.add_checkpoint(request(0, ENTRIES[:5]), 1)
    conflict = refusal(witness, request(0, ENTRIES[:4]))
    assert (conflict.status, conflict.size) == (409, 5)
    assert refusal(witness, request(4, ENTRIES[:4])).status == 409
    assert refusal(witness, bytes(Request(5, (), checkpoint(ENTRIES[:4])))).status == 400


def test_a_fork_is_refused(witness):
    witness.add_checkpoint(request(0, ENTRIES[:5]), 1)
    fork = [*ENTRIES[:4], b"x", *ENTRIES[5:]]
    assert refusal(witness, request(5, fork[:5])).status == 422
    assert refusal(witness, request(5, fork)).status == 422
    honest = consistency_proof([leaf_hash(entry) for entry in ENTRIES], 5)
    assert refusal(witness, bytes(Request(5, tuple(honest), checkpoint(fork)))).status == 422
    assert refusal(witness, bytes(Request(5, tuple(honest[:-1]), checkpoint(ENTRIES)))).status == 422
    assert refusal(witness, bytes(Request(5, (), checkpoint(ENTRIES)))).status == 422
    witness.add_checkpoint(request(5), 2)


def test_a_proof_from_nothing_is_empty(witness):
    assert refusal(witness, bytes(Request(0, (b"x" * 32,), checkpoint(ENTRIES)))).status == 422


def test_an_empty_log_has_the_root_of_no_entries(witness):
    wrong = sign_checkpoint(Checkpoint(ORIGIN, 0, b"x" * 32), LOG)
    assert refusal(witness, bytes(Request(0, (), wrong))).status == 422


def test_only_the_log_is_cosigned(witness):
    stranger = CryptoSigner.generate_ed25519()
    assert refusal(witness, request(0, signer=stranger)).status == 403
    unknown = bytes(Request(0, (), checkpoint(ENTRIES, origin="myosotis/9")))
    assert refusal(witness, unknown).status == 404
    note = checkpoint(ENTRIES)
    forged = note + note.splitlines(keepends=True)[-1].replace(note[-10:-5], b"AAAAA")
    assert refusal(witness, bytes(Request(0, (), forged))).status == 403


def test_other_signatures_are_ignored_and_not_stored(witness):
    note = checkpoint(ENTRIES)
    other = checkpoint(ENTRIES, CryptoSigner.generate_ed25519()).splitlines(keepends=True)[-1]
    witness.add_checkpoint(bytes(Request(0, (), note + other)), 1)
    assert other not in witness.newest(ORIGIN)


def test_a_client_cannot_make_the_state_unreadable(witness):
    """Lines of the log's signature are public, so anybody can send a hundred of them."""
    note = checkpoint(ENTRIES)
    content = note + note.splitlines(keepends=True)[-1] * (MAX_SIGNATURES - 1)
    witness.add_checkpoint(bytes(Request(0, (), content)), 1)
    assert witness.newest(ORIGIN).count("— ".encode()) == 2
    witness.add_checkpoint(request(9), 2)
    spare = MAX_BYTES - len(bytes(Request(9, (), note))) - 1
    long = sign_checkpoint(Checkpoint(ORIGIN, 9, merkle_root(ENTRIES), ("x" * spare,)), LOG)
    refused = refusal(witness, bytes(Request(9, (), long)))
    assert (refused.status, "more than" in str(refused)) == (400, True)


def test_logs_do_not_touch_each_other(tmp_path):
    second = CryptoSigner.generate_ed25519()
    logs = {ORIGIN: [LOG_KEY], "other": [key_of(second, "other")]}
    witness = Witness(tmp_path / "witness.json", OWN, "w", logs)
    witness.add_checkpoint(request(0), 1)
    witness.add_checkpoint(bytes(Request(0, (), checkpoint([b"z"], second, "other"))), 2)
    assert (b"\n9\n" in witness.newest(ORIGIN), b"\n1\n" in witness.newest("other")) == (True, True)
    # The log of one origin cannot speak for the other.
    assert refusal(witness, bytes(Request(1, (), checkpoint([b"y"], LOG, "other")))).status == 403


def test_a_request_is_read_as_it_was_written():
    parsed = Request.parse(request(5))
    assert (parsed.old_size, len(parsed.proof), parsed.checkpoint) == (5, 5, checkpoint(ENTRIES))
    assert bytes(parsed) == request(5)
    assert bytes(Request(0, (), b"x")) == b"old 0\n\nx"


NOTE = checkpoint(ENTRIES)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        NOTE,
        b"old 0\n" + NOTE,
        b"old 00\n\n" + NOTE,
        b"old -1\n\n" + NOTE,
        b"old  0\n\n" + NOTE,
        b"Old 0\n\n" + NOTE,
        b"old 0\r\n\r\n" + NOTE,
        b"\nold 0\n\n" + NOTE,
        b"old 5\nAAAA\n\n" + NOTE,
        b"old 5\nnot base64\n\n" + NOTE,
        b"old 5\n\xc3\xa9\n\n" + NOTE,
        b"old 5\n" + b"A" * 43 + b"=\n" * 64 + b"\n" + NOTE,
        bytes(Request(5, (b"x" * 32,) * 64, NOTE)),
        b"old 0\n\n",
        b"old 0\n\n" + NOTE[:-1],
        b"old 0\n\n" + b"x" * (1 << 20) + NOTE,
    ],
)
def test_a_malformed_request_is_refused(witness, content):
    assert refusal(witness, content).status == 400


def test_the_longest_proof_is_read():
    assert len(Request.parse(bytes(Request(5, (b"x" * 32,) * 63, NOTE))).proof) == 63
    with pytest.raises(NoteError, match="at most 63"):
        Request.parse(bytes(Request(5, (b"x" * 32,) * 64, NOTE)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: "",
        lambda content: "{}",
        lambda content: "[]",
        lambda content: '{"checkpoints": {"myosotis/0123": 3}}',
        lambda content: content.replace("\\n9\\n", "\\n09\\n"),
        lambda content: json.dumps({"checkpoints": {"other": json.loads(content)["checkpoints"][ORIGIN]}}),
    ],
)
def test_a_damaged_state_is_not_an_empty_one(witness, damage):
    witness.add_checkpoint(request(0), 1)
    witness.path.write_text(damage(witness.path.read_text()))
    with pytest.raises(InputError, match=r"witness\.json"):
        witness.add_checkpoint(request(0), 2)


def test_nothing_is_cosigned_that_is_not_stored(witness, monkeypatch):
    def full(*_):
        raise OSError("no space left")

    monkeypatch.setattr("myosotis.ledger.witness.write_json", full)
    with pytest.raises(OSError, match="no space"):
        witness.add_checkpoint(request(0), 1)


def test_a_state_needs_a_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Witness(tmp_path / "missing" / "witness.json", OWN, "w", {})


def race(path, number):
    witness = Witness(path, OWN, "example.com/w1", {ORIGIN: [LOG_KEY]})
    try:
        return witness.add_checkpoint(request(1, [ENTRIES[0], bytes([99, number])]), 2)
    except RefusedError as error:
        return error.status


def test_of_forks_that_race_one_is_cosigned(witness):
    witness.add_checkpoint(request(0, ENTRIES[:1]), 1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: race(witness.path, number), range(16)))
    assert sorted(answer == 409 for answer in answers) == [False] + 15 * [True]


@pytest.mark.processes
def test_of_forks_that_race_in_processes_one_is_cosigned(witness):
    witness.add_checkpoint(request(0, ENTRIES[:1]), 1)
    with multiprocessing.get_context("fork").Pool(4) as pool:
        answers = pool.starmap(race, [(witness.path, number) for number in range(16)])
    assert sorted(answer == 409 for answer in answers) == [False] + 15 * [True]
