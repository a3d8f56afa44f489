"""Nothing in a ledger can be changed without being noticed."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from securesystemslib.dsse import Envelope

from myosotis.engine.errors import InputError
from myosotis.ledger import Claim, Ledger, Trusted, directory_digest, verify_ledger
from myosotis.ledger.envelopes import HEAD, LINE, canonical, payload_of, sealed
from myosotis.ledger.heads import Head
from myosotis.ledger.keys import make_key, public_pem, read_public
from myosotis.ledger.merkle import Frontier
from myosotis.ledger.statements import Statement

_spec = spec_from_file_location("independent", Path(__file__).with_name("independent.py"))
independent = module_from_spec(_spec)
_spec.loader.exec_module(independent)


def refused_independently(path, trusted, **options):
    """Whether the verifier that was written from VERIFY.md alone refuses a ledger."""
    with TemporaryDirectory() as folder:
        files = {"operators": [], "auditors": []}
        for role, keys in (("operators", trusted.operators), ("auditors", trusted.auditors)):
            for number, key in enumerate(keys):
                files[role].append(Path(folder) / f"{role}-{number}.pub")
                files[role][-1].write_text(public_pem(key))
        try:
            independent.check(path, **files, **options)
        except independent.RefusedError:
            return True
        return False


def outcome(ledger, trusted, *, alone=False, **options):
    """The name of the check that failed; None if all hold. The independent verifier must agree.

    Args:
        ledger: The ledger.
        trusted: Keys.
        alone: Whether only the package is asked.
        options: Options of both.
    """
    checks = list(verify_ledger(ledger.path, trusted, **options))
    if not alone and "since" not in options:
        assert refused_independently(ledger.path, trusted, **options) is not checks[-1].holds, checks[-1]
    return None if checks[-1].holds else checks[-1].name


@pytest.fixture
def keys(life):
    return Trusted(*([read_public(life.path / "keys" / f"{name}.pub")] for name in ("operator", "auditor")))


def test_every_byte_counts(life, keys):
    """Of every file in the folder, each byte in turn is changed; of VERIFY.md, which is hashed, each thirtieth."""
    files = sorted(path for path in life.path.rglob("*") if path.is_file())
    assert len(files) == 5
    unnoticed = []
    for path in files:
        content = path.read_bytes()
        for index in range(0, len(content), 30 if path.name == "VERIFY.md" else 1):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
            if outcome(life, keys, alone=index % 30 > 0) is None:
                unnoticed.append((path.name, index))
        path.write_bytes(content)
    assert unnoticed == []
    assert outcome(life, keys) is None


def test_every_length_counts(life, keys):
    log = life.path / "log.intoto.jsonl"
    content = log.read_bytes()
    for length in range(0, len(content), 7):
        log.write_bytes(content[:length])
        assert outcome(life, keys) is not None, length
    for more in (b"\n", b" ", content.splitlines()[2] + b"\n"):
        log.write_bytes(content + more)
        assert outcome(life, keys) is not None, more


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ((0, 1), "head"),
        ((0,), "head"),
        ((), "head"),
        ((1, 2), "order"),
        ((0, 2), "order"),
        ((0, 2, 1), "order"),
        ((0, 1, 1, 2), "order"),
        ((0, 1, 2, 2), "order"),
    ],
)
def test_lines_that_are_dropped_swapped_or_repeated(life, keys, order, expected):
    log = life.path / "log.intoto.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[index] for index in order))
    assert outcome(life, keys) == expected


def test_a_line_of_another_ledger_of_the_same_operator(life, keys, signer, claimed, tmp_path):
    other = Ledger.create(tmp_path / "other", signer)
    other.append(claimed("learn", None, "a"), signer)
    lines = (life.path / "log.intoto.jsonl").read_bytes().splitlines(keepends=True)
    foreign = (other.path / "log.intoto.jsonl").read_bytes()
    (life.path / "log.intoto.jsonl").write_bytes(foreign + b"".join(lines[1:]))
    assert outcome(life, keys) == "order"
    (life.path / "log.intoto.jsonl").write_bytes(foreign)
    assert outcome(life, keys) == "identity"


class TestHistory:
    def test_lines_that_were_added(self, life, keys, signer, claimed, tmp_path):
        shutil.copy(life.path / "head.json", tmp_path / "old.json")
        life.append(claimed("forget", "b", "c"), signer)
        assert outcome(life, keys, since=tmp_path / "old.json") is None

    def test_another_past(self, life, keys, signer, claimed, tmp_path):
        shutil.copytree(life.path, tmp_path / "fork")
        life.append(claimed("forget", "b", "c"), signer)
        fork = Ledger(tmp_path / "fork")
        fork.append(claimed("forget", "b", "d"), signer)
        assert outcome(fork, keys, since=life.path / "head.json") == "history"
        fork.append(claimed("forget", "d", "e"), signer)
        assert outcome(fork, keys, since=life.path / "head.json") == "history"

    def test_a_shorter_log_with_the_head_that_it_had(self, life, keys, signer, claimed, tmp_path):
        shutil.copytree(life.path, tmp_path / "old")
        life.append(claimed("forget", "b", "c"), signer)
        assert outcome(Ledger(tmp_path / "old"), keys, since=life.path / "head.json") == "history"

    def test_a_head_of_more_lines_than_anybody_can_read(self, life, keys, signer, tmp_path):
        size = 2**53 - 1
        content = {**life.head().content(), "size": size, "frontier": ["ab" * 32] * size.bit_count()}
        content["root"] = Frontier(size, (bytes.fromhex("ab" * 32),) * size.bit_count()).root().hex()
        (tmp_path / "old.json").write_bytes(sealed(content, HEAD, signer))
        assert outcome(life, keys, since=tmp_path / "old.json") == "history"

    def test_of_another_ledger(self, life, keys, signer, tmp_path):
        other = Ledger.create(tmp_path / "other", signer)
        assert outcome(life, keys, since=other.path / "head.json") == "history"


class TestKeys:
    def test_those_of_others(self, life, tmp_path):
        assert outcome(life, Trusted([make_key(tmp_path / "x.key").public_key])) == "signatures"

    def test_none(self, life, keys):
        assert outcome(life, Trusted([])) == "signatures"
        assert outcome(life, Trusted([], keys.operators)) == "signatures"

    @pytest.mark.parametrize(
        "change",
        [
            "added",
            "twice",
            "foreign",
            "removed",
            "all removed",
            "exchanged",
            "renamed",
            "link",
            "text",
            "junk",
            "guide",
        ],
    )
    def test_files_that_the_head_does_not_name(self, change, life, keys, tmp_path):
        folder = life.path / "keys"
        if change == "added":
            (folder / "thief.pub").write_text(public_pem(make_key(tmp_path / "x.key").public_key))
        elif change == "foreign":
            (life.path / "operator.pub").write_text(public_pem(make_key(tmp_path / "x.key").public_key))
        elif change == "removed":
            (folder / "auditor.pub").unlink()
        elif change == "all removed":
            shutil.rmtree(folder)
        elif change == "exchanged":
            (folder / "auditor.pub").write_text(public_pem(make_key(tmp_path / "x.key").public_key))
        elif change == "twice":
            shutil.copy(folder / "auditor.pub", folder / "second.pub")
        elif change == "text":
            (folder / "auditor.pub").write_bytes((folder / "auditor.pub").read_bytes().replace(b"\n", b"\r\n"))
        elif change == "junk":
            (life.path / "timestamps").mkdir()
            (life.path / "timestamps" / "junk").touch()
        elif change == "guide":
            (life.path / "VERIFY.md").rename(tmp_path / "guide")
            (life.path / "VERIFY.md").symlink_to(tmp_path / "guide")
        elif change == "renamed":
            (folder / "auditor.pub").rename(folder / "auditor-2.pub")
        else:
            (folder / "auditor.pub").rename(tmp_path / "auditor.pub")
            (folder / "auditor.pub").symlink_to(tmp_path / "auditor.pub")
        assert outcome(life, keys) == "folder"

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
    def test_a_pipe_is_not_waited_for(self, life, keys, signer, claimed):
        os.mkfifo(life.path / "keys" / "thief.pub")
        assert outcome(life, keys) == "folder"
        with pytest.raises(InputError, match="no such file of a public key"):
            life.append(claimed("forget", "b", "c"), signer)

    @pytest.mark.parametrize("name", ["operator.pub", "3.tsr.pub", "x", "3.head.json"])
    def test_other_files_among_the_time_stamps(self, name, life, keys, tmp_path):
        (life.path / "timestamps").mkdir()
        (tmp_path / "elsewhere").touch()
        if name == "3.head.json":
            (life.path / "timestamps" / name).symlink_to(tmp_path / "elsewhere")
        else:
            (life.path / "timestamps" / name).touch()
        assert outcome(life, keys) == "folder"

    def test_an_auditor_cannot_forge_a_ledger(self, life, keys, auditor, claimed, tmp_path):
        """Whoever trusts an auditor's key as such trusts it with audits alone, whatever the head says."""
        forged = Ledger.create(tmp_path / "forged", auditor)
        forged.append(claimed("learn", None, "a"), auditor)
        checks = list(verify_ledger(forged.path, keys))
        assert (checks[-1].name, checks[-1].text) == (
            "signatures",
            f"head.json: gives the auditor {auditor.public_key.keyid[:16]} the role 'operator'",
        )

    def test_an_auditor_cannot_sign_another_line_or_the_head_over_it(self, life, keys, signer, auditor, claimed, forge):
        head = (life.path / "head.json").read_bytes()
        forge(life, claimed("forget", "b", "c"), auditor, lambda _: None)
        last = list(verify_ledger(life.path, keys))[-1]
        assert (last.name, last.text) == (
            "signatures",
            "log.intoto.jsonl, line 4: is of kind forget, and signed by an auditor",
        )
        log = life.path / "log.intoto.jsonl"
        log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:3]))
        (life.path / "head.json").write_bytes(head)
        life.append(claimed("forget", "b", "c"), signer)
        (life.path / "head.json").write_bytes(sealed(life.head().content(), HEAD, auditor))
        last = list(verify_ledger(life.path, keys))[-1]
        assert last.text == "the head is signed by an auditor, and its last line by somebody else"

    def test_the_operator_cannot_sign_an_audit(self, life, keys, signer, claimed, forge):
        forge(life, claimed("audit", "b", "b"), signer, lambda _: None)
        assert outcome(life, keys) == "signatures"

    def test_a_whole_ledger_that_was_signed_anew(self, life, keys, claimed, tmp_path):
        mallory = make_key(tmp_path / "m.key")
        forged = Ledger.create(tmp_path / "forged", mallory)
        forged.append(claimed("learn", None, "a"), mallory)
        assert outcome(forged, Trusted.by_ledger(forged.path)) is None
        assert outcome(forged, keys) == "signatures"


