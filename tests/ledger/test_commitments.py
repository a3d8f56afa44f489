"""Commitments say nothing without a receipt, and with one exactly whether a record is covered."""

import hashlib
import hmac
import json
import os
import shutil
import stat
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from myosotis.engine.errors import InputError
from myosotis.ledger import verify_ledger
from myosotis.ledger.claims import with_commitment
from myosotis.ledger.commitments import Entry, commit, entries_of, read_opening, write_opening
from myosotis.ledger.receipts import proofs_among, proofs_of_all, write_receipts
from myosotis.ledger.verification import Trusted


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (5, 4), (number, 50, 90)).save(folder / f"{number}.png")
    return tmp_path / "photos"


@pytest.fixture
def covered(life, signer, claimed, photos, tmp_path):
    """A ledger with a line that covers three photos, and their receipts."""
    commitment = commit(entries_of(photos))
    write_receipts(proofs_of_all(commitment), tmp_path / "receipts")
    life.append(with_commitment(claimed("forget", "b", "c", records={"count": 3}), commitment), signer)
    return life


_spec = spec_from_file_location("independent", Path(__file__).with_name("independent.py"))
independent = module_from_spec(_spec)
_spec.loader.exec_module(independent)


def check(ledger, record, receipt):
    """What the package says, with which the independent verifier must agree."""
    found = list(verify_ledger(ledger.path, Trusted.by_ledger(ledger.path), proof=(record, receipt)))[-1]
    operators, auditors = ([ledger.path / "keys" / f"{name}.pub"] for name in ("operator", "auditor"))
    try:
        independent.check(ledger.path, operators, auditors, record=record, receipt=receipt)
        agrees = found.holds
    except independent.RefusedError:
        agrees = not found.holds
    assert agrees, found
    return found


def receipt_of(tmp_path, number):
    return tmp_path / "receipts" / "cat" / f"{number}.png.receipt.json"


def test_a_receipt_proves_its_photo(covered, photos, tmp_path):
    for number in range(3):
        found = check(covered, photos / "cat" / f"{number}.png", receipt_of(tmp_path, number))
        assert found.text == f"line 4 (forget) covers {number}.png by its file and pixels"
        assert found.holds


def test_a_copy_in_another_format_is_covered_by_its_pixels(covered, photos, tmp_path):
    Image.open(photos / "cat" / "1.png").save(tmp_path / "copy.bmp")
    found = check(covered, tmp_path / "copy.bmp", receipt_of(tmp_path, 1))
    assert found.text == "line 4 (forget) covers copy.bmp by its pixels"


def test_a_receipt_of_another_photo_proves_nothing(covered, photos, tmp_path):
    found = check(covered, photos / "cat" / "0.png", receipt_of(tmp_path, 1))
    assert (found.name, found.holds, found.status) == ("record", False, 18)
    Image.new("RGB", (4, 5), (0, 50, 90)).save(tmp_path / "turned.png")
    assert not check(covered, tmp_path / "turned.png", receipt_of(tmp_path, 0)).holds


def test_a_receipt_is_checked_with_hashlib_alone(covered, photos, tmp_path):
    """As VERIFY.md says, without a function of the package."""
    content = json.loads(receipt_of(tmp_path, 2).read_text())
    photo = photos / "cat" / "2.png"
    pixels = Image.open(photo)
    page = hashlib.sha256(f"page {pixels.width}x{pixels.height} RGB ".encode() + pixels.tobytes()).digest()
    forms = {"file": b"file " + photo.read_bytes(), "pixels": b"pixels 1 " + page}
    statement = list(covered.statements())[-1]
    assert {proof["form"] for proof in content["proofs"]} == set(forms)
    for proof in content["proofs"]:
        digest = hashlib.sha256(forms[proof["form"]]).digest()
        node = hmac.digest(bytes.fromhex(proof["nonce"]), b"myosotis/v1/record" + digest, "sha256")
        node, index, last = hashlib.sha256(b"\0" + node).digest(), proof["index"], proof["size"] - 1
        for other in map(bytes.fromhex, proof["path"]):
            if index % 2 or index == last:
                node = hashlib.sha256(b"\1" + other + node).digest()
                while index and not index % 2:
                    index, last = index // 2, last // 2
            else:
                node = hashlib.sha256(b"\1" + node + other).digest()
            index, last = index // 2, last // 2
        assert last == 0
        assert node.hex() == content["root"] == statement.predicate.records.root


