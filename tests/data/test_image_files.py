"""Image files as they come: turned, transparent, hidden, linked, large, or no images at all."""

import os
import struct
import time

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from myosotis.data import image_files, image_folders
from myosotis.data.image_files import UnreadableImageError, as_array, files_below, read_header, read_picture
from myosotis.data.image_folders import read_image_folder, read_unlabelled_folder
from myosotis.engine.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)


def save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def turned(path, orientation, **options):
    """Save pixels with an orientation tag; return them as they are to be seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(PIXELS)
    exif = image.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    image.save(path, exif=exif, **options)
    return np.asarray(ImageOps.exif_transpose(Image.open(path)))


@pytest.mark.parametrize("suffix", ["png", "webp", "tif", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_as_their_tag_says(suffix, orientation, tmp_path):
    path = tmp_path / "a" / f"x.{suffix}"
    upright = turned(path, orientation, **({"lossless": True} if suffix == "webp" else {}))
    if orientation == 6 and suffix in ("png", "tif"):
        assert upright.tolist() == np.rot90(PIXELS, -1).tolist()
    assert read_header(path).size == upright.shape[1::-1]
    found = read_image_folder(tmp_path)
    assert found.images[0].permute(1, 2, 0).tolist() == upright.tolist()


def test_a_tag_behind_the_pixels_of_a_png_counts(tmp_path):
    path = tmp_path / "x.png"
    upright = turned(path, 6)
    content, chunks, at = path.read_bytes(), [], 8
    while at < len(content):
        length = struct.unpack(">I", content[at : at + 4])[0] + 12
        chunks.append(content[at : at + length])
        at += length
    chunks.sort(key=lambda chunk: (chunk[4:8] == b"IEND", chunk[4:8] == b"eXIf"))
    path.write_bytes(content[:8] + b"".join(chunks))
    assert path.read_bytes() != content
    assert read_header(path).size == (6, 10)
    assert np.asarray(read_picture(path)).tolist() == upright.tolist()


def test_transparent_pixels_are_laid_on_the_background(tmp_path):
    """The colour hidden in them used to be read as if it were visible."""
    array = np.zeros((8, 8, 4), np.uint8)
    array[..., 0], array[2:6, 2:6, 3] = 255, 255  # a red square; what is transparent hides red too
    save(tmp_path / "a" / "x.png", array)
    white = read_image_folder(tmp_path).images[0]
    assert (white[:, 0, 0].tolist(), white[:, 3, 3].tolist()) == ([255, 255, 255], [255, 0, 0])
    blue = read_unlabelled_folder(tmp_path, background=(0, 0, 200)).images[0]
    assert (blue[:, 0, 0].tolist(), blue[:, 3, 3].tolist()) == ([0, 0, 200], [255, 0, 0])
    array[2:6, 2:6, 3] = 51  # a fifth of it is seen
    picture = Image.fromarray(array)
    assert as_array(picture, None, "x", 100)[3, 3].tolist() == [131, 80, 80]


@pytest.mark.parametrize("mode", ["LA", "L", "P", "1", "I;16"])
def test_every_kind_of_transparency(mode, tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "x.png"
    if mode == "LA":
        array = np.array([[[0, 0], [0, 255]]], np.uint8)
        Image.fromarray(array, "LA").save(path)
    elif mode == "I;16":
        Image.fromarray(np.array([[9, 10]], np.uint16)).save(path, transparency=9)
    else:
        image = Image.fromarray(np.array([[0, 1]], np.uint8))
        if mode == "P":
            image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
            image.putpalette([5, 5, 5, 0, 0, 0])
        if mode == "1":
            image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
        image.save(path, transparency=0)
    seen = {"L": 1, "1": 255}.get(mode, 0)
    found = read_image_folder(tmp_path, background=200)
    assert found.images.shape[1] == (3 if mode == "P" else 1)
    assert found.images[0, 0].tolist() == [[200, seen]]
    assert read_image_folder(tmp_path, background=(1, 2, 3)).images[0, :, 0, 0].tolist() == [1, 2, 3]


def test_opaque_images_are_read_as_they_were(tmp_path):
    """An alpha channel that hides nothing changes nothing."""
    save(tmp_path / "a" / "plain.png", PIXELS)
    save(tmp_path / "a" / "rgba.png", np.dstack([PIXELS, np.full(PIXELS.shape[:2], 255)]))
    plain, rgba = read_image_folder(tmp_path, background=(9, 8, 7)).images
    assert plain.equal(rgba)


def test_names_that_begin_with_a_dot_are_left_out(tmp_path):
    """A folder .ipynb_checkpoints used to be a class, and ._x.jpg an image that cannot be read."""
    save(tmp_path / "cat" / "x.png", PIXELS)
    save(tmp_path / "cat" / ".ipynb_checkpoints" / "x-checkpoint.png", PIXELS)
    save(tmp_path / ".ipynb_checkpoints" / "x-checkpoint.png", PIXELS)
    (tmp_path / "cat" / "._x.png").write_bytes(b"\0\5\26\7")
    found = read_image_folder(tmp_path)
    assert (found.classes, found.names) == (("cat",), ("cat/x.png",))
    assert read_unlabelled_folder(tmp_path).names == ("cat/x.png",)


def test_linked_folders_are_followed_but_not_in_circles(tmp_path):
    save(tmp_path / "images" / "cat" / "z.png", PIXELS)
    save(tmp_path / "elsewhere" / "y.png", PIXELS)
    (tmp_path / "images" / "cat" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images" / "cat" / "again").symlink_to(tmp_path / "images")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "images" / "cat")
    assert read_image_folder(tmp_path / "images").names == ("cat/more/y.png", "cat/z.png")
    (tmp_path / "images" / "dog").symlink_to(tmp_path / "elsewhere")
    names = read_image_folder(tmp_path / "images").names
    assert names == ("cat/more/y.png", "cat/z.png", "dog/back/z.png", "dog/y.png")
    assert [path.name for path in files_below(tmp_path / "elsewhere")] == ["z.png", "y.png"]


@pytest.mark.parametrize("cached", [False, True])
def test_a_pipe_does_not_wait_for_somebody_to_write(cached, tmp_path):
    folder, cache = tmp_path / "images", tmp_path / "cache" if cached else None
    save(folder / "a" / "x.png", PIXELS)
    os.mkfifo(folder / "a" / "y.png")
    (folder / "a" / "z.png").symlink_to(tmp_path / "nowhere.png")
    with pytest.raises(InputError, match="y.png: is not a regular file"):
        read_image_folder(folder, cache=cache)
    found = read_image_folder(folder, on_error="skip", cache=cache)
    assert (found.names, found.skipped) == (("a/x.png",), ("a/y.png", "a/z.png"))


def test_sixteen_bits_of_either_order_and_thirty_two(tmp_path):
    """Big-endian TIFF, as ImageJ writes it, used to be refused; 32 bits stopped a reading that skips."""
    (tmp_path / "a").mkdir()
    values = np.array([[0x0100, 0x4000, 0xFFFF]])
    for order, mode in (("<u2", "I;16"), (">u2", "I;16B")):
        raw = values.astype(order).tobytes()
        Image.frombytes(mode, (3, 1), raw).save(tmp_path / "a" / f"{mode[-1]}.tif")
    found = read_image_folder(tmp_path)
    assert found.images.flatten(1).tolist() == [[1, 64, 255]] * 2
    Image.fromarray(np.full((1, 3), 70000, np.int32)).save(tmp_path / "a" / "wide.tif")
    with pytest.raises(UnreadableImageError, match=r"wide.tif: has pixels of 32 bits \(I\); convert it"):
        read_image_folder(tmp_path)
    assert read_image_folder(tmp_path, on_error="skip").skipped == ("a/wide.tif",)


@pytest.mark.parametrize("size", [(8200, 8200), (14000, 14000)])
def test_too_large_an_image_is_not_called_damaged(size, tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros(size, bool)).save(tmp_path / "a" / "x.png")
    message = "x.png: .*has more than the 67,108,864 pixels that are read"
    for read in (read_header, read_picture):
        with pytest.raises(UnreadableImageError, match=message):
            read(tmp_path / "a" / "x.png")
    with pytest.raises(InputError, match=message):
        read_image_folder(tmp_path)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_a_header_that_claims_more_than_is_read(kind, tmp_path):
    """Whatever follows it, nothing is unpacked."""
    path = tmp_path / f"x.{kind.lower()}"
    Image.fromarray(np.zeros((21, 23), np.uint8)).save(path, format=kind)
    content = path.read_bytes()
    sides = {
        "PNG": (struct.pack(">II", 23, 21), struct.pack(">II", 30000, 30000)),
        "BMP": (struct.pack("<ii", 23, 21), struct.pack("<ii", 30000, 30000)),
    }
    if kind == "TIFF":
        for tag in (256, 257):
            head = next(head for number in (3, 4) if (head := struct.pack("<HHI", tag, number, 1)) in content)
            at = content.index(head)
            content = content[:at] + struct.pack("<HHII", tag, 4, 1, 30000) + content[at + 12 :]
    else:
        assert sides[kind][0] in content
        content = content.replace(*sides[kind], 1)
    path.write_bytes(content)
    for read in (read_header, read_picture):
        with pytest.raises(UnreadableImageError, match="is not a readable image|more than the 67,108,864 pixels"):
            read(path)


def test_a_thread_of_pixels_does_not_become_gigabytes_when_it_is_scaled(tmp_path):
    """Its shorter side is one pixel: scaled to 64, it asked for 64 times 64 times as many, and ended in a traceback."""
    (tmp_path / "a").mkdir()
    Image.fromarray(np.zeros((20000, 1), np.uint8)).save(tmp_path / "a" / "x.png")
    with pytest.raises(InputError, match="is 1x20000, so narrow that it would have more than the 67,108,864 pixels"):
        read_image_folder(tmp_path, 64)
    assert read_image_folder(tmp_path, 4).images.shape == (1, 1, 4, 4)


def test_large_images_are_decoded_one_after_another(tmp_path, monkeypatch):
    """Eight images of 170 million pixels at once took more than eight gigabytes."""
    monkeypatch.setattr(image_files, "_LARGE", 100)
    for number in range(8):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "a" / f"{number}.png")
    busy, most = [0], [0]

    def slow(path):
        busy[0] += 1
        most[0] = max(most[0], busy[0])
        time.sleep(0.01)
        picture = read_picture(path)
        busy[0] -= 1
        return picture

    monkeypatch.setattr(image_folders, "read_picture", slow)
    assert len(read_image_folder(tmp_path)) == 8
    assert most == [1]


def test_names_in_another_encoding(tmp_path):
    """Latin-1 names on Linux: choices by name and the cache used to end in a UnicodeEncodeError."""
    folder = os.fsencode(tmp_path / "images" / "cat")
    os.makedirs(folder)  # noqa: PTH103 - bytes are no path
    for number in range(3):
        with open(folder + b"/caf\xe9%d.png" % number, "wb") as stream:  # noqa: PTH123
            Image.fromarray(np.full((4, 4), number, np.uint8)).save(stream, format="PNG")
    found = read_image_folder(tmp_path / "images")
    assert sorted(found.shuffled(0, "x")) == [0, 1, 2]
    kept = read_image_folder(tmp_path / "images", cache=tmp_path / "cache")
    assert (kept.names, kept.images.tolist()) == (found.names, found.images.tolist())
    os.makedirs(os.fsencode(tmp_path / "images") + b"/d\xf6g")  # noqa: PTH103
    with pytest.raises(InputError, match="is not UTF-8; rename it"):
        read_image_folder(tmp_path / "images")
