"""Bilevel images from files and back."""

import os

import numpy as np
import pytest
from PIL import ExifTags, Image

from myosotis.denoising.files.images import read_bilevel, write_bilevel
from myosotis.engine.errors import InputError

BITS = np.random.default_rng(0).integers(0, 2, (6, 10), dtype=np.uint8)


@pytest.mark.parametrize(("name", "dpi"), [("x.tif", (600, 300)), ("x.png", (600, 300)), ("x.pbm", None)])
def test_dots_per_inch_are_kept(name, dpi, tmp_path):
    """A TIFF file of 600 dpi came back with 1, a PNG file with none."""
    options = {} if dpi is None else {"dpi": dpi}
    Image.fromarray(BITS.astype(bool)).save(tmp_path / name, **options)
    image = read_bilevel(tmp_path / name)
    assert image.bits.tolist() == BITS.tolist()
    write_bilevel(tmp_path / f"new-{name}", image.bits, image)
    with Image.open(tmp_path / f"new-{name}") as new:
        assert np.asarray(new).tolist() == BITS.astype(bool).tolist()
        found = new.info.get("dpi")
    assert found is None if dpi is None else found == pytest.approx(dpi, abs=0.01)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_a_turned_scan_is_read_upright(suffix, tmp_path):
    stored = Image.fromarray(BITS.astype(bool))
    exif = stored.getexif()
    exif[ExifTags.Base.Orientation] = 6
    stored.save(tmp_path / f"x.{suffix}", exif=exif, dpi=(600, 300))
    image = read_bilevel(tmp_path / f"x.{suffix}")
    assert image.bits.tolist() == np.rot90(BITS, -1).tolist()
    assert image.dpi == pytest.approx((300, 600), abs=0.01)


def test_a_scan_as_jpeg_becomes_png(tmp_path):
    bits = np.kron(BITS, np.ones((8, 8), np.uint8))
    Image.fromarray(bits * 220 + 15).save(tmp_path / "x.jpg", quality=60, dpi=(300, 300))
    image = read_bilevel(tmp_path / "x.jpg")
    assert image.bits.tolist() == bits.tolist()
    assert image.how.endswith("(Otsu)")
    write_bilevel(tmp_path / "x.png", image.bits, image)
    with Image.open(tmp_path / "x.png") as new:
        assert (new.format, new.mode, new.info["dpi"]) == ("PNG", "1", pytest.approx((300, 300), abs=0.1))


def test_a_colour_image_needs_a_threshold(tmp_path):
    """It used to be made bilevel without a word."""
    path = tmp_path / "x.png"
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    with pytest.raises(InputError, match=r"x.png: is a colour image; give a threshold .* .Otsu's is \d+"):
        read_bilevel(path)
    grey = np.asarray(Image.fromarray(pixels).convert("L"))
    assert read_bilevel(path, 100).bits.tolist() == (grey > 100).tolist()
    Image.fromarray(np.repeat(grey[..., None], 3, 2)).save(path)
    assert read_bilevel(path).how.endswith("(Otsu)")
    Image.fromarray(np.where(pixels[..., :1] > 99, 255, 0).repeat(3, 2).astype(np.uint8)).save(path)
    assert read_bilevel(path).how == "bilevel"


def test_a_large_bilevel_page_is_read(monkeypatch, tmp_path):
    """Pillow's guard against its size used to be taken for damage."""
    Image.fromarray(BITS.astype(bool)).save(tmp_path / "x.png")
    Image.new("L", (10, 6)).save(tmp_path / "grey.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert read_bilevel(tmp_path / "x.png").bits.tolist() == BITS.tolist()
    with pytest.raises(InputError, match="has 10x6 pixels of mode L, more than the 40 that are read"):
        read_bilevel(tmp_path / "grey.png")
    assert Image.MAX_IMAGE_PIXELS == 20


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_and_pipes(tmp_path):
    """A TIFF file whose number of pages is damaged used to end in a TypeError."""
    path = tmp_path / "x.tif"
    Image.fromarray(BITS.astype(bool)).save(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x85]) + whole[at + 1 :])
        try:
            read_bilevel(path)
        except InputError as error:
            assert str(path) in str(error)  # noqa: PT017 - some bytes may be anything
    os.mkfifo(tmp_path / "y.png")
    with pytest.raises(InputError, match="y.png: is not a regular file"):
        read_bilevel(tmp_path / "y.png")
