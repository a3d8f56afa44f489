"""Folders of image files, decoded once."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from myosotis.data.decode_cache import DecodeCache
from myosotis.data.holding_out import HeldOut
from myosotis.data.image_files import (
    WHITE,
    Background,
    Header,
    UnreadableImageError,
    as_array,
    images_below,
    names_below,
    one_if_large,
    read_header,
    read_picture,
    visible_entries,
)
from myosotis.data.images import ImageSet
from myosotis.engine.errors import InputError

OnError = Literal["stop", "skip"]

_DECODERS = 8  # threads; Pillow lets others work while it decodes


def read_image_folder(
    folder: Path,
    size: int | None = None,
    *,
    on_error: OnError = "stop",
    cache: Path | None = None,
    background: Background = WHITE,
    part: HeldOut | None = None,
) -> ImageSet:
    """Read ``folder/<class>/<image>``; classes and images are sorted by their names.

    Names that begin with a dot are skipped, links to folders are followed. Images are turned upright by their
    orientation tag.

    Args:
        folder: Folder with a folder for each class.
        size: Side in pixels: the shorter side is scaled to it and the centre cropped; None leaves images unchanged.
        on_error: Action on an unreadable file: stop, or skip it and name it in ``skipped``.
        cache: Directory for a memory-mapped file of decoded images: for more images than memory holds, and to decode
            only once. Other files, or another size, get a file of their own.
        background: Colour behind transparent pixels: a grey value, or red, green and blue.
        part: Part of the images that is read; None reads all.

    Returns:
        Images in colour, or in grey where every file is grey; an image's name is its path below ``folder``.

    Raises:
        InputError: The folder, or one of its classes, holds no image, a file is not an image, or sizes differ.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    classes = sorted(entry.name for entry in visible_entries(folder) if entry.is_dir())
    if not classes:
        raise InputError(f"{folder}: expected a folder for each class")
    for name in classes:
        _check_class_name(folder, name)
    listed: list[tuple[Path, int]] = []
    for label, name in enumerate(classes):
        listed += [(path, label) for path in images_below(folder / name)]
    if part is not None:
        listed = _part_of(listed, folder, part)
    return _read_listed(folder, listed, classes, size, on_error, cache, background)


def read_unlabelled_folder(
    folder: Path,
    size: int | None = None,
    *,
    on_error: OnError = "stop",
    cache: Path | None = None,
    background: Background = WHITE,
    part: HeldOut | None = None,
) -> ImageSet:
    """Read every image below a folder, sorted by name; all have the same class.

    Args:
        folder: Folder of images.
        size: Side in pixels, as for :func:`read_image_folder`.
        on_error: Action on an unreadable file, as for :func:`read_image_folder`.
        cache: Directory of decoded images, as for :func:`read_image_folder`.
        background: Colour behind transparent pixels, as for :func:`read_image_folder`.
        part: Part of the images that is read, as for :func:`read_image_folder`.

    Raises:
        InputError: The folder holds no image, a file is not an image, or sizes differ.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of images")
    listed = [(path, 0) for path in images_below(folder)]
    if part is not None:
        listed = _part_of(listed, folder, part)
    return _read_listed(folder, listed, ["unlabelled"], size, on_error, cache, background)


def _part_of(listed: Sequence[tuple[Path, int]], folder: Path, part: HeldOut) -> list[tuple[Path, int]]:
    names = names_below(folder, [path for path, _ in listed])
    return [listed[index] for index in part.indices(names, [label for _, label in listed], str(folder))]


def _read_listed(
    folder: Path,
    listed: Sequence[tuple[Path, int]],
    classes: Sequence[str],
    size: int | None,
    on_error: OnError,
    cache: Path | None,
    background: Background,
) -> ImageSet:
    files = [path for path, _ in listed]
    store = None if cache is None else DecodeCache(cache, folder, files, size, background)
    if store is not None and (stored := store.read()) is not None:
        images, good = stored
    else:
        images, good = _decode_all(files, size, on_error, store, background)
    bad = [path for (path, _), fine in zip(listed, good, strict=True) if not fine]
    skipped = tuple(names_below(folder, bad))
    if skipped and on_error == "stop":
        raise InputError(f"{folder / skipped[0]}: is not a readable image")
    retained = [pair for pair, fine in zip(listed, good, strict=True) if fine]
    labels = torch.tensor([label for _, label in retained])
    for label, name in enumerate(classes):
        if not bool((labels == label).any()):
            where = folder / name if len(classes) > 1 else folder
            raise InputError(f"{where}: none of its images can be read")
    return ImageSet(
        images,
        labels,
        tuple(names_below(folder, [path for path, _ in retained])),
        tuple(classes),
        skipped,
        tuple(path for path, _ in retained),
    )


def _check_class_name(folder: Path, name: str) -> None:
    """Raise unless a class name can be written to results and reports, which are text."""
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(f"{folder}: the folder name {name!r} is not UTF-8; rename it") from None


def _decode_all(
    files: Sequence[Path], size: int | None, on_error: OnError, store: DecodeCache | None, background: Background
) -> tuple[Tensor, list[bool]]:
    """Decode files in parallel; the result does not depend on the number of threads."""
    headers = [_header_or_reason(path) for path in files]
    readable = [header for header in headers if isinstance(header, Header)]
    reason = next((header for header in headers if isinstance(header, UnreadableImageError)), None)
    if reason is not None and (on_error == "stop" or not readable):
        raise reason
    plain = isinstance(background, int)
    grey = all(header.grey and (plain or not header.transparent) for header in readable)
    width, height = (size, size) if size is not None else readable[0].size
    if size is None:
        for path, header in zip(files, headers, strict=True):
            if isinstance(header, Header) and header.size != (width, height):
                raise InputError(
                    f"{path}: is {header.size[0]}x{header.size[1]}, the first image is {width}x{height}; give a size"
                )
    shape = (len(readable), 1 if grey else 3, height, width)
    planes = np.empty(shape, np.uint8) if store is None else store.create(shape)
    rows = iter(range(len(readable)))
    good = [isinstance(header, Header) for header in headers]
    targets = [next(rows) if fine else None for fine in good]

    def decode(number: int) -> None:
        row, header = targets[number], headers[number]
        if row is None or isinstance(header, UnreadableImageError):
            return
        try:
            with one_if_large(header.size):
                array = as_array(read_picture(files[number]), size, str(files[number]), background)
        except UnreadableImageError:
            if on_error == "stop":
                raise
            good[number] = False
            return
        planes[row] = array[None] if grey else _in_colour(array).transpose(2, 0, 1)

    try:
        with ThreadPoolExecutor(_DECODERS) as pool:
            for _ in pool.map(decode, range(len(files))):
                pass
        # Files with a good header and a damaged body leave gaps; rows are moved one by one, as all may exceed memory.
        good_rows = [row for row, fine in zip(targets, good, strict=True) if row is not None and fine]
        for index, row in enumerate(good_rows):
            if index != row:
                planes[index] = planes[row]
        images = torch.from_numpy(planes) if store is None else store.finish(planes, good)
    except BaseException:
        if store is not None:
            store.abandon()
        raise
    return images[: sum(good)], good


def _header_or_reason(path: Path) -> Header | UnreadableImageError:
    try:
        return read_header(path)
    except UnreadableImageError as error:
        return error


def _in_colour(
    array: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]",
) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    return array if array.ndim == 3 else np.repeat(array[..., None], 3, axis=2)
