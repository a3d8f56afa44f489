"""Destroying: what is removed is noted first, next to the key, then the files go, then the line."""

import base64
import hashlib
import json
import os

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger, verify_ledger
from myosotis.ledger.claims import Claim
from myosotis.ledger.commitments import entries_of, read_opening
from myosotis.ledger.destruction import PENDING, Destroyed, destroy
from myosotis.ledger.envelopes import HEAD, LINE, canonical, sealed
from myosotis.ledger.keys import make_key
from myosotis.ledger.receipts import proofs_of_all, write_receipts
from myosotis.ledger.statements import Statement
from myosotis.ledger.table import remarks, what_of
from myosotis.ledger.verification import Trusted

PHOTO = bytes.fromhex(  # a GIF of one pixel
    "47494638376101000100810000000000ffffffffffffffffff2c000000000100010000080400010404003b"
)


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"one")
    (tmp_path / "photo.png").write_bytes(b"two")
    return tmp_path


@pytest.fixture
def pending(tmp_path):
    (tmp_path / "private").mkdir()
    return tmp_path / "private" / "destroying.json"


def newest(ledger):
    return list(ledger.statements())[-1]


def holds(ledger):
    return all(check.holds for check in verify_ledger(ledger.path, Trusted.by_ledger(ledger.path)))


def test_files_go_and_their_number_stays(life, signer, claimed, old, pending):
    assert destroy(life, [old / "old", old / "photo.png"], signer, pending) == [Destroyed(4, 2, (), ())]
    assert not (old / "old").exists()
    assert not (old / "photo.png").exists()
    assert not pending.exists()
    assert newest(life).predicate.records.count == 2
    assert what_of(newest(life)) == "destroy 2"
    # The model is still that of line 2, so a request can follow.
    assert life.append(claimed("forget", "b", "c"), signer) == 5
    assert holds(life)


def test_an_auditor_removes_nothing(life, auditor, old, pending):
    with pytest.raises(InputError, match="'auditor' is an auditor, and 'destroy' needs an operator"):
        destroy(life, [old / "old", old / "photo.png"], auditor, pending)
    assert (old / "old" / "checkpoints" / "a.bin").read_bytes() == b"one"
    assert (old / "photo.png").read_bytes() == b"two"
    assert not pending.exists()
    assert life.head().size == 3


def test_a_line_tells_nobody_what_was_destroyed(life, signer, old, pending):
    """Neither names, nor what a guess can be tested by: a birthday would be found within a second."""
    contents = b'{"name": "Anna Schmidt", "birthday": "1987-03-14"}\n', b"\x89PNG of a face"
    (old / "Anna Schmidt.jsonl").write_bytes(contents[0])
    (old / "face.png").write_bytes(contents[1])
    destroy(life, [old / "Anna Schmidt.jsonl", old / "face.png"], signer, pending)
    line = list(life.lines())[-1]
    published = base64.b64decode(json.loads(line)["payload"])
    for name in (b"Anna", b"face", b"jsonl", str(old).encode()):
        assert name not in published
    for content in contents:
        for guess in (content, b"file " + content):
            assert hashlib.sha256(guess).hexdigest().encode() not in published


def test_an_opening_shows_later_what_it_was(life, signer, old, pending):
    (old / "photo.png").write_bytes(PHOTO)
    destroy(life, [old / "photo.png"], signer, pending, old / "gone.opening")
    (old / "copy.png").write_bytes(PHOTO)
    made = read_opening(old / "gone.opening")
    assert made.root == newest(life).digest == newest(life).predicate.records.root
    content = hashlib.sha256(b"file " + PHOTO).digest()
    assert [one.content for one in entries_of_file(old / "copy.png")] == [content]
    assert made.knows(entries_of_file(old / "copy.png"))
    assert stat_of(old / "gone.opening") == 0o600
    write_receipts(proofs_of_all(made), old / "receipts")
    proof = (old / "copy.png", old / "receipts" / "1" / "photo.png.receipt.json")
    trusted = Trusted.by_ledger(life.path)
    check = list(verify_ledger(life.path, trusted, proof=proof, kind="destroy"))[-1]
    assert (check.holds, check.text) == (True, "line 4 (destroy) covers copy.png by its file")


def entries_of_file(path):
    from myosotis.ledger.commitments import Entry

    return [Entry(path.name, "file", hashlib.sha256(b"file " + path.read_bytes()).digest())]