class TestModel:
    @pytest.fixture
    def model(self, tmp_path):
        folder = tmp_path / "model"
        folder.mkdir()
        (folder / "a.bin").write_bytes(b"one")
        (folder / "b.bin").write_bytes(b"two")
        return folder

    def test_the_digest_is_that_of_openssf(self, model):
        subject, files = directory_digest(model)
        parts = [hashlib.sha256(content).digest() for content in (b"one", b"two")]
        assert subject == hashlib.sha256(b"".join(parts)).hexdigest()
        assert files == {"a.bin": parts[0].hex(), "b.bin": parts[1].hex()}

    def test_paths_are_ordered_part_by_part(self, tmp_path):
        for name in ("a.bin", "a/b.bin", "a-b.bin"):
            (tmp_path / "nested" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "nested" / name).write_text(name)
        subject, files = directory_digest(tmp_path / "nested")
        assert list(files) == ["a/b.bin", "a-b.bin", "a.bin"]
        assert subject == hashlib.sha256(b"".join(map(bytes.fromhex, files.values()))).hexdigest()

    @pytest.mark.parametrize("change", ["edit", "rename", "remove", "add", "link", "folder that is a link"])
    def test_another_model(self, change, life, keys, signer, claimed, model):
        subject, files = directory_digest(model)
        life.append(replace(claimed("forget", "b", "c"), subjects={"model": subject}, files=files), signer)
        assert outcome(life, keys, model=model) is None
        if change == "edit":
            (model / "b.bin").write_bytes(b"2wo")
        elif change == "rename":
            (model / "b.bin").rename(model / "c.bin")
        elif change == "remove":
            (model / "b.bin").unlink()
        elif change == "link":
            (model / "c.bin").symlink_to(model / "a.bin")
        elif change == "folder that is a link":
            (model / "adapter").symlink_to(life.path)
        else:
            (model / "c.bin").touch()
        assert outcome(life, keys, model=model) == "model"

    def test_links_and_empty_directories_are_refused(self, model, tmp_path):
        (model / "c.bin").symlink_to(model / "a.bin")
        with pytest.raises(InputError, match="is a link"):
            directory_digest(model)
        (tmp_path / "none").mkdir()
        with pytest.raises(InputError, match="holds no file"):
            directory_digest(tmp_path / "none")


