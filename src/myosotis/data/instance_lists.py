"""Lists of images by name, one name a line."""

from pathlib import Path

from myosotis.data.images import ImageSet
from myosotis.engine.errors import InputError


def read_instance_list(path: Path, known: ImageSet) -> list[int]:
    """Return the indices of the images in a list of names, one name a line; ``#`` begins a comment.

    Raises:
        InputError: The file is missing or empty, or a line names no image, or one for the second time.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such instance list")
    indices: list[int] = []
    by_name = {name: index for index, name in enumerate(known.names)}
    for number, line in enumerate(read_lines(path), start=1):
        name = line.partition("#")[0].strip()
        if not name:
            continue
        if name not in by_name:
            raise InputError(f"{path}, line {number}: no such image: {name}")
        if by_name[name] in indices:
            raise InputError(f"{path}, line {number}: {name} is listed twice")
        indices.append(by_name[name])
    if not indices:
        raise InputError(f"{path}: names no image")
    return indices


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file.

    Raises:
        InputError: It is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not a text file in UTF-8") from None