def stat_of(path):
    return path.stat().st_mode & 0o777


def test_a_model_of_the_ledger_is_named_by_its_line(signer, old, pending, claimed, tmp_path):
    from myosotis.ledger.claims import directory_digest

    model = tmp_path / "run" / "model"
    model.mkdir(parents=True)
    (model / "weights").write_bytes(b"weights")
    (model.parent / "photo.png").write_bytes(b"private")
    digest, files = directory_digest(model)
    ledger = Ledger.create(tmp_path / "other", signer)
    facts = claimed("learn", None, "a").facts
    ledger.append(Claim("learn", {"model": digest}, files, None, ("a",), facts), signer)
    assert destroy(ledger, [tmp_path / "run"], signer, pending) == [Destroyed(2, 2, (1,), ())]
    assert newest(ledger).predicate.models == (0,)
    assert holds(ledger)


@pytest.mark.parametrize("again", ["old", "photo.png"])
def test_an_interrupted_removal_is_completed(again, life, signer, old, pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", unlink_all_but("photo.png"))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png", old / "old"], signer, pending)
    assert stat_of(pending) == 0o600
    assert not (old / "old" / "checkpoints" / "a.bin").exists()
    assert destroy(life, [old / again], signer, pending) == [Destroyed(4, 2, (), ())]
    assert not (old / "old").exists()
    assert not (old / "photo.png").exists()
    assert holds(life)


def test_what_else_is_given_gets_a_line_of_its_own(life, signer, old, pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", unlink_all_but("photo.png"))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png"], signer, pending)
    lines = destroy(life, [old / "old"], signer, pending)
    assert [(one.line, one.files) for one in lines] == [(4, 1), (5, 1)]


def test_a_removal_that_was_cut_off_after_its_line_is_not_recorded_twice(life, signer, old, pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", unlink_all_but(pending.name))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png"], signer, pending)
    assert life.head().size == 4
    assert pending.is_file()
    assert [(one.line, one.files) for one in destroy(life, [old / "old"], signer, pending)] == [(4, 1), (5, 1)]
    assert life.head().size == 5


def unlink_all_but(name):
    from pathlib import Path

    unlink = Path.unlink

    def interrupted(path, missing_ok=False):
        if path.name == name:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    return interrupted


def test_a_line_that_cannot_be_written_leaves_the_note(life, signer, old, pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            destroy(life, [old / "photo.png"], signer, pending)
    assert [(one.line, one.files) for one in destroy(life, [old / "old"], signer, pending)] == [(4, 1), (5, 1)]


class TestPlanted:
    """Somebody without the key leaves a note of a removal that never began."""

    def victim(self, old):
        (old / "victim").mkdir()
        (old / "victim" / "thesis.txt").write_text("precious")
        return old / "victim"

    def note(self, life, victim, signer):
        content = {
            "ledger": life.head().ledger,
            "paths": [str(victim)],
            "files": [[str(victim / "thesis.txt"), hashlib.sha256(b"file precious").hexdigest()]],
            "models": [],
            "key": "00" * 32,
        }
        return sealed(content, PENDING, signer).decode()

    @pytest.mark.parametrize("place", ["ledger", "next to the key"])
    def test_nothing_of_it_is_removed_or_signed(self, place, life, signer, old, pending, tmp_path):
        victim = self.victim(old)
        thief = make_key(tmp_path / "thief.key")
        file = pending if place == "next to the key" else life.path / "destroying.json"
        file.write_text(self.note(life, victim, thief))
        file.chmod(0o600)
        if file == pending:
            with pytest.raises(InputError, match="is not one of the given keys"):
                destroy(life, [old / "photo.png"], signer, pending)
        else:
            assert [one.files for one in destroy(life, [old / "photo.png"], signer, pending)] == [1]
        assert (victim / "thesis.txt").read_text() == "precious"

    def test_one_that_others_can_change_is_refused(self, life, signer, old, pending):
        victim = self.victim(old)
        pending.write_text(self.note(life, victim, signer))
        pending.chmod(0o644)
        with pytest.raises(InputError, match="others can read or change"):
            destroy(life, [old / "photo.png"], signer, pending)
        assert (victim / "thesis.txt").exists()

    def test_one_of_another_ledger_is_refused(self, life, signer, old, pending, tmp_path):
        victim = self.victim(old)
        pending.write_text(self.note(life, victim, signer))
        pending.chmod(0o600)
        with pytest.raises(InputError, match="another ledger"):
            destroy(Ledger.create(tmp_path / "second", signer), [old / "photo.png"], signer, pending)
        assert (victim / "thesis.txt").exists()


def test_a_file_that_has_changed_meanwhile_stays(life, signer, old, pending, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", unlink_all_but("photo.png"))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png"], signer, pending)
    (old / "photo.png").write_bytes(b"another photo")
    with pytest.raises(InputError, match=r"photo\.png: has changed since"):
        destroy(life, [old / "photo.png"], signer, pending)
    assert (old / "photo.png").read_bytes() == b"another photo"
    assert life.head().size == 3
    (old / "photo.png").rename(old / "moved.png")
    assert [one.line for one in destroy(life, [old / "old"], signer, pending)] == [4, 5]


