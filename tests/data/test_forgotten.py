from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from myosotis.data.forgotten import Forgotten
from myosotis.data.image_folders import read_image_folder
from myosotis.data.sets import limited, only_classes
from myosotis.engine.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """Two classes of three photos."""
    draw = np.random.default_rng(0)
    for name in ("ash", "elm"):
        (tmp_path / name).mkdir()
        for number in range(3):
            Image.fromarray(draw.integers(256, size=(8, 8), dtype=np.uint8)).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_the_same_file_in_another_size_is_recognised(folder):
    forgotten = Forgotten().with_images(read_image_folder(folder).subset([1, 4]))
    assert forgotten.among(read_image_folder(folder, 6)) == [1, 4]
    assert Forgotten(forgotten.key, forgotten.images).among(read_image_folder(folder, 6)) == []


def test_a_file_of_the_same_pixels_is_recognised(folder):
    forgotten = Forgotten().with_images(read_image_folder(folder).subset([1]))
    with Image.open(folder / "ash/1.png") as picture:
        picture.save(folder / "ash/1.bmp")
    (folder / "ash/1.png").unlink()
    assert forgotten.among(read_image_folder(folder)) == [1]


def test_parts_of_a_set_know_their_files(folder):
    images = read_image_folder(folder)
    for part in (images.subset([4]), limited(images, 2, 0, "limit"), only_classes(images, ("elm",))):
        assert [path.relative_to(folder).as_posix() for path in part.files] == list(part.names)
    assert images.subset([0]).joined(images.subset([5]), "more/").files == (images.files[0], images.files[5])


def test_lists_of_earlier_versions_have_no_files(folder):
    content = Forgotten().with_images(read_image_folder(folder)).as_json()
    assert len(content["files"]) == len(content["images"]) == 6
    del content["files"]
    assert Forgotten.of(content).files == frozenset()


def test_a_file_that_went_is_named(folder):
    images = read_image_folder(folder)
    Path(images.files[2]).unlink()
    with pytest.raises(InputError, match=r"2\.png: cannot be read: No such file"):
        Forgotten().with_images(images)
