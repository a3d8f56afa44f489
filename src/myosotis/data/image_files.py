"""Image files: found below a folder, and read upright and opaque, or refused with the reason."""

import os
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from myosotis.engine.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
"""Files of a folder that are read as images."""

MAX_PIXELS = 2**26
"""Pixels of an image that is read. Of transparent ones some twenty bytes each are in memory at once."""

TOO_MANY = f"more than the {MAX_PIXELS:,} pixels that are read"
"""What is said of a larger one."""

_LARGE = 2**22  # pixels; larger images are decoded one at a time
_ONE_LARGE = threading.Lock()

Background = int | tuple[int, int, int]
"""A grey value, or red, green and blue, from 0 to 255."""

WHITE = 255
"""The background of transparent pixels unless another one is given."""

DAMAGED = (OSError, ValueError, SyntaxError, TypeError, LookupError, OverflowError, EOFError, struct.error, zlib.error)
"""Errors that Pillow raises for damaged files."""

_GREY_MODES = ("1", "L", "LA")
_SIXTEEN_BITS = ("I;16", "I;16B", "I;16L", "I;16N")
_TURNED = (5, 6, 7, 8)  # orientations whose width is the height of the stored image
_WIDTH, _HEIGHT = 256, 257  # tags of TIFF
# Chunks of a PNG file that may hold the orientation; they may come after the pixels.
_PNG_METADATA = (b"eXIf", b"XML:com.adobe.xmp", b"Raw profile type exif")


class UnreadableImageError(InputError):
    """A file that is not an image, is damaged, or has unsupported pixels."""


@dataclass(frozen=True)
class Header:
    """Properties of an image that are known before it is decoded.

    Attributes:
        grey: Whether the image has one channel, apart from transparency.
        transparent: Whether the image may have transparent pixels.
        size: Width and height, upright.
    """

    grey: bool
    transparent: bool
    size: tuple[int, int]