@pytest.mark.parametrize("part", ["nonce", "index", "size", "path", "root"])
def test_a_receipt_that_was_changed_proves_nothing(part, covered, photos, tmp_path):
    path = receipt_of(tmp_path, 0)
    content = json.loads(path.read_text())
    for proof in content["proofs"]:
        if part == "path":
            proof["path"] = proof["path"][:-1]
        elif part in proof:
            proof[part] = "00" * 32 if part == "nonce" else proof[part] + 1
    if part == "root":
        content["root"] = "00" * 32
    path.write_text(json.dumps(content))
    assert not check(covered, photos / "cat" / "0.png", path).holds


def test_the_same_photo_twice_has_two_commitments(photos, tmp_path):
    shutil.copy(photos / "cat" / "0.png", photos / "cat" / "again.png")
    assert commit(entries_of(photos)).size == 8


def test_nothing_in_the_line_depends_on_the_records_alone(photos):
    first, second = (commit(entries_of(photos)) for _ in range(2))
    assert first.root != second.root
    nonces = {proof.nonce for made in (first, second) for proofs in made.proofs().values() for proof in proofs}
    assert len(nonces) == 12


def test_receipts_are_the_owners_alone_and_never_replaced(covered, photos, tmp_path):
    for path in (tmp_path / "receipts").rglob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "receipts").stat().st_mode) == 0o700
    with pytest.raises(InputError, match="a receipt is never replaced"):
        write_receipts(proofs_of_all(commit(entries_of(photos))), tmp_path / "receipts")


def test_what_cannot_be_written_leaves_nothing_that_stands_in_the_way(photos, tmp_path, monkeypatch):
    """A full disk, for example: the command is given again when there is room."""
    commitment = commit(entries_of(photos))
    written = []

    def failing(descriptor, *arguments, **options):
        stream = fdopen(descriptor, *arguments, **options)
        written.append(stream.name)
        if len(written) == 2:
            stream.write = lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device"))
        return stream

    fdopen = os.fdopen
    monkeypatch.setattr("myosotis.ledger.commitments.os.fdopen", failing)
    with pytest.raises(OSError, match="No space left"):
        write_receipts(proofs_of_all(commitment), tmp_path / "receipts")
    assert not (tmp_path / "receipts").exists()
    written[:] = [0]
    with pytest.raises(OSError, match="No space left"):
        write_opening(commitment, tmp_path / "key.json")
    assert not (tmp_path / "key.json").exists()
    assert write_receipts(proofs_of_all(commitment), tmp_path / "receipts") == 3
    write_opening(commitment, tmp_path / "key.json")
    assert read_opening(tmp_path / "key.json") == commitment