def changed_by(path, value):
    """A function that sets a value in a statement."""

    def change(content):
        *parts, last = path.split(".")
        for part in parts:
            content = content[int(part) if part.isdecimal() else part]
        content[int(last) if last.isdecimal() else last] = value

    return change


LEARNED = {"count": 3, "scheme": "myosotis/v2", "root": "aa" * 32, "commitments": 6}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("predicate.parent", {"sequence": 2, "sha256": "0" * 64}, "lineage"),
        ("predicate.parent", {"sequence": 0, "sha256": "0" * 64}, "lineage"),
        ("predicate.parent", {"sequence": 9, "sha256": "0" * 64}, "lineage"),
        ("predicate.parent", None, "lineage"),
        ("predicate.parent", {"sequence": 0}, "signatures"),
        ("predicate.parent", 3, "signatures"),
        ("predicate.weights", {}, "signatures"),
        ("predicate.weights.in", "z", "lineage"),
        ("predicate.files", {"net": "0" * 64}, "signatures"),
        ("predicate.sequence", True, "signatures"),
        ("predicate.sequence", 7, "order"),
        ("predicate.previous", None, "order"),
        ("predicate.ledger", "ab" * 16, "identity"),
        ("predicate.recordedOn", "1970-01-01T00:00:00Z", "order"),
        ("predicate.recordedOn", "2099-01-01T00:00:00Z", "head"),
        ("predicate.recordedOn", "yesterday", "signatures"),
        ("predicate.recordedOn", "2026-13-01T00:00:00Z", "signatures"),
        ("predicate.remark", "all forgotten", "signatures"),
        ("predicate.evidence", {}, "signatures"),
        ("predicate.models", [0], "signatures"),
        ("predicate.records", {"count": 3, "root": "bb" * 32, "commitments": 2}, "signatures"),
        ("predicate.records", {"count": 3, "root": "bb" * 32}, "signatures"),
        ("predicate.records", {**LEARNED, "learned": [{"root": "cc" * 32, "count": 3}]}, "lineage"),
        ("predicate.records", {**LEARNED, "learned": [{"root": "cc" * 32, "count": 1000}]}, "signatures"),
        ("predicate.records", {**LEARNED, "learned": 7}, "signatures"),
        ("predicate.records", {**LEARNED, "learned": [["root"]]}, "signatures"),
        ("predicateType", "forget:evil", "signatures"),
        ("predicateType", "urn:myosotis:ledger:forget:v9", "signatures"),
        ("predicateType", "urn:myosotis:ledger:absolve:v0.2", "signatures"),
        ("predicateType", "urn:myosotis:ledger:forget:v0.1", "order"),
        ("_type", "https://in-toto.io/Statement/v2", "signatures"),
        ("subject", [], "signatures"),
        ("subject.0.name", "a model", "signatures"),
        ("subject.0.digest", {"sha256": "0" * 64, "sha1": "0" * 40}, "signatures"),
        ("subject", [{"name": name, "digest": {"sha256": "e" * 64}} for name in ("model", "other")], "signatures"),
    ],
)
def test_a_line_that_says_what_is_not_so(path, value, expected, life, keys, signer, claimed, forge):
    """Signed by the operator and under a head: its content alone is wrong."""
    forge(life, claimed("forget", "b", "c"), signer, changed_by(path, value))
    assert outcome(life, keys) == expected


