"""Bilevel images: PNG, PBM and TIFF; scans also as JPEG, which cannot hold a result."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from myosotis.data.image_files import DAMAGED, check_regular
from myosotis.denoising.files.output import written
from myosotis.engine.errors import InputError

FORMATS = {
    "PNG": (".png",),
    "PPM": (".pbm", ".pgm", ".ppm", ".pnm"),
    "TIFF": (".tif", ".tiff"),
    "JPEG": (".jpg", ".jpeg"),
}
"""Suffixes of the formats that are read, by Pillow's names."""

_MODES = ("L", "LA", "P", "RGB", "RGBA")
_MAX_PIXELS = 2**30
"""Largest bilevel image, a byte per pixel in memory; for others Pillow's limit holds."""

_TURNED = (5, 6, 7, 8)  # orientations that swap width and height
_LIMIT = Lock()
_WRITTEN = {"PNG": (".png",), "PPM": (".pbm",), "TIFF": (".tif", ".tiff")}
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class BilevelImage:
    """An image of two values.

    Attributes:
        bits: (height, width); 1 is white.
        format: Format of a result, by Pillow's name: that of the file, of a JPEG file PNG.
        how: Origin of the bits: ``"bilevel"``, or the threshold, above which pixels are white.
        compression: Compression of a TIFF file.
        dpi: Dots per inch, along width and height, where the file tells.
    """

    bits: Bits
    format: str
    how: str
    compression: str | None = None
    dpi: tuple[float, float] | None = None


def read_bilevel(path: Path, threshold: int | None = None, *, strict: bool = True) -> BilevelImage:
    """Read an image as bits, turned as its orientation tag says.

    Args:
        path: PNG, PBM, TIFF or JPEG. Grey is made bilevel by ``threshold`` or else by Otsu's, colour by ``threshold``
            alone.
        threshold: Threshold of grey values from 0 to 255; above it is white.
        strict: Whether a threshold for an image that is bilevel already is an error; else it is not used.

    Raises:
        InputError: It is no such image, is damaged, too large, coloured, or has several pages.
    """
    picture, dpi = _decoded(path)
    kind = "PNG" if picture.format == "JPEG" else str(picture.format)
    compression = picture.info.get("compression") if kind == "TIFF" else None
    if picture.mode == "1":
        if threshold is not None and strict:
            raise InputError(f"{path}: is bilevel already; leave the threshold out")
        return BilevelImage(np.asarray(picture, dtype=np.uint8), kind, "bilevel", compression, dpi)
    if picture.mode not in _MODES:
        raise InputError(f"{path}: has the image mode {picture.mode}; convert it to 8-bit grey or colour")
    if "A" in picture.getbands() or "transparency" in picture.info:
        raise InputError(f"{path}: has transparent pixels; put it on a background first")
    grey = np.asarray(picture.convert("L"))
    if threshold is None and set(np.unique(grey).tolist()) <= {0, 255}:
        return BilevelImage((grey > 0).astype(np.uint8), kind, "bilevel", compression, dpi)
    level = otsu_threshold(grey) if threshold is None else threshold
    if threshold is None and _has_colours(picture):
        raise InputError(
            f"{path}: is a colour image; give a threshold of grey values, above which pixels are white (Otsu's is "
            f"{level})"
        )
    how = f"threshold {level}" + (" (Otsu)" if threshold is None else "")
    return BilevelImage((grey > level).astype(np.uint8), kind, how, compression, dpi)


def _decoded(path: Path) -> tuple[Image.Image, tuple[float, float] | None]:
    """An upright image of one page, and its dots per inch."""
    check_regular(path)
    try:
        with _unlimited() as usual, Image.open(path) as picture:
            if picture.format not in FORMATS:
                raise InputError(f"{path}: is a {picture.format} file; expected PNG, PBM, TIFF or JPEG")
            limit = _MAX_PIXELS if picture.mode == "1" or usual is None else 2 * usual
            if picture.width * picture.height > limit:
                raise InputError(
                    f"{path}: has {picture.width}x{picture.height} pixels of mode {picture.mode}, more than the "
                    f"{limit:,} that are read"
                )
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path}: has several pages, expected one")
            written_dpi = picture.info.get("dpi")
            dpi = None if written_dpi is None else (float(written_dpi[0]), float(written_dpi[1]))
            turned = picture.getexif().get(ExifTags.Base.Orientation) in _TURNED
            ImageOps.exif_transpose(picture, in_place=True)
            return picture, (dpi[1], dpi[0]) if dpi is not None and turned else dpi
    except InputError:
        raise
    except DAMAGED:
        raise InputError(f"{path}: is not a readable image; for reads and texts: `myosotis denoise --help`") from None


@contextmanager
def _unlimited() -> Iterator[int | None]:
    """Let Pillow open a page of any size, and give its usual limit, beyond which it warns; it refuses twice as many.

    Bilevel pages of A1 at 600 dpi have more, and are small in memory.
    """
    with _LIMIT:
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None
        try:
            yield before
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _has_colours(picture: Image.Image) -> bool:
    if picture.mode == "L":
        return False
    channels = np.asarray(picture.convert("RGB"))
    return bool((channels.max(axis=2) != channels.min(axis=2)).any())


def write_bilevel(path: Path, bits: Bits, like: BilevelImage) -> None:
    """Write bits as an image of one bit a pixel, in the format of another one.

    Raises:
        InputError: The name of the file is that of another format.
    """
    check_suffix(path, like)
    picture = Image.fromarray(bits.astype(bool))
    options: dict[str, Any] = {"compression": like.compression} if like.compression not in (None, "raw", "jpeg") else {}
    if like.dpi is not None and min(like.dpi) > 0:
        options["dpi"] = like.dpi
    with written(path) as staged:
        picture.save(staged, format=like.format, **options)


def check_suffix(path: Path, like: BilevelImage) -> None:
    """Raise ``InputError`` where the name of a file is that of another format."""
    suffix = path.suffix.lower()
    if suffix not in _WRITTEN[like.format]:
        name = "PBM" if like.format == "PPM" else like.format
        raise InputError(f"{path}: the result is {name}, so its name must end with {_WRITTEN[like.format][0]}")


def otsu_threshold(grey: NDArray[np.uint8]) -> int:
    """Return the threshold that separates grey values best (Otsu 1979): at or below it is one class, above the other.

    Example:
        >>> otsu_threshold(np.array([[10, 12, 200, 210]], dtype=np.uint8))
        12
    """
    counts = np.bincount(grey.ravel(), minlength=256).astype(np.float64)
    below = counts.cumsum()
    above = below[-1] - below
    sums = (counts * np.arange(256)).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return int(np.nan_to_num(between).argmax())