class TestLearned:
    """A line that learned commits to its records, and a later one shows that what it forgot was among them."""

    @pytest.fixture
    def opening(self, photos, tmp_path):
        commitment = commit(entries_of(photos))
        write_opening(commitment, tmp_path / "learned.json")
        return tmp_path / "learned.json"

    @pytest.fixture
    def one(self, photos, tmp_path):
        """A folder with one of the photos, under another name and with other bytes."""
        (tmp_path / "request").mkdir()
        Image.open(photos / "cat" / "1.png").save(tmp_path / "request" / "mine.bmp")
        return tmp_path / "request"

    def grown(self, ledger, signer, claimed, opening, request, tmp_path):
        learned = read_opening(opening)
        ledger.append(with_commitment(claimed("learn", "b", "c", records={"count": 3}), learned), signer)
        had, said = proofs_among(request, [learned])
        made = commit(entries_of(request))
        write_receipts(proofs_of_all(made), tmp_path / "receipts", had)
        ledger.append(with_commitment(claimed("forget", "c", "d", records={"count": 1}), made, said), signer)

    def test_a_receipt_proves_that_it_was_learned_and_forgotten(
        self, life, signer, claimed, opening, one, photos, tmp_path
    ):
        self.grown(life, signer, claimed, opening, one, tmp_path)
        receipt = tmp_path / "receipts" / "mine.bmp.receipt.json"
        assert all(step.holds for step in verify_ledger(life.path, Trusted.by_ledger(life.path)))
        found = check(life, one / "mine.bmp", receipt)
        assert found.text == "line 5 (forget) covers mine.bmp by its file and pixels; line 4 had learned it"
        found = check(life, photos / "cat" / "1.png", receipt)
        assert found.text == "line 5 (forget) covers 1.png by its pixels; line 4 had learned it"
        assert not check(life, photos / "cat" / "0.png", receipt).holds

    def test_a_receipt_cannot_claim_another_learning(self, life, signer, claimed, opening, one, photos, tmp_path):
        self.grown(life, signer, claimed, opening, one, tmp_path)
        receipt = tmp_path / "receipts" / "mine.bmp.receipt.json"
        content = json.loads(receipt.read_text())
        content["learned"]["proofs"][0]["nonce"] = "00" * 32
        receipt.write_text(json.dumps(content))
        assert not check(life, one / "mine.bmp", receipt).holds

    def test_what_was_never_learned_is_refused(self, opening, tmp_path):
        Image.new("RGB", (5, 4), (99, 99, 99)).save(tmp_path / "stranger.png")
        with pytest.raises(InputError, match="1 of 1 records are in none of these commitments"):
            proofs_among(tmp_path / "stranger.png", [read_opening(opening)])

    def test_a_learning_outside_the_lineage_is_refused(self, life, signer, claimed, opening, one):
        """Commitments of a model that the forgetting one does not follow from say nothing about it."""
        learned = read_opening(opening)
        life.append(with_commitment(claimed("learn", None, "x"), learned), signer, "other")
        _, said = proofs_among(one, [learned])
        claim = with_commitment(claimed("forget", "b", "c"), commit(entries_of(one)), said)
        size = (life.path / "log.intoto.jsonl").stat().st_size
        for refusing in (life.append, life.check):
            with pytest.raises(InputError, match="no `learn` line that this model follows from"):
                refusing(claim, signer)
        assert (life.path / "log.intoto.jsonl").stat().st_size == size

    def test_a_line_that_claims_it_all_the_same_fails_the_check(self, life, signer, claimed, opening, one, monkeypatch):
        _, said = proofs_among(one, [read_opening(opening)])
        claim = with_commitment(claimed("forget", "b", "c"), commit(entries_of(one)), said)
        monkeypatch.setattr(type(life), "_check_learning", lambda *_: None)
        life.append(claim, signer)
        last = list(verify_ledger(life.path, Trusted.by_ledger(life.path)))[-1]
        assert (last.name, last.status) == ("lineage", 16)
        assert last.text == "line 4: no line that it follows from had learned its records"

    def test_the_key_is_the_owners_alone_and_never_replaced(self, opening, photos):
        assert stat.S_IMODE(opening.stat().st_mode) == 0o600
        with pytest.raises(InputError, match="already exists"):
            write_opening(commit(entries_of(photos)), opening)
        assert read_opening(opening).key.hex() not in repr(read_opening(opening))
        opening.chmod(0o644)
        with pytest.raises(InputError, match="others can read this key"):
            read_opening(opening)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda content: content.update(root="00" * 32), "is damaged"),
            (lambda content: content["entries"][0].__setitem__(1, "sound"), "is damaged"),
            (lambda content: content["entries"].pop(), "is damaged"),
            (lambda content: content["entries"].clear(), "is not a key of commitments"),
            (lambda content: content.pop("key"), "is not a key of commitments"),
            (lambda content: content.update(scheme="myosotis/v9"), "is of scheme 'myosotis/v9'"),
            (lambda content: content.update(scheme=[[]]), "is of scheme"),
            (lambda content: content["entries"][0].__setitem__(1, ["file"]), "is not a key of commitments"),
        ],
    )
    def test_a_key_that_was_changed_is_refused(self, change, message, opening):
        content = json.loads(opening.read_text())
        change(content)
        opening.write_text(json.dumps(content))
        with pytest.raises(InputError, match=message):
            read_opening(opening)

    @pytest.mark.parametrize("depth", [700, 100_000])
    def test_a_key_that_is_nested_deep_is_refused(self, depth, opening):
        content = json.loads(opening.read_text())
        content["entries"][0][0] = "deep"
        opening.write_text(json.dumps(content).replace('"deep"', "[" * depth + "]" * depth))
        with pytest.raises(InputError, match="is not a key of commitments|is damaged"):
            read_opening(opening)


