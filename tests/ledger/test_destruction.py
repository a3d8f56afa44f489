"""Destroying: the digests first, then the files, then the line, whatever interrupts it."""

import hashlib

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger import verify_ledger
from myosotis.ledger.destruction import PENDING, destroyed


@pytest.fixture
def old(tmp_path):
    folder = tmp_path / "old" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"one")
    (tmp_path / "photo.png").write_bytes(b"two")
    return tmp_path


def finish(ledger, claim, signer):
    number = ledger.append(claim, signer)
    (ledger.path / PENDING).unlink()
    return number


def test_files_go_and_their_digests_stay(life, signer, claimed, old):
    assert finish(life, destroyed(life, [old / "old", old / "photo.png"]), signer) == 4
    assert not (old / "old").exists()
    assert not (old / "photo.png").exists()
    line = list(life.statements())[-1]
    expected = {"old/checkpoints/a.bin": hashlib.sha256(b"one"), "photo.png": hashlib.sha256(b"two")}
    assert line["predicate"]["files"] == {name: digest.hexdigest() for name, digest in expected.items()}
    assert {one["name"] for one in line["subject"]} == set(expected)
    # The model is still that of line 2, so a request can follow.
    assert life.append(claimed("forget", "b", "c"), signer) == 5
    assert all(check.holds for check in verify_ledger(life.path, life.keys))


def test_an_interrupted_removal_is_completed(life, signer, old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            destroyed(life, [old / "photo.png", old / "old"])
    assert (life.path / PENDING).is_file()
    assert not (old / "photo.png").exists()
    claim = destroyed(life, [old / "old"])
    assert set(claim.files) == {"photo.png", "old/checkpoints/a.bin"}
    finish(life, claim, signer)
    assert all(check.holds for check in verify_ledger(life.path, life.keys))


def test_what_cannot_be_removed_is_refused_and_nothing_goes(life, old):
    (old / "link").symlink_to(old / "photo.png")
    (old / "with-link").mkdir()
    (old / "with-link" / "inner").symlink_to(old / "photo.png")
    (old / "empty").mkdir()
    for wrong, message in (
        (old / "nothing", "not there"),
        (old / "link", "is a link"),
        (old / "with-link", "holds the link inner"),
        (old / "empty", "holds no file"),
        (life.path, "holds the ledger"),
        (life.path / "head.json", "is a part of it"),
        (life.path.parent, "holds the ledger"),
    ):
        with pytest.raises(InputError, match=message):
            destroyed(life, [old / "photo.png", wrong])
        assert (old / "photo.png").exists()
        assert not (life.path / PENDING).exists()
