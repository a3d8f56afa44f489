"""Which records are in the sums: keyed digests, from which nothing of a record can be read."""

import hashlib
import hmac
import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from myosotis.engine.errors import InputError

_BYTES = 96  # of the digests of a record in the file


class NotLearnedError(InputError):
    """A record is not in the sums.

    Attributes:
        indices: Indices of such records.
    """

    def __init__(self, message: str, indices: Sequence[int]) -> None:
        super().__init__(message)
        self.indices = tuple(indices)


class OtherFeaturesError(NotLearnedError):
    """A record is in the sums, but with other features than are computed for it now."""


@dataclass(frozen=True)
class Record:
    """Digests of a record, HMAC-SHA256 with the key of the learner.

    Attributes:
        pixels: Of the pixels.
        image: Of the pixels and the class.
        features: Of the features on the grid and the class: what is in the sums.
    """

    pixels: bytes
    image: bytes
    features: bytes


def new_key() -> bytes:
    """Return a random key of 32 bytes."""
    return secrets.token_bytes(32)


def make_records(
    key: bytes, images: UInt8[Tensor, "n channels height width"], rows: Int[Tensor, "n d"], classes: Sequence[str]
) -> list[Record]:
    """Return the digests of records.

    Args:
        key: Key of the learner.
        images: Pixels.
        rows: Features on the grid.
        classes: Name of the class of each.
    """
    shape, records = str(tuple(images.shape[1:])), []
    for image, row, name in zip(images.cpu(), rows.cpu(), classes, strict=True):
        pixels = _digest(key, f"pixels:{shape}:", image.numpy().tobytes())
        features = _digest(key, f"features:{len(name)}:{name}:", row.numpy().astype("<i4").tobytes())
        records.append(Record(pixels, _of_class(key, pixels, name), features))
    return records


def _of_class(key: bytes, pixels: bytes, name: str) -> bytes:
    return _digest(key, f"image:{len(name)}:{name}:", pixels)


def _digest(key: bytes, head: str, content: bytes) -> bytes:
    return hmac.new(key, head.encode("utf-8", "surrogatepass") + content, hashlib.sha256).digest()


@dataclass
class RecordList:
    """The records in the sums; a record that was learned twice is in it twice.

    Attributes:
        key: Key of the digests.
        counts: How often each is in the sums.
    """

    key: bytes = field(default_factory=new_key)
    counts: Counter[Record] = field(default_factory=Counter)

    def __len__(self) -> int:
        return self.counts.total()

    def add(self, records: Sequence[Record]) -> None:
        """Add records."""
        self.counts.update(records)

    def remove(self, records: Sequence[Record]) -> None:
        """Remove records; nothing is changed where one of them is missing.

        Raises:
            NotLearnedError: See :meth:`check`.
        """
        self.check(records)
        self.counts.subtract(records)
        self.counts += Counter()  # drops zeros

    def check(self, records: Sequence[Record], classes: Sequence[str] = ()) -> None:
        """Raise unless every record is in the sums, as often as it is given.

        Args:
            records: Records.
            classes: Names of the classes in the sums; the error names those that the same pixels were learned under.

        Raises:
            OtherFeaturesError: Images are in the sums, but with other features.
            NotLearnedError: Images are not, with this class, or not as often.
        """
        missing = self.missing(records)
        if missing:
            images = Counter[bytes]()
            for record, count in self.counts.items():
                images[record.image] += count
            asked = Counter(record.image for record in records)
            changed = [index for index in missing if images[records[index].image] >= asked[records[index].image]]
            if len(changed) == len(missing):
                raise OtherFeaturesError(
                    f"{len(changed)} of {len(records)} images have other features here than when they were learned, so "
                    "that nothing was subtracted: the machine or its libraries compute other bits",
                    changed,
                )
            absent = [index for index in missing if index not in set(changed)]
            elsewhere = self.copies([records[index] for index in absent if not images[records[index].image]], classes)
            names = ", ".join(f"'{name}'" for name in elsewhere)
            raise NotLearnedError(
                f"{len(absent)} of {len(records)} images were never learned with these pixels and this class, or not "
                f"as often, so that nothing was subtracted{f'; the same pixels were learned as {names}' * bool(names)}",
                absent,
            )

    def missing(self, records: Sequence[Record]) -> list[int]:
        """Return the indices of records that are not in the sums as often as they are given."""
        left, missing = Counter[Record](), []
        for index, record in enumerate(records):
            left[record] += 1
            if left[record] > self.counts[record]:
                missing.append(index)
        return missing

    def copies(self, records: Sequence[Record], classes: Sequence[str]) -> dict[str, int]:
        """Return how many records with the pixels of one of these are in the sums, by class, whatever theirs is.

        Args:
            records: Records.
            classes: Names of the classes in the sums.
        """
        pixels = {record.pixels for record in records}
        left = {record: count for record, count in self.counts.items() if record.pixels in pixels}
        names = {_of_class(self.key, record.pixels, name): name for record in left for name in classes}
        found = Counter[str]()
        for record, count in left.items():
            found[names.get(record.image, "?")] += count
        return dict(sorted(found.items()))

    def tensors(self) -> dict[str, Tensor]:
        """Return key and sorted digests, by names for a file."""
        rows = sorted(record.pixels + record.image + record.features for record in self.counts.elements())
        content = np.frombuffer(b"".join(rows), dtype=np.uint8).reshape(len(rows), _BYTES)
        return {
            "key": torch.frombuffer(bytearray(self.key), dtype=torch.uint8),
            "digests": torch.from_numpy(content.copy()),
        }

    @classmethod
    def of(cls, tensors: dict[str, Tensor]) -> "RecordList":
        """Return the list whose :meth:`tensors` these are."""
        content = tensors["digests"].contiguous().numpy().tobytes()
        rows = (content[begin : begin + _BYTES] for begin in range(0, len(content), _BYTES))
        records = (Record(row[:32], row[32:64], row[64:]) for row in rows)
        return cls(tensors["key"].numpy().tobytes(), Counter(records))
