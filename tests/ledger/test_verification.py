"""Nothing in a ledger can be changed without being noticed."""

import base64
import hashlib
import json
import shutil

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger, directory_digest, verify_ledger
from myosotis.ledger.keys import make_key, read_public
from myosotis.ledger.statements import roots_before


def outcome(ledger, keys, **options):
    """The name of the check that failed; None if all hold."""
    checks = list(verify_ledger(ledger.path, keys, **options))
    return None if checks[-1].holds else checks[-1].name


@pytest.fixture
def keys(life):
    return [read_public(life.path / "keys" / "operator.pub")]


def test_every_byte_counts(life, keys):
    """Of every file in the folder, each byte in turn is changed."""
    files = sorted(path for path in life.path.rglob("*") if path.is_file())
    assert len(files) == 4
    unnoticed = []
    for path in files:
        content = path.read_bytes()
        for index in range(len(content)):
            path.write_bytes(content[:index] + bytes([content[index] ^ 1]) + content[index + 1 :])
            if outcome(life, keys) is None:
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

    def test_of_another_ledger(self, life, keys, signer, tmp_path):
        other = Ledger.create(tmp_path / "other", signer)
        assert outcome(life, keys, since=other.path / "head.json") == "history"


class TestKeys:
    def test_those_of_others(self, life, tmp_path):
        assert outcome(life, [make_key(tmp_path / "x.key").public_key]) == "signatures"

    def test_none(self, life):
        assert outcome(life, []) == "signatures"

    def test_one_that_was_put_into_the_folder(self, life, keys, tmp_path):
        life.add_key(make_key(tmp_path / "x.key").public_key, "auditor")
        assert outcome(life, keys) == "folder"

    def test_a_whole_ledger_that_was_signed_anew(self, life, keys, claimed, tmp_path):
        mallory = make_key(tmp_path / "m.key")
        forged = Ledger.create(tmp_path / "forged", mallory)
        forged.append(claimed("learn", None, "a"), mallory)
        assert outcome(forged, forged.keys) is None
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

    @pytest.mark.parametrize("change", ["edit", "rename", "remove", "add"])
    def test_another_model(self, change, life, keys, signer, claimed, model):
        from dataclasses import replace

        subject, files = directory_digest(model)
        life.append(replace(claimed("forget", "b", "c"), subjects={"model": subject}, files=files), signer)
        assert outcome(life, keys, model=model) is None
        if change == "edit":
            (model / "b.bin").write_bytes(b"2wo")
        elif change == "rename":
            (model / "b.bin").rename(model / "c.bin")
        elif change == "remove":
            (model / "b.bin").unlink()
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


def test_a_parent_that_was_invented(life, keys, signer):
    """A line that is signed and in order, but names a model that no line left."""
    from myosotis.ledger.envelopes import HEAD, LINE, sealed

    lines = list(life.lines())
    head = life.head()
    statement = list(life.statements())[1]
    statement["predicate"] |= {"sequence": 3, "previous": hashlib.sha256(lines[2]).hexdigest()}
    statement["predicate"]["parent"] = {"sequence": 2, "sha256": "0" * 64}
    line = sealed(statement, LINE, signer)
    with (life.path / "log.intoto.jsonl").open("ab") as stream:
        stream.write(line + b"\n")
    (life.path / "head.json").write_bytes(sealed(head.with_line(line, statement).content(), HEAD, signer))
    assert outcome(life, keys) == "lineage"


@pytest.mark.parametrize("change", [{"parent": None}, {"weights": {}}, {"parent": {"sequence": 0}}, {"parent": 3}])
def test_a_line_that_leaves_its_branch_or_lacks_something(change, life, keys, signer, claimed, monkeypatch):
    """Signed by the operator, in order, and under a head: the lineage alone is wrong."""
    from myosotis.ledger import store

    def changed(*arguments):
        statement = make_statement(*arguments)
        statement["predicate"] |= change
        return statement

    make_statement = store.make_statement
    with monkeypatch.context() as patch:
        patch.setattr(store, "make_statement", changed)
        kind = "audit" if "weights" in change else "forget"
        life.append(claimed(kind, "b", "b"), signer)
    assert outcome(life, keys) == "lineage"


def test_a_verifier_of_its_own_agrees(life):
    """What VERIFY.md says, with nothing but hashlib and cryptography."""
    public = load_pem_public_key((life.path / "keys" / "operator.pub").read_bytes())

    def payload(envelope):
        body, kind = base64.b64decode(envelope["payload"]), envelope["payloadType"].encode()
        signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
        public.verify(base64.b64decode(envelope["signatures"][0]["sig"]), signed)
        return json.loads(body)

    log = (life.path / "log.intoto.jsonl").read_bytes()
    lines = log.splitlines()
    previous, subjects = None, []
    for number, line in enumerate(lines):
        statement = payload(json.loads(line))
        assert statement["_type"] == "https://in-toto.io/Statement/v1"
        predicate = statement["predicate"]
        assert (predicate["sequence"], predicate["previous"]) == (number, previous)
        if predicate["parent"] is not None:
            assert subjects[predicate["parent"]["sequence"]] == predicate["parent"]["sha256"]
        previous = hashlib.sha256(line).hexdigest()
        subjects.append(statement["subject"][0]["digest"]["sha256"])
    level = [hashlib.sha256(b"\x00" + line).digest() for line in lines]
    root = hashlib.sha256(b"\x01" + hashlib.sha256(b"\x01" + level[0] + level[1]).digest() + level[2]).hexdigest()
    head = payload(json.loads((life.path / "head.json").read_bytes()))
    assert (head["size"], head["bytes"], head["last"], head["root"]) == (3, len(log), previous, root)
    assert head["guide"] == hashlib.sha256((life.path / "VERIFY.md").read_bytes()).hexdigest()


def test_what_was_learned_is_looked_up_once_for_all_lines(life, signer, claimed):
    """Of many requests in a row each says what a line long before had learned; each line is looked at once."""
    records = {"root": "aa" * 32, "count": 9, "commitments": 9}
    life.append(claimed("learn", "b", "c0", records=records), signer)
    for number in range(5):
        learned = {"root": f"{number:064x}", "count": 1, "commitments": 1, "learned": [{"root": "aa" * 32, "count": 1}]}
        life.append(claimed("forget", f"c{number}", f"c{number + 1}", records=learned), signer)
    assert all(check.holds for check in verify_ledger(life.path, life.keys))

    class Counted(list):
        looked_at = 0

        def __iter__(self):
            for statement in super().__iter__():
                Counted.looked_at += 1
                yield statement

    statements = Counted(life.statements())
    assert [len(roots) for roots in roots_before(statements)] == [0, 0, 0, 1, 1, 1, 1, 1, 1]
    assert Counted.looked_at == len(statements)


@pytest.mark.parametrize("learned", [{"root": 1}, [{}], 7, [["root"]]])
def test_a_claim_of_learning_that_is_no_list_of_roots_fails(learned, life, signer, claimed, monkeypatch):
    monkeypatch.setattr(type(life), "_check_learning", lambda *_: None)
    life.append(claimed("forget", "b", "c", records={"count": 1, "learned": learned}), signer)
    last = list(verify_ledger(life.path, life.keys))[-1]
    assert (last.name, last.holds) == ("lineage", False)
