import gzip
import struct

import numpy as np
import pytest
import torch
from PIL import Image

from myosotis.data.augmentation import crop_and_flip
from myosotis.data.image_archives import read_idx, read_torchvision
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet
from myosotis.data.instance_lists import read_instance_list
from myosotis.engine.errors import InputError


def write_image(path, value, size=(4, 4), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def folder(tmp_path):
    write_image(tmp_path / "cat" / "b.png", (0, 0, 255))
    write_image(tmp_path / "cat" / "a.png", (255, 0, 0))
    write_image(tmp_path / "dog" / "deep" / "c.png", (0, 255, 0))
    return tmp_path


def test_folder(folder):
    found = read_image_folder(folder)
    assert found.classes == ("cat", "dog")
    assert found.names == ("cat/a.png", "cat/b.png", "dog/deep/c.png")
    assert found.labels.tolist() == [0, 0, 1]
    assert found.images.shape == (3, 3, 4, 4)
    assert found.images[0, :, 0, 0].tolist() == [255, 0, 0]
    assert found.pixels()[1, 2].unique().tolist() == [1.0]


def test_grey_folder_has_one_channel_and_a_mixed_one_three(tmp_path):
    write_image(tmp_path / "x" / "a.png", 128, mode="L")
    assert read_image_folder(tmp_path).images.shape == (1, 1, 4, 4)
    write_image(tmp_path / "x" / "b.png", (1, 2, 3))
    mixed = read_image_folder(tmp_path)
    assert mixed.images.shape == (2, 3, 4, 4)
    assert mixed.images[0, :, 0, 0].tolist() == [128, 128, 128]


def test_sizes(tmp_path):
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


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def mnist(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(np.array([1, 0], dtype=np.uint8)))
    return tmp_path


def test_idx(mnist):
    found = read_idx(mnist, "train")
    assert found.images.shape == (2, 1, 3, 4)
    assert found.images.flatten().tolist() == list(range(24))
    assert found.labels.tolist() == [1, 0]
    assert found.names == ("train-00000", "train-00001")
    assert read_idx(mnist, "train", ["a", "b"]).classes == ("a", "b")


def test_bad_idx(mnist):
    with pytest.raises(InputError, match="t10k-images"):
        read_idx(mnist, "test")
    with pytest.raises(InputError, match="2 classes, but 1"):
        read_idx(mnist, "train", ["a"])
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.array([1], dtype=np.uint8)))
    with pytest.raises(InputError, match="2 images but 1 labels"):
        read_idx(mnist, "train")
    (mnist / "train-labels-idx1-ubyte").write_bytes(b"\x00\x00\x08")
    with pytest.raises(InputError, match="damaged"):
        read_idx(mnist, "train")
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros((1, 1), dtype=np.uint8)))
    with pytest.raises(InputError, match="is not an idx file of bytes with 1"):
        read_idx(mnist, "train")
    (mnist / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros((0, 3, 4), dtype=np.uint8))))
    (mnist / "train-labels-idx1-ubyte").write_bytes(idx(np.zeros(0, dtype=np.uint8)))
    with pytest.raises(InputError, match="the train files hold no image"):
        read_idx(mnist, "train")


def test_torchvision(tmp_path):
    with pytest.raises(InputError, match="pickles"):
        read_torchvision("CIFAR10", tmp_path, "train")
    with pytest.raises(InputError, match="download: true"):
        read_torchvision("FashionMNIST", tmp_path, "train")


def test_torchvision_reads_what_idx_reads(mnist):
    raw = mnist / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    for prefix in ("train", "t10k"):
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(idx(images))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.array([1, 0], dtype=np.uint8)))
    found = read_torchvision("FashionMNIST", mnist, "test")
    assert torch.equal(found.images, read_idx(mnist, "train").images)
    assert found.labels.tolist() == [1, 0]
    assert found.names == ("test-00000", "test-00001")
    assert found.classes[1] == "Trouser"


def test_instance_list(folder, tmp_path):
    known = read_image_folder(folder)
    path = tmp_path / "list.txt"
    path.write_text("# to go\ndog/deep/c.png\n\ncat/a.png  # mine\n")
    assert read_instance_list(path, known) == [2, 0]
    path.write_text("cat/a.png\ncat/z.png\n")
    with pytest.raises(InputError, match=r"list.txt, line 2: no such image: cat/z.png"):
        read_instance_list(path, known)
    path.write_text("cat/a.png\ncat/a.png\n")
    with pytest.raises(InputError, match="line 2: cat/a.png is listed twice"):
        read_instance_list(path, known)
    path.write_text("# nothing\n")
    with pytest.raises(InputError, match="names no image"):
        read_instance_list(path, known)
    with pytest.raises(InputError, match="no such instance list"):
        read_instance_list(tmp_path / "none", known)


def test_choices_depend_on_names_not_on_order():
    images = torch.zeros(20, 1, 2, 2, dtype=torch.uint8)
    one = ImageSet(images, torch.zeros(20, dtype=torch.long), tuple(f"i{n}" for n in range(20)), ("x",))
    other = one.subset(list(reversed(range(20))))
    first = [one.names[place] for place in one.shuffled(3, "forget")]
    assert first == [other.names[place] for place in other.shuffled(3, "forget")]
    assert first != [one.names[place] for place in one.shuffled(4, "forget")]
    assert sorted(first) == sorted(one.names)


def test_digest_knows_bytes_and_label_only():
    images = torch.zeros(3, 1, 2, 2, dtype=torch.uint8)
    images[2] += 1
    known = ImageSet(images, torch.tensor([0, 0, 0]), ("a", "b", "c"), ("x",))
    assert known.digest(0) == known.digest(1) != known.digest(2)


def test_every_image_has_its_own_shift_and_side():
    image = torch.arange(1, 26, dtype=torch.uint8).view(1, 1, 5, 5).repeat(40, 1, 1, 1)
    found = crop_and_flip(image, torch.Generator().manual_seed(0), padding=1)
    padded = torch.nn.functional.pad(image[0, 0], (1, 1, 1, 1))
    possible = [
        side
        for row in range(3)
        for column in range(3)
        for side in (padded[row : row + 5, column : column + 5], padded[row : row + 5, column : column + 5].flip(1))
    ]
    kinds = {next(place for place, one in enumerate(possible) if torch.equal(one, picture[0])) for picture in found}
    assert len(kinds) > 8
    assert torch.equal(found, crop_and_flip(image, torch.Generator().manual_seed(0), padding=1))
    with pytest.raises(ValueError, match="padding"):
        crop_and_flip(image, torch.Generator(), padding=-1)


def test_sixteen_bits_are_scaled_not_cut(tmp_path):
    values = np.array([[0, 4096], [32768, 65535]], dtype=np.uint16)
    (tmp_path / "a").mkdir()
    Image.fromarray(values).save(tmp_path / "a" / "0.png")
    assert read_image_folder(tmp_path).images.flatten().tolist() == [0, 16, 128, 255]
