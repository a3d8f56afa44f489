"""Arrays whose headers claim more than there is, or whose files unpack to more than is read."""

import gzip
import io
import struct
import zipfile

import numpy as np
import pytest

from myosotis.data.array_files import read_npy, read_npz
from myosotis.data.image_archives import read_idx
from myosotis.engine import unpacking
from myosotis.engine.errors import InputError


def npy(shape, descr="|u1", values=b"\0\1\0\1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + values


LIES = {
    "a terabyte": npy((2**40,)),
    "three gigabytes": npy((3 * 2**30,)),
    "negative": npy((-4,)),
    "overflowing": npy((2**62, 2**62)),
    "eight gigabytes of type": npy((4,), "|V2000000000"),
    "objects": npy((4,), "|O"),
    "longer": npy((4,)) + b"\0",
    "nested": b"\x93NUMPY\x01\x00" + struct.pack("<H", 9000) + b"{'descr':" + b"(" * 8000 + b" " * 991,
    "a header of gigabytes": b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + b"{",
    "another archive": b"PK\3\4" + bytes(100),
    "nothing": b"",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies(lie, tmp_path):
    """Four of them were tracebacks, among them the terabyte, for which memory was asked first."""
    path = tmp_path / "x.npy"
    path.write_bytes(LIES[lie])
    with pytest.raises(InputError, match=r"x\.npy: not a readable \.npy array"):
        read_npy(path)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("images.npy", LIES[lie])
    with pytest.raises(InputError, match=r"x\.npz: cannot be read: ") as caught:
        read_npz(tmp_path / "x.npz")
    assert "\n" not in str(caught.value)


def test_the_truth_is_read(tmp_path):
    arrays = {
        "images": np.arange(24, dtype=np.uint8).reshape(2, 3, 4),
        "labels": np.array([1, 0]),
    }
    np.savez_compressed(tmp_path / "x.npz", **arrays)
    np.save(tmp_path / "x.npy", np.asfortranarray(arrays["images"]))
    assert {name: value.tolist() for name, value in read_npz(tmp_path / "x.npz").items()} == {
        name: value.tolist() for name, value in arrays.items()
    }
    assert read_npy(tmp_path / "x.npy").tolist() == arrays["images"].tolist()


def test_a_zip_bomb_is_refused_by_a_named_limit(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 2**20)
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros(2**21, np.uint8))
    with pytest.raises(InputError, match="unpacks to 2,097,280 bytes, more than the 1,048,576 that are read"):
        read_npz(tmp_path / "x.npz")
    # What hardly shrinks may be as large as it likes.
    noise = np.random.default_rng(0).integers(0, 256, 2**21, dtype=np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=noise)
    assert len(read_npz(tmp_path / "x.npz")["images"]) == 2**21


def test_a_zip_directory_that_claims_less_than_there_is(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, images=np.zeros(2**21, np.uint8))
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 24 : entry + 28] = struct.pack("<I", 1000)
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match="cannot be read: (Bad CRC-32|its header claims)"):
        read_npz(path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 8, 8), "is damaged"),
        ((2**32 - 1, 2**32 - 1, 2**32 - 1), "unpacks to [0-9,]* bytes, more than the 1,073,741,824 that are read"),
        ((2**15, 2**8, 2**8), "unpacks to 2,147,483,648 bytes, more than the 1,073,741,824 that are read"),
    ],
)
def test_an_idx_file_that_holds_more_or_claims_more(shape, message, tmp_path, monkeypatch):
    """A file of 256 bytes of images was unpacked whole, whatever followed them."""
    content = struct.pack(">HBBIII", 0, 8, 3, *shape) + bytes(2**22)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + bytes(4))
    read = []
    unpack = gzip.GzipFile.read
    monkeypatch.setattr(gzip.GzipFile, "read", lambda self, size=-1: read.append(size) or unpack(self, size))
    with pytest.raises(InputError, match=message):
        read_idx(tmp_path, "train")
    assert -1 not in read
    assert sum(read) < 2**10
