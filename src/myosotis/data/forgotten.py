"""Images that were forgotten, so that they are not learnt again: keyed digests of their pixels and files."""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myosotis.data.images import ImageSet
from myosotis.engine.files import read_json, write_json

STREAM = "stream.json"
"""The file of a run that a later one begins with, beside ``model/``; ``forgotten`` in it must not come back."""


@dataclass(frozen=True)
class Forgotten:
    """Keyed digests of forgotten images; without the images they say nothing, with one they say whether it is there.

    Attributes:
        key: Key of the digests, hexadecimal.
        images: HMAC-SHA256 of the pixels of each image, hexadecimal.
        files: The same of the bytes of each image's file, where it had one.

    Example:
        >>> import torch
        >>> pixels = torch.arange(8, dtype=torch.uint8).view(2, 1, 2, 2)
        >>> images = ImageSet(pixels, torch.tensor([0, 1]), ("a", "b"), ("cat", "owl"))
        >>> Forgotten().with_images(images.subset([1])).among(images)
        [1]
    """

    key: str = field(default_factory=lambda: secrets.token_hex(32))
    images: frozenset[str] = frozenset()
    files: frozenset[str] = frozenset()

    def with_images(self, images: ImageSet) -> "Forgotten":
        """Return these and further images."""
        return Forgotten(
            self.key,
            self.images | {self._digest(pixels) for pixels, _ in images.hashes},
            self.files | {self._digest(content) for content in images.file_hashes()},
        )

    def among(self, images: ImageSet) -> list[int]:
        """Return the indices of the images that were forgotten, whatever their class and their name.

        A copy whose file has other bytes is recognised by its pixels, a file that is decoded otherwise by its bytes.
        """
        again = set[int]()
        if self.images:
            again |= {index for index, (pixels, _) in enumerate(images.hashes) if self._digest(pixels) in self.images}
        if self.files:
            again |= {
                index for index, content in enumerate(images.file_hashes()) if self._digest(content) in self.files
            }
        return sorted(again)

    def _digest(self, content: bytes) -> str:
        return hmac.new(bytes.fromhex(self.key), content, hashlib.sha256).hexdigest()

    def as_json(self) -> dict[str, Any]:
        """Return it for a file."""
        return {"key": self.key, "images": sorted(self.images), "files": sorted(self.files)}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Forgotten":
        """Return what :meth:`as_json` gave."""
        # Runs of earlier versions have no files.
        return cls(str(content["key"]), frozenset(content["images"]), frozenset(content.get("files", ())))


def carry_stream(
    source: Path,
    target: Path,
    images: ImageSet,
    request: Mapping[str, Any],
    *,
    tasks_gone: Collection[int] = (),
    **changes: Any,
) -> None:
    """Write the stream of a run into another one that forgot images in it; nothing where the former has none.

    Args:
        source: Run of the learner.
        target: Run that forgot.
        images: Forgotten images.
        request: What was measured: name of the run, number of images, accuracies.
        tasks_gone: Indices of tasks of which no class is left; what was measured of them goes too.
        changes: Entries that are no longer those of the former.
    """
    if not (source / STREAM).is_file():
        return
    content = read_json(source / STREAM)
    known = Forgotten() if content["forgotten"] is None else Forgotten.of(content["forgotten"])
    answered = {"after": len(content["records"]), **request}
    stream = {
        **content,
        **changes,
        "forgotten": known.with_images(images).as_json(),
        "requests": [*content["requests"], answered],
    }
    if tasks_gone:
        stream = _without_tasks(stream, tasks_gone)
    write_json(target / STREAM, stream, private=True)


def _without_tasks(stream: Mapping[str, Any], gone: Collection[int]) -> dict[str, Any]:
    """A stream without the measurements of tasks, and after them."""
    records = []
    for index, record in enumerate(stream["records"]):
        if index not in gone:
            measured = {key: record[key] for key in ("accuracy", "task_aware", "validation")}
            left = {key: [value for task, value in enumerate(row) if task not in gone] for key, row in measured.items()}
            records.append({**record, **left})
    requests = [
        {**request, "after": sum(index not in gone for index in range(request["after"]))}
        for request in stream["requests"]
    ]
    return {**stream, "records": records, "requests": requests}