def test_a_file_that_arrives_meanwhile_stays(life, signer, old, pending, monkeypatch):
    from pathlib import Path

    unlink = Path.unlink

    def arriving(path, missing_ok=False):
        unlink(path, missing_ok)
        if path.name == "a.bin":
            (old / "old" / "new.bin").write_bytes(b"new")

    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", arriving)
        (line,) = destroy(life, [old / "old"], signer, pending)
    assert line == Destroyed(4, 1, (), (old / "old",))
    assert [path.name for path in (old / "old").rglob("*")] == ["new.bin"]


def test_what_cannot_be_removed_is_refused_and_nothing_goes(life, signer, old, pending):
    (old / "link").symlink_to(old / "photo.png")
    for name, target in (("with-link", old / "photo.png"), ("with-folder", old / "old")):
        (old / name).mkdir()
        (old / name / "inner").symlink_to(target)
        (old / name / "file").write_bytes(b"x")
    (old / "empty").mkdir()
    (old / "named-twice").write_bytes(b"three")
    os.link(old / "named-twice", old / "kept-copy")
    os.mkfifo(old / "pipe")
    for wrong, message in (
        (old / "nothing", "does not exist"),
        (old / "link", "is a link"),
        (old / "with-link", "holds the link inner"),
        (old / "with-folder", "holds the link inner"),
        (old / "empty", "holds no file"),
        (old / "named-twice", "another name elsewhere"),
        (old / "pipe", "not a regular file"),
        (life.path, "holds the ledger"),
        (life.path / "head.json", "is a part of it"),
        (life.path.parent, "holds the ledger"),
        (pending.parent, "holds the key"),
    ):
        with pytest.raises(InputError, match=message):
            destroy(life, [old / "photo.png", wrong], signer, pending)
        assert (old / "photo.png").exists()
        assert not pending.exists()


def test_a_key_that_may_not_sign_removes_nothing(life, old, pending, tmp_path):
    with pytest.raises(InputError, match="key has no role"):
        destroy(life, [old / "photo.png"], make_key(tmp_path / "other.key"), pending)
    assert (old / "photo.png").exists()


def test_a_line_of_an_earlier_version_is_named(signer, tmp_path):
    """It cannot be taken back, so whoever has the ledger must know."""
    facts = {"run": {"name": "2 files", "kind": "destroy", "method": None}, "evidence": {}}
    digests = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("photos/anna.png", "photos/eva.png")}
    ledger = Ledger.create(tmp_path / "old-ledger", signer)
    content = Claim("destroy", digests, {}, None, (), facts).statement(ledger.head(), "main", None)
    content["predicateType"] = content["predicateType"].replace("v0.2", "v0.1")
    line = sealed(content, LINE, signer)
    (ledger.path / "log.intoto.jsonl").write_bytes(line + b"\n")
    head = ledger.head().with_line(line, Statement.parse(canonical(content)))
    (ledger.path / "head.json").write_bytes(sealed(head.content(), HEAD, signer))
    assert holds(ledger)
    assert what_of(newest(ledger)) == "destroy 2"
    (said,) = [text for text in remarks(list(ledger.statements())) if "earlier version" in text]
    assert "names and plain digests of destroyed files" in said
    assert "anna" not in said


def test_records_of_a_photo_are_its_file_and_pixels(old):
    """What `destroy` commits to is the first of the two, so that a receipt of a photo covers a copy of its file."""
    from PIL import Image

    Image.new("RGB", (2, 2)).save(old / "real.png")
    assert [entry.form for entry in entries_of(old / "real.png")] == ["file", "pixels"]
    assert entries_of(old / "real.png")[0].content == entries_of_file(old / "real.png")[0].content
