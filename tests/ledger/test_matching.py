"""Records that are given for a line are those that its run read."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from myosotis.data.images import ImageSet
from myosotis.data.records import Record
from myosotis.data.sets import pixels_fingerprint
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.ledger.matching import check_records

SALT = "0123456789abcdef" * 2


class FakeRun:
    """What `check_records` reads of a run."""

    def __init__(self, result, settings):
        self._result, self._settings, self.salt = result, settings, SALT

    def result(self):
        return self._result

    def settings(self):
        return self._settings


@pytest.fixture
def photos(tmp_path):
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 3, 6, 6), dtype=np.uint8))
    for number, image in enumerate(images):
        path = tmp_path / "photos" / "cat" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
    return ImageSet(images, torch.tensor([1, 0, 1]), ("a", "b", "c"), ("cat", "owl"))


@pytest.fixture
def check(monkeypatch, tmp_path):
    def checked(result, settings, records):
        monkeypatch.setattr("myosotis.ledger.matching.Run.read", lambda _: FakeRun(result, settings))
        check_records(tmp_path / "run", records)

    return checked


class TestForgottenPhotos:
    @pytest.fixture
    def result(self, photos):
        prints = [salted_fingerprint(photos.digest(index), SALT) for index in range(3)]
        return {"kind": "unlearn-exact", "fingerprints": prints, "classes": ["cat"], "classes_gone": ["owl"]} | {
            "lineage": {}
        }

    def test_those_of_the_run_whatever_their_class(self, check, result, tmp_path):
        assert check(result, {"data": {"train": {"size": None}}}, tmp_path / "photos") is None

    @pytest.mark.parametrize("change", ["another", "missing", "twice", "extra"])
    def test_others_are_refused(self, change, check, result, tmp_path):
        folder = tmp_path / "photos" / "cat"
        if change == "another":
            Image.new("RGB", (6, 6)).save(folder / "1.png")
        elif change == "missing":
            (folder / "1.png").unlink()
        elif change == "twice":
            (folder / "1.png").write_bytes((folder / "0.png").read_bytes())
        else:
            (folder / "4.png").write_bytes((folder / "0.png").read_bytes())
        message = "1 of the 3 records that the run forgot are missing" if change == "missing" else "is not a record"
        with pytest.raises(InputError, match=message):
            check(result, {"data": {}}, tmp_path / "photos")

    def test_they_are_scaled_as_the_run_scaled_them(self, check, tmp_path):
        from myosotis.data.image_folders import read_image_folder

        picture = np.random.default_rng(1).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        (tmp_path / "big" / "cat").mkdir(parents=True)
        Image.fromarray(picture).save(tmp_path / "big" / "cat" / "x.png")
        images = read_image_folder(tmp_path / "big", 4)
        result = {"kind": "unlearn-classifier", "classes": ["cat"]}
        result["lineage"] = {"data": {"forget": [salted_fingerprint(images.digest(0), SALT)]}}
        check(result, {"data": {"forget": {"folder": "x"}, "train": {"folder": "y", "size": 4}}}, tmp_path / "big")
        with pytest.raises(InputError, match="is not a record"):
            check(result, {"data": {"train": {"folder": "y", "size": 5}}}, tmp_path / "big")


class TestLearnedPhotos:
    def test_all_of_them_and_no_other(self, check, photos, tmp_path):
        lineage = {"learned": pixels_fingerprint((pixels for pixels, _ in photos.hashes), SALT)}
        result = {"kind": "learn-classes", "lineage": lineage}
        check(result, {"data": {"train": {"folder": "x"}}}, tmp_path / "photos")
        Image.new("RGB", (6, 6)).save(tmp_path / "photos" / "cat" / "1.png")
        with pytest.raises(InputError, match="its 3 photos are not those that the run learned"):
            check(result, {"data": {"train": {"folder": "x"}}}, tmp_path / "photos")

    def test_a_run_that_does_not_say_what_it_learned_is_refused(self, check, photos, tmp_path):
        with pytest.raises(InputError, match="does not say what it learned"):
            check({"kind": "learn-segments", "lineage": {}}, {"data": {}}, tmp_path / "photos")


class TestTexts:
    def test_the_records_of_the_run_in_its_layout(self, check, tmp_path):
        record = Record(prompt="Who is Anna?", response="A baker.")
        prints = [salted_fingerprint(record.content, SALT)]
        result = {"kind": "unlearn-language", "lineage": {"data": {"forget": prints}}}
        settings = {"data": {"forget": {"file": "x", "fields": {"prompt": "question", "response": "answer"}}}}
        for row in (
            {"question": "Who is  Anna?", "answer": "A baker."},
            {"prompt": "who is Anna?", "response": "a baker."},
        ):
            (tmp_path / "rows.jsonl").write_text(json.dumps(row))
            check(result, settings, tmp_path / "rows.jsonl")
        (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "Who is Eva?", "response": "A baker."}))
        with pytest.raises(InputError, match="line 1 is not a record that the run forgot"):
            check(result, settings, tmp_path / "rows.jsonl")
