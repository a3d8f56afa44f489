"""Bilevel images: PNG, PBM and TIFF."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from myosotis.denoising.files.place import written
from myosotis.engine.errors import InputError

FORMATS = {"PNG": (".png",), "PPM": (".pbm", ".pgm", ".ppm", ".pnm"), "TIFF": (".tif", ".tiff")}
"""What is read and written, by Pillow's names."""

_MODES = ("L", "LA", "P", "RGB", "RGBA")
_WRITTEN = {"PNG": (".png",), "PPM": (".pbm",), "TIFF": (".tif", ".tiff")}
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class BilevelImage:
    """An image of two values.

    Attributes:
        bits: (height, width); 1 is white.
        format: As Pillow calls it.
        how: How it became bilevel: ``"bilevel"`` as it was, or the threshold, above which pixels are white.
        compression: Of a TIFF file.
    """

    bits: Bits
    format: str
    how: str
    compression: str | None = None


def read_bilevel(path: Path, threshold: int | None = None) -> BilevelImage:
    """Read an image as bits.

    Args:
        path: PNG, PBM or TIFF. Grey and colour are made bilevel, by ``threshold`` or else by Otsu's.
        threshold: Of grey values from 0 to 255; above it is white.

    Raises:
        InputError: It is no such image, is damaged, or has several pages.
    """
    try:
        with Image.open(path) as picture:
            kind = str(picture.format)
            if kind not in FORMATS:
                raise InputError(f"{path}: is {kind}; PNG, PBM and TIFF are read")
            if getattr(picture, "n_frames", 1) > 1:
                raise InputError(f"{path}: has several pages; give one at a time")
            compression = picture.info.get("compression") if kind == "TIFF" else None
            if picture.mode == "1":
                if threshold is not None:
                    raise InputError(f"{path}: is bilevel already; leave the threshold out")
                return BilevelImage(np.asarray(picture, dtype=np.uint8), kind, "bilevel", compression)
            if picture.mode not in _MODES:
                raise InputError(
                    f"{path}: has pixels of the kind {picture.mode}; convert it to grey or colour of 8 bits"
                )
            if "A" in picture.getbands() or "transparency" in picture.info:
                raise InputError(f"{path}: has transparent pixels; put it on a ground first")
            grey = np.asarray(picture.convert("L"))
    except InputError:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise InputError(f"{path}: is not an image that can be read") from None
    if threshold is None and set(np.unique(grey).tolist()) <= {0, 255}:
        return BilevelImage((grey > 0).astype(np.uint8), kind, "bilevel", compression)
    level = otsu_threshold(grey) if threshold is None else threshold
    how = f"threshold {level}" + (" (Otsu)" if threshold is None else "")
    return BilevelImage((grey > level).astype(np.uint8), kind, how, compression)


def write_bilevel(path: Path, bits: Bits, like: BilevelImage) -> None:
    """Write bits as an image of one bit a pixel, in the format of another one.

    Raises:
        InputError: The name of the file is that of another format.
    """
    check_suffix(path, like)
    picture = Image.fromarray(bits.astype(bool))
    options = {"compression": like.compression} if like.compression not in (None, "raw", "jpeg") else {}
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