def files_below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return the files below a folder with one of these suffixes, in the order of their paths.

    Names that begin with a dot are skipped, both files and folders. Symbolic links to folders are followed, but not
    into a folder that contains the link.

    Args:
        folder: Folder to search.
        suffixes: Suffixes in lower case.

    Raises:
        InputError: A folder cannot be listed.
    """
    return [path for path in _walk(folder, frozenset()) if path.name.lower().endswith(suffixes)]


def images_below(folder: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """Return :func:`files_below` where there are any.

    Raises:
        InputError: There is none, or a folder cannot be listed; what is there instead is named.
    """
    files = files_below(folder, suffixes)
    if not files:
        others = sorted({path.suffix.lower() for path in _walk(folder, frozenset()) if path.suffix})
        instead = f"; it holds {', '.join(others[:5])}, which must be converted" if others else ""
        raise InputError(f"{folder}: holds no image; known formats: {', '.join(suffixes)}{instead}")
    return files


def names_below(folder: Path, paths: Sequence[Path]) -> list[str]:
    """Return the paths relative to a folder that they were listed from, with slashes.

    For a hundred thousand of them :meth:`~pathlib.PurePath.relative_to` takes seconds.
    """
    start = len(str(folder / "_")) - 1
    return [str(path)[start:].replace(os.sep, "/") for path in paths]


def _walk(folder: Path, above: frozenset[Path]) -> Iterator[Path]:
    """Files in the order of their paths: entries by name, those of a folder in its position."""
    real = Path(os.path.realpath(folder))
    if real in above:
        return
    for entry in sorted(_scanned(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        # Of a link that leads nowhere only the path says so without an error.
        if path.is_dir() if entry.is_symlink() else entry.is_dir():
            yield from _walk(path, above | {real, *real.parents})
        else:
            yield path


def _scanned(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed: {error.strerror}") from None


def visible_entries(folder: Path) -> list[Path]:
    """Return the entries of a folder whose names do not begin with a dot.

    Raises:
        InputError: The folder cannot be listed.
    """
    return [folder / entry.name for entry in _scanned(folder)]


def read_header(path: Path) -> Header:
    """Return the properties of an image without decoding it.

    Raises:
        UnreadableImageError: It is not an image, or too large.
    """
    check_regular(path)
    try:
        with Image.open(path) as picture:
            check_size(picture.size, path)
            grey = picture.mode in (*_GREY_MODES, *_SIXTEEN_BITS)
            return Header(grey, _is_transparent(picture), _upright_size(picture, path))
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"{path}: has {TOO_MANY}") from None
    except DAMAGED:
        raise UnreadableImageError(f"{path}: is not a readable image") from None


def read_picture(path: Path) -> Image.Image:
    """Return an image, decoded and turned upright by its orientation tag.

    Raises:
        UnreadableImageError: It is not an image, is damaged, or too large.
    """
    check_regular(path)
    try:
        with Image.open(path) as picture:
            check_size(picture.size, path)
            ImageOps.exif_transpose(picture, in_place=True)
    except UnreadableImageError:
        raise
    except Image.DecompressionBombError:
        raise UnreadableImageError(f"{path}: has {TOO_MANY}") from None
    except DAMAGED:
        raise UnreadableImageError(f"{path}: is not a readable image") from None
    return picture


def as_array(picture: Image.Image, size: int | None, name: str, background: Background = WHITE) -> NDArray[np.uint8]:
    """Return a picture as bytes, (height, width) in grey or (height, width, 3) in colour.

    Args:
        picture: Upright picture.
        size: Side in pixels: the shorter side is scaled to it and the centre cropped; None leaves it unchanged.
        name: Name for the error.
        background: Colour behind transparent pixels; a colour makes a grey picture with such pixels coloured.

    Raises:
        UnreadableImageError: The pixels have an unsupported format.
    """
    image = _opaque(picture, name, background)
    if size is not None and image.size != (size, size):
        scale = size / min(image.size)
        width, height = (max(size, round(side * scale)) for side in image.size)
        if width * height > MAX_PIXELS:
            raise UnreadableImageError(
                f"{name}: is {image.width}x{image.height}, so narrow that it would have {TOO_MANY}, once it is scaled"
                f" to {size}"
            )
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = (width - size) // 2, (height - size) // 2
        image = image.crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8)


def _opaque(picture: Image.Image, name: str, background: Background) -> Image.Image:
    """Eight bits for a channel, in grey (L) or in colour (RGB), transparent pixels on the background."""
    if picture.mode in ("I", "F"):
        raise UnreadableImageError(f"{name}: has pixels of 32 bits ({picture.mode}); convert it to 8 or 16 bits")
    transparent = _is_transparent(picture)
    if picture.mode in _SIXTEEN_BITS:
        # Pillow would cut at 255 instead of scaling.
        values = np.asarray(picture)
        picture_of_bytes = Image.fromarray((values >> 8).astype(np.uint8))
        if not transparent:
            return picture_of_bytes
        alpha = np.where(values == picture.info["transparency"], 0, 255).astype(np.uint8)
        picture = Image.merge("LA", (picture_of_bytes, Image.fromarray(alpha)))
    kind = "L" if picture.mode in _GREY_MODES and (isinstance(background, int) or not transparent) else "RGB"
    if not transparent:
        return picture.convert(kind)
    colour = (background,) * 3 if isinstance(background, int) else background
    ground = Image.new("RGBA", picture.size, (*colour, 255))
    return Image.alpha_composite(ground, picture.convert("RGBA")).convert(kind)


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info


def _upright_size(picture: Image.Image, path: Path) -> tuple[int, int]:
    width, height = picture.size
    if picture.format == "PNG" and "exif" not in picture.info and not _has_metadata(path):
        # Pillow would decode the whole image to look for an orientation behind its pixels.
        return width, height
    tags: Any = getattr(picture, "tag_v2", None)
    if tags is not None:
        # Whether `size` is that of the upright image depends on the version of Pillow.
        width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    turned = picture.getexif().get(ExifTags.Base.Orientation) in _TURNED
    return (height, width) if turned else (width, height)


def _has_metadata(path: Path) -> bool:
    content = path.read_bytes()
    return any(mark in content for mark in _PNG_METADATA)


def check_regular(path: Path) -> None:
    """Raise ``UnreadableImageError`` unless a path is a regular file: opening a pipe would block."""
    if not path.is_file():
        raise UnreadableImageError(f"{path}: is not a regular file")


@contextmanager
def one_if_large(size: tuple[int, int]) -> Iterator[None]:
    """Let threads decode small images at once, and large ones one after another: each may need a gigabyte."""
    with _ONE_LARGE if size[0] * size[1] > _LARGE else nullcontext():
        yield


def check_size(size: tuple[int, int], name: Path | str) -> None:
    """Raise ``UnreadableImageError`` if an image has more than :data:`MAX_PIXELS`.

    Args:
        size: Width and height.
        name: Name of the image for the error.
    """
    width, height = size
    if width * height > MAX_PIXELS:
        raise UnreadableImageError(f"{name}: {width}x{height}, has {TOO_MANY}")
