"""Decoded images on the disk: damaged, unfinished, or without space."""

import hashlib
import json
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from myosotis.data.decode_cache import DecodeCache
from myosotis.data.image_folders import read_image_folder


@pytest.fixture
def world(tmp_path):
    for number in range(4):
        folder = tmp_path / "images" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 40 * number, np.uint8)).save(folder / f"{number}.png")
    read_image_folder(tmp_path / "images", cache=tmp_path / "cache")
    return tmp_path


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content))


DAMAGE = {
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "flipped": flip,
    "other": lambda path: path.write_text(json.dumps([1, 2])),
    "text": lambda path: path.write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("suffix", ["npy", "json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_made_again(suffix, damage, world):
    """It used to end in five different tracebacks; changed pixels were taken for the images."""
    (path,) = (world / "cache").glob(f"*.{suffix}")
    whole = {one.name: one.read_bytes() for one in (world / "cache").iterdir()}
    DAMAGE[damage](path)
    found = read_image_folder(world / "images", cache=world / "cache")
    assert found.images[:, 0, 0, 0].tolist() == [0, 80, 40, 120]
    assert {one.name: one.read_bytes() for one in (world / "cache").iterdir()} == whole


def test_what_decodes_otherwise_has_a_key_of_its_own(world):
    for options in ({"size": 4}, {"background": 0}, {"background": (1, 2, 3)}):
        before = set((world / "cache").glob("*.npy"))
        read_image_folder(world / "images", cache=world / "cache", **options)
        assert len(set((world / "cache").glob("*.npy")) - before) == 1


def cache(world):
    files = sorted((world / "images").rglob("*.png"))
    return DecodeCache(world / "cache", world / "images", files, 8, 255)


def test_space_is_reserved_before_it_is_written_to(world):
    """A map of a file without space kills the process with SIGBUS when the disk is full."""
    store = cache(world)
    planes = store.create((100, 1, 64, 64))
    (staged,) = (world / "cache").glob(".*.npy")
    assert staged.stat().st_blocks * 512 >= 100 * 64 * 64
    assert planes.shape == (100, 1, 64, 64)
    store.abandon()
    assert not list((world / "cache").glob(".*"))


def test_no_space_is_an_error_and_leaves_nothing(world):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="cannot store 409,600 bytes of decoded images: File too large") as caught:
            cache(world).create((100, 1, 64, 64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(world / "cache")
    assert not list((world / "cache").glob(".*"))


def test_unfinished_files_are_removed_unless_somebody_works_at_them(world):
    left = world / "cache" / f".{'0' * 16}.npy"
    left.write_bytes(b"left by a process that was killed")
    at_work = cache(world)
    assert not left.exists()
    planes = at_work.create((4, 1, 8, 8))
    planes[:] = 7
    cache(world)  # looks for unfinished files
    images = at_work.finish(planes, [True, True, True, False])
    assert images.shape == (3, 1, 8, 8)
    assert images.unique().tolist() == [7]
    kept = cache(world).read()
    assert kept is not None
    assert kept[1] == [True, True, True, False]
    assert not list((world / "cache").glob(".*"))


@pytest.mark.parametrize("content", ["other", "type", "fewer", "lies"])
def test_a_cache_that_somebody_else_wrote_is_made_again(content, world):
    """A digest says that a file is what was written, not that it fits."""
    (path,) = (world / "cache").glob("*.npy")
    right = np.load(path)
    wrong = {"other": right[:, 0], "type": right.astype(np.int64), "fewer": right[:2], "lies": right}[content]
    np.save(path, wrong)
    if content == "lies":
        path.write_bytes(path.read_bytes().replace(b"(4, 1, 8, 8)", b"(4, 9, 8, 8)"))
    description = path.with_suffix(".json")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    description.write_text(json.dumps({"good": [True] * 4, "sha256": digest}))
    found = read_image_folder(world / "images", cache=world / "cache")
    assert np.array_equal(found.images, right)
    assert np.array_equal(np.load(path), right)
