import pytest
from PIL import Image


def write_image(path, value, size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture(scope="session", name="write_image")
def _write_image_fixture():
    return write_image


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "cat" / "b.png", (0, 0, 255))
    write_image(tmp_path / "cat" / "a.png", (255, 0, 0))
    write_image(tmp_path / "dog" / "deep" / "c.png", (0, 255, 0))
    return tmp_path