def test_more_records_than_a_line_had_learned(life, keys, signer, claimed, forge):
    life.append(claimed("learn", "b", "c", records=LEARNED), signer)
    records = {**LEARNED, "root": "bb" * 32, "count": 5, "learned": [{"root": "aa" * 32, "count": 5}]}
    forge(life, claimed("forget", "c", "d", records=records), signer, lambda _: None)
    assert list(verify_ledger(life.path, keys))[-1].text == "line 5: line 4 had learned 3 records, not 5"


def test_a_destroyed_model_that_no_line_left(life, keys, signer, forge):
    facts = {
        "run": {"name": "1 files", "kind": "destroy", "method": None},
        "evidence": {},
        "records": {"count": 1, "scheme": "myosotis/v2", "root": "dd" * 32, "commitments": 1},
        "models": [2],
    }
    forge(life, Claim("destroy", {"commitments": "dd" * 32}, {}, None, (), facts), signer, lambda _: None)
    assert list(verify_ledger(life.path, keys))[-1].text == "line 4 destroys the model of line 3, which left none"


class TestOneReading:
    """Two programs must not read two things in bytes that are equal."""

    def rewritten(self, life, signer, change, payload=lambda content: content):
        """The last line but for a change to the bytes of its payload, and of its envelope, under a head."""
        lines = list(life.lines())
        content = payload(payload_of(lines[-1], LINE))
        envelope = Envelope(content, LINE, {})
        envelope.sign(signer)
        lines[-1] = change(canonical(envelope.to_dict()))
        head = Head(life.head().ledger, roles=life.head().roles)
        for line in lines[:-1]:
            head = head.with_line(line, Statement.parse(payload_of(line, LINE)))
        head = replace(
            head,
            size=head.size + 1,
            length=head.length + len(lines[-1]) + 1,
            last=hashlib.sha256(lines[-1]).hexdigest(),
            frontier=head.frontier.with_entry(lines[-1]),
        )
        (life.path / "log.intoto.jsonl").write_bytes(b"".join(line + b"\n" for line in lines))
        (life.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))

    def test_as_it_was_written(self, life, keys, auditor):
        self.rewritten(life, auditor, lambda line: line)
        assert outcome(life, keys) is None

    @pytest.mark.parametrize(
        "change",
        [
            lambda line: line.replace(b'{"payload"', b'{"payload":"e30=","payload"', 1),
            lambda line: line[:-1] + b',"more":1}',
            lambda line: line.replace(b'"payloadType"', b' "payloadType"', 1),
            lambda line: line.replace(b'"}]}', b'","note":"x"}]}'),
            lambda line: line.replace(b'"signatures":[', b'"signatures":[{"keyid":"%s","sig":"AA=="},' % (b"0" * 64)),
            lambda _: b"[" * 200_000,
        ],
    )
    def test_an_envelope_in_another_form(self, change, life, keys, auditor):
        self.rewritten(life, auditor, change)
        assert outcome(life, keys) == "signatures"

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace(b'"forgotten":true', b'"forgotten":false,"forgotten":true'),
            lambda text: text.replace(b'"kept":null', b'"kept":NaN'),
            lambda text: text.replace(b'"kept":null', b'"kept":1e400'),
            lambda text: text.replace(b'"kept":null', b'"kept":123456789012345678901'),
            lambda text: text.replace(b'"kept":null', b'"kept":1.0'),
            lambda text: text.replace(b'"kept":null', b'"kept":"\\ud800"'),
            lambda text: text.replace(b'"kept":null', b'"kept": null'),
            lambda text: text.replace(b'"kept":null', b'"kept":"\\u0041"'),
            lambda text: json.dumps(json.loads(text), indent=3).encode(),
            lambda text: text + b"\n",
            lambda _: b"[" * 100_000,
        ],
    )
    def test_a_payload_in_another_form(self, change, life, keys, auditor):
        self.rewritten(life, auditor, lambda line: line, change)
        assert outcome(life, keys) == "signatures"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "3"),
        ("size", 5),
        ("issuedOn", "1970"),
        ("issuedOn", "1970-01-01T00:00:00Z"),
        ("remark", "x"),
        ("tips", [1]),
    ],
)
def test_a_head_with_odd_values(key, value, life, keys, signer):
    content = {**life.head().content(), key: value}
    (life.path / "head.json").write_bytes(sealed(content, HEAD, signer))
    assert outcome(life, keys) in ("signatures", "head")


def test_a_newer_head_with_a_time_stamp_shows_that_lines_were_cut_off(life, keys, signer, claimed, tmp_path):
    shutil.copytree(life.path, tmp_path / "old")
    life.append(claimed("forget", "b", "c"), signer)
    (tmp_path / "old" / "timestamps").mkdir()
    shutil.copy(life.path / "head.json", tmp_path / "old" / "timestamps" / "4.head.json")
    (tmp_path / "old" / "timestamps" / "4.tsr").write_bytes(b"x")
    last = list(verify_ledger(tmp_path / "old", keys))[-1]
    assert (last.name, last.text) == (
        "head",
        "timestamps holds a head of 4 lines, so that the newest lines were cut off",
    )
