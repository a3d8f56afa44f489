import pytest
from PIL import Image


def write(folder, name, value, size=4):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), value).save(folder / name)


@pytest.fixture(scope="session", name="write")
def _write_fixture():
    return write


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for label, name in enumerate(("a", "b")):
            for number in range(4):
                write(tmp_path / split, f"{name}/{number}.png", 100 * label + 20 * number)
    return tmp_path
