import gzip
import struct

import numpy as np
import pytest
import torch

from myosotis.data.image_archives import read_idx, read_torchvision
from myosotis.engine.errors import InputError


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
