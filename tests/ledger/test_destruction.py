"""Destroying: the digests first, then the files, then the line, whatever interrupts it."""

import hashlib

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger import Ledger, verify_ledger
from myosotis.ledger.destruction import PENDING, destroy


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"one")
    (tmp_path / "photo.png").write_bytes(b"two")
    return tmp_path


EXPECTED = {
    "old/checkpoints/a.bin": hashlib.sha256(b"one").hexdigest(),
    "photo.png": hashlib.sha256(b"two").hexdigest(),
}


def subjects(ledger):
    return {one["name"]: one["digest"]["sha256"] for one in list(ledger.statements())[-1]["subject"]}


def holds(ledger):
    return all(check.holds for check in verify_ledger(ledger.path, ledger.keys))


def test_files_go_and_their_digests_stay(life, signer, claimed, old):
    assert destroy(life, [old / "old", old / "photo.png"], signer) == (4, 2)
    assert not (old / "old").exists()
    assert not (old / "photo.png").exists()
    assert not (life.path / PENDING).exists()
    assert subjects(life) == EXPECTED
    # The model is still that of line 2, so a request can follow.
    assert life.append(claimed("forget", "b", "c"), signer) == 5
    assert holds(life)


@pytest.mark.parametrize("again", ["old", "photo.png"])
def test_an_interrupted_removal_is_completed(again, life, signer, old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png", old / "old"], signer)
    assert (life.path / PENDING).is_file()
    assert not (old / "photo.png").exists()
    assert destroy(life, [old / again], signer) == (4, 2)
    assert subjects(life) == EXPECTED
    assert holds(life)


def test_a_removal_that_was_cut_off_after_its_line_is_not_recorded_twice(life, signer, old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("pathlib.Path.unlink", unlink_all_but(PENDING))
        with pytest.raises(KeyboardInterrupt):
            destroy(life, [old / "photo.png"], signer)
    assert life.head().size == 4
    assert (life.path / PENDING).is_file()
    assert destroy(life, [old / "old"], signer) == (5, 1)
    assert set(subjects(life)) == {"old/checkpoints/a.bin"}


def unlink_all_but(name):
    from pathlib import Path

    unlink = Path.unlink

    def interrupted(path, missing_ok=False):
        if path.name == name:
            raise KeyboardInterrupt
        unlink(path, missing_ok)

    return interrupted


def test_a_line_that_cannot_be_written_leaves_the_digests(life, signer, old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
        with pytest.raises(OSError, match="no space"):
            destroy(life, [old / "photo.png"], signer)
    assert destroy(life, [old / "old"], signer) == (4, 2)
    assert subjects(life) == EXPECTED


def test_what_cannot_be_removed_is_refused_and_nothing_goes(life, signer, old):
    (old / "link").symlink_to(old / "photo.png")
    (old / "with-link").mkdir()
    (old / "with-link" / "inner").symlink_to(old / "photo.png")
    (old / "empty").mkdir()
    (old / "other").mkdir()
    (old / "other" / "photo.png").write_bytes(b"another of that name")
    for wrong, message in (
        (old / "nothing", "not there"),
        (old / "link", "is a link"),
        (old / "with-link", "holds the link inner"),
        (old / "empty", "holds no file"),
        (old / "other" / "photo.png", "two files would be called photo.png"),
        (life.path, "holds the ledger"),
        (life.path / "head.json", "is a part of it"),
        (life.path.parent, "holds the ledger"),
    ):
        with pytest.raises(InputError, match=message):
            destroy(life, [old / "photo.png", wrong], signer)
        assert (old / "photo.png").exists()
        assert not (life.path / PENDING).exists()


def test_a_key_that_may_not_sign_removes_nothing(life, old, tmp_path):
    from myosotis.ledger.keys import make_key

    with pytest.raises(InputError, match="no public key of this signer"):
        destroy(life, [old / "photo.png"], make_key(tmp_path / "other.key"))
    assert (old / "photo.png").exists()