class TestText:
    def records(self, tmp_path):
        lines = [{"name": "Zoë Ash", "text": "lives  in\tTown"}, {"name": "B", "text": "x"}]
        (tmp_path / "forget.jsonl").write_text("\n".join(map(json.dumps, lines)), "utf-8")
        return tmp_path / "forget.jsonl"

    def test_a_record_that_was_typed_anew(self, life, signer, claimed, tmp_path):
        commitment = commit(entries_of(self.records(tmp_path)))
        write_receipts(proofs_of_all(commitment), tmp_path / "receipts")
        life.append(with_commitment(claimed("forget", "b", "c"), commitment), signer)
        # Another order of keys, other white space, and a letter of two code points.
        (tmp_path / "mine.json").write_text('{"text": "lives in Town", "name": "Zoe\u0308 Ash"}', "utf-8")
        found = check(life, tmp_path / "mine.json", tmp_path / "receipts" / "line-1.receipt.json")
        assert found.text == "line 4 (forget) covers mine.json by its text"
        assert not check(life, tmp_path / "mine.json", tmp_path / "receipts" / "line-2.receipt.json").holds

    def test_a_line_separator_within_a_text_ends_no_record(self, tmp_path):
        (tmp_path / "odd.jsonl").write_text('\n{"text": "one\u2028two"}\n\n{"text": "three"}\n', "utf-8")
        assert [entry.name for entry in entries_of(tmp_path / "odd.jsonl")] == ["line-2", "line-4"]


def test_another_number_than_the_run_forgot_is_refused(claimed, photos):
    with pytest.raises(InputError, match="the run forgot 4 records, 3 are given"):
        with_commitment(claimed("forget", "b", "c", records={"count": 4}), commit(entries_of(photos)))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none", None, "no such file or folder of records"),
        ("empty.jsonl", "\n", "holds no record"),
        ("broken.jsonl", '{"a": 1}\n{"a', "line 2: is not JSON"),
        ("broken.json", '{"a', "is not JSON"),
        ("large.json", '{"a": 1e400}', "holds the number 1e400, which a double does not hold"),
        ("half.jsonl", '{"a": "\\ud800"}', "line 1: is nested too deep, or holds half of a surrogate pair"),
        ("deep.json", "[" * 600 + "]" * 600, "is nested too deep"),
        ("deeper.json", "[" * 100_000 + "]" * 100_000, "is not JSON"),
        ("broken.png", "no picture", "cannot be read as an image"),
        ("folder", "folder", "holds no photo"),
    ],
)
def test_what_are_no_records_is_refused(name, content, message, tmp_path):
    if content == "folder":
        (tmp_path / name).mkdir()
    elif content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        entries_of(tmp_path / name)


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"scheme": "myosotis/v1", "proofs": [{}], "root": ""}'])
def test_what_is_no_receipt_is_refused(content, covered, photos, tmp_path):
    (tmp_path / "odd.json").write_text(content)
    with pytest.raises(InputError, match="is damaged or unknown|is not JSON"):
        check(covered, photos / "cat" / "0.png", tmp_path / "odd.json")


def test_a_scheme_of_another_version_is_refused(covered, photos, tmp_path):
    path = receipt_of(tmp_path, 0)
    path.write_text(path.read_text().replace("myosotis/v2", "myosotis/v9"))
    with pytest.raises(InputError, match="scheme: Input should be 'myosotis/v1' or 'myosotis/v2'"):
        check(covered, photos / "cat" / "0.png", path)


def test_what_is_no_photo_is_refused_at_once(photos, tmp_path):
    """A pipe waited for ever for somebody to write; an image that unpacks to gigabytes was called unreadable."""
    os.mkfifo(photos / "cat" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png: is not a regular file"):
        entries_of(photos)
    (photos / "cat" / "pipe.png").unlink()
    (photos / "cat" / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(InputError, match=r"zero\.png: is not a regular file"):
        entries_of(photos)
    (photos / "cat" / "zero.png").unlink()
    for side in (8200, 14000, 20000):
        Image.new("1", (side, side)).save(photos / "cat" / "page.png")
        with pytest.raises(InputError, match=r"page\.png: .*more than the 67,108,864 pixels that are read"):
            entries_of(photos)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o666])
def test_a_key_of_commitments_that_others_can_reach_is_refused(mode, photos, tmp_path):
    write_opening(commit(entries_of(photos)), tmp_path / "opening.json")
    (tmp_path / "opening.json").chmod(mode)
    with pytest.raises(InputError, match=r"opening\.json: others can read this key; `chmod 600` it"):
        read_opening(tmp_path / "opening.json")


