import numpy as np
import pytest
from PIL import Image

from myosotis.data.image_folders import read_image_folder
from myosotis.engine.errors import InputError


def test_folder(folder):
    found = read_image_folder(folder)
    assert found.classes == ("cat", "dog")
    assert found.names == ("cat/a.png", "cat/b.png", "dog/deep/c.png")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.images.shape == (3, 3, 4, 4)
    assert found.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert found.pixels()[1, 2].unique().tolist() == [1.0]


def test_grey_folder_has_one_channel_and_a_mixed_one_three(tmp_path, write_image):
    write_image(tmp_path / "x" / "a.png", 128, mode="L")
    assert read_image_folder(tmp_path).images.shape == (1, 1, 4, 4)
    write_image(tmp_path / "x" / "b.png", (1, 2, 3))
    mixed = read_image_folder(tmp_path)
    assert mixed.images.shape == (2, 3, 4, 4)
    assert mixed.images[0, :, 0, 0].tolist() == [128, 128, 128]


def test_sizes(tmp_path, write_image):
    write_image(tmp_path / "x" / "a.png", (1, 2, 3))
    write_image(tmp_path / "x" / "b.png", (1, 2, 3), size=(8, 6))
    with pytest.raises(InputError, match=r"b.png: is 8x6, the first image is 4x4; give a size"):
        read_image_folder(tmp_path)
    assert read_image_folder(tmp_path, size=4).images.shape == (2, 3, 4, 4)


def test_bad_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        read_image_folder(tmp_path / "none")
    with pytest.raises(InputError, match="a folder for each class"):
        read_image_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no image"):
        read_image_folder(tmp_path)
    (tmp_path / "empty" / "a.png").write_text("text")
    with pytest.raises(InputError, match="a.png: is not a readable image"):
        read_image_folder(tmp_path)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    values = np.array([[0, 4096], [32768, 65535]], dtype=np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a" / "0.png")
    assert read_image_folder(tmp_path).images.flatten().tolist() == [0, 16, 128, 255]
