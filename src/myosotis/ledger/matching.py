"""Whether given records are those that a run learned or forgot: by the fingerprints in its result."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from myosotis.data.image_files import WHITE, as_array, files_below, read_picture
from myosotis.data.images import ImageSet
from myosotis.data.records import parse_record, read_jsonl_rows, renamed
from myosotis.data.sets import pixels_fingerprint
from myosotis.engine.errors import InputError
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.run import Run

_SOURCES = ("train", "forget", "test")


def check_records(path: Path, records: Path) -> None:
    """Raise ``InputError`` unless records are exactly those that a finished run learned or forgot.

    A photo is read as the run read it, so that a copy in another lossless format counts; its class does not matter.

    Args:
        path: The run.
        records: Folder of photos, or a JSONL file.
    """
    run = Run.read(path)
    result, lineage = run.result(), run.result()["lineage"]
    if result["kind"] == "unlearn-language":
        _check_each(_of_texts(run, records), lineage["data"]["forget"], records)
    elif str(result["kind"]).startswith("unlearn"):
        forgotten = result.get("fingerprints") or lineage["data"]["forget"]
        _check_each(_of_photos(run, records, len(_classes(result))), forgotten, records)
    elif lineage.get("learned") is None:
        raise InputError(f"{path}: its result does not say what it learned, so no records can be checked against it")
    else:
        pixels = [image.hashes[0][0] for _, image in _photos(run, records)]
        if pixels_fingerprint(pixels, run.salt) != lineage["learned"]:
            raise InputError(f"{records}: its {len(pixels)} photos are not those that the run learned")


def _check_each(given: Iterator[tuple[str, set[str]]], forgotten: list[str], records: Path) -> None:
    """Raise where a record, which is one of several fingerprints, is not forgotten, or a forgotten one is missing."""
    left = Counter(forgotten)
    for name, prints in given:
        match = next((text for text in prints if left[text]), None)
        if match is None:
            raise InputError(f"{records}: {name} is not a record that the run forgot, or is given too often")
        left[match] -= 1
    if left.total():
        raise InputError(f"{records}: {left.total()} of the {len(forgotten)} records that the run forgot are missing")


def _of_texts(run: Run, records: Path) -> Iterator[tuple[str, set[str]]]:
    source = run.settings()["data"]["forget"]
    fields = source.get("fields") if isinstance(source, Mapping) else None
    for where, row in read_jsonl_rows(records):
        layout = fields if fields and all(theirs in row for theirs in fields.values()) else {}
        record = parse_record(renamed(row, layout, where), where)
        yield where.rpartition(", ")[2], {salted_fingerprint(record.content, run.salt)}


def _of_photos(run: Run, records: Path, classes: int) -> Iterator[tuple[str, set[str]]]:
    for name, image in _photos(run, records):
        labels = torch.arange(classes)
        under = ImageSet(image.images.expand(classes, -1, -1, -1), labels, (name,) * classes, image.classes)
        yield name, {salted_fingerprint(under.digest(label), run.salt) for label in range(classes)}


def _photos(run: Run, records: Path) -> Iterator[tuple[str, ImageSet]]:
    """Each photo by its name, read with the size and the background of the run's own source."""
    if not records.exists():
        raise InputError(f"{records}: no such folder of photos")
    if records.suffix == ".jsonl":
        raise InputError(f"{records}: the run read images, so its records are a folder of photos")
    data = run.settings()["data"]
    sources = [data[name] for name in _SOURCES if isinstance(data.get(name), Mapping)]
    size = next((source["size"] for source in sources if source.get("size")), None)
    background = next((source["background"] for source in sources if source.get("background") is not None), WHITE)
    background = tuple(background) if isinstance(background, list) else background
    for file in [records] if records.is_file() else files_below(records):
        pixels = torch.from_numpy(as_array(read_picture(file), size, str(file), background).copy())
        image = pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)
        name = file.name if file == records else file.relative_to(records).as_posix()
        yield name, ImageSet(image[None].contiguous(), torch.zeros(1, dtype=torch.long), (name,), ("",))


def _classes(result: Mapping[str, Any]) -> list[str]:
    return [*result["classes"], *result.get("classes_gone", ())]