class TestPixels:
    """Photos that differ in what some reader throws away have different pixels."""

    def pixels(self, path):
        return next(entry.content for entry in entries_of(path) if entry.form == "pixels")

    def test_depth_alpha_and_pages_count(self, tmp_path):
        deep = [Image.fromarray(np.full((2, 3), value, dtype=np.uint16)) for value in (300, 400)]
        for name, image in zip(("a.png", "b.png"), deep, strict=True):
            image.save(tmp_path / name)
        assert self.pixels(tmp_path / "a.png") != self.pixels(tmp_path / "b.png")
        for name, alpha in (("c.png", 0), ("d.png", 128), ("e.png", 255)):
            Image.new("RGBA", (3, 2), (9, 8, 7, alpha)).save(tmp_path / name)
        Image.new("RGB", (3, 2), (9, 8, 7)).save(tmp_path / "f.png")
        assert len({self.pixels(tmp_path / name) for name in ("c.png", "d.png", "e.png")}) == 3
        assert self.pixels(tmp_path / "e.png") == self.pixels(tmp_path / "f.png")
        pages = [Image.new("L", (3, 2), value) for value in (1, 2, 3)]
        for name, more in (("g.tif", pages[1:2]), ("h.tif", pages[2:]), ("i.tif", [])):
            pages[0].save(tmp_path / name, save_all=True, append_images=more)
        assert len({self.pixels(tmp_path / name) for name in ("g.tif", "h.tif", "i.tif")}) == 3

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F", "I;16"])
    def test_every_mode_has_a_form(self, mode, tmp_path):
        Image.new(mode, (3, 2)).save(tmp_path / "x.tif")
        assert len(self.pixels(tmp_path / "x.tif")) == 32

    def test_a_copy_in_another_lossless_format_has_the_same(self, tmp_path):
        picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8))
        for name in ("x.png", "x.bmp", "x.tif"):
            picture.save(tmp_path / name)
        assert len({self.pixels(tmp_path / name) for name in ("x.png", "x.bmp", "x.tif")}) == 1


class TestOneReading:
    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"a": 1, "a": 2}', "has a key twice"),
            ('{"a": 9007199254740993}', "beyond 2\\^53"),
            ('{"a": NaN}', "holds NaN"),
            ("[" * 100_000, "is not JSON"),
        ],
    )
    def test_what_programs_read_differently_is_not_a_record(self, content, message, tmp_path):
        (tmp_path / "x.json").write_text(content)
        with pytest.raises(InputError, match=message):
            entries_of(tmp_path / "x.json")

    def test_keys_that_differ_by_a_space_are_two(self, tmp_path):
        for name, content in (("a", '{"k": 1, "k ": 2}'), ("b", '{"k": 2, "k ": 1}')):
            (tmp_path / f"{name}.json").write_text(content)
        one, other = (entries_of(tmp_path / f"{name}.json")[0].content for name in "ab")
        assert one != other


def test_a_receipt_of_the_first_version_still_holds(life, signer, claimed, photos, tmp_path):
    """People keep receipts for years; their pixels are those of the first page as RGB."""
    commitment = replace(commit(entries_of(photos, "myosotis/v1")), scheme="myosotis/v1")
    write_receipts(proofs_of_all(commitment), tmp_path / "receipts")
    line = with_commitment(claimed("forget", "b", "c", records={"count": 3}), commitment)
    line.facts["records"]["scheme"] = "myosotis/v1"
    life.append(line, signer)
    path = receipt_of(tmp_path, 1)
    content = json.loads(path.read_text())
    assert content["scheme"] == "myosotis/v1"
    Image.open(photos / "cat" / "1.png").save(tmp_path / "copy.bmp")
    assert check(life, tmp_path / "copy.bmp", path).text == "line 4 (forget) covers copy.bmp by its pixels"


def test_a_name_cannot_lead_out_of_the_folder(tmp_path):
    commitment = commit([Entry("../../x", "text", bytes(32))])
    with pytest.raises(InputError, match="is not a name of a record"):
        write_receipts(proofs_of_all(commitment), tmp_path / "a" / "receipts")
    assert not (tmp_path / "a" / "receipts").exists()
