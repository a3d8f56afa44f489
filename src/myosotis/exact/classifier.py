"""A head of sums with the list of its records: it learns and forgets, and is saved with digests that prove it."""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import load_file
from torch import Tensor, nn

from myosotis.engine.artifact import read_description, readable_weights, write_description
from myosotis.engine.errors import InputError, SettingsError
from myosotis.engine.files import write_tensors
from myosotis.engine.processes import gather_by_index, process_indices
from myosotis.exact.grid import MAX_RECORDS, GridOverflowError, to_grid
from myosotis.exact.head import SumsHead
from myosotis.exact.heads import HEADS
from myosotis.exact.records import RecordList, make_records, new_key
from myosotis.exact.sums import Sums, tensors_digest
from myosotis.models.modes import evaluating

FORMAT = 3
"""Raised whenever the same records would give other sums, another head or other digests, so that those of two versions
are never compared."""

DESCRIPTION = "exact.json"
"""The file that describes an exact classifier."""
STATISTICS = "statistics.safetensors"
HEAD = "head.safetensors"
RECORDS = "records.safetensors"

_BATCH = 32
_EMPTY = "empty"  # a file of tensors needs one
_COARSE = 16
"""Largest feature of a set, in units of the grid, below which rounding leaves too little of the features."""


@dataclass(frozen=True)
class ExactSpec:
    """Description of an exact classifier.

    Attributes:
        head: A key of :data:`~myosotis.exact.heads.HEADS`.
        settings: Settings of the head.
        width: Number of features.
        seed: Seed of what is random in the head.
        body: :func:`~myosotis.exact.body.body_hash` of the frozen body.
        tables: SHA-256 of the tables that the head computes from width, settings and seed; computed unless given.
        format: Version of the sums.
    """

    head: str
    settings: dict[str, Any]
    width: int
    seed: int
    body: str
    tables: str = ""
    format: int = FORMAT


@dataclass(frozen=True)
class Digests:
    """What proves which records are in a classifier, to whoever has its key.

    Two learners of the same key, body and head have equal digests exactly if they learned the same records. Without the
    key, which only the operator and an auditor have, nobody can test which ones these are.

    Attributes:
        statistics: HMAC-SHA256 of the sums, with the description of head and body.
        head: HMAC-SHA256 of the head that they give.
    """

    statistics: str
    head: str


@dataclass(frozen=True)
class _Saved:
    spec: ExactSpec
    classes: tuple[str, ...]
    records: int
    digests: Digests


class ExactClassifier:
    """Classes of a frozen body's features, learnt by adding records and forgotten by subtracting them.

    The sums are integers, so that ``learn(a); learn(b); forget(b)`` leaves the bytes that ``learn(a)`` makes.

    Args:
        spec: Description.
        key: Key of all digests; drawn unless given.

    Raises:
        SettingsError: The tables of the description are others than those that are computed here.

    Attributes:
        spec: Description, with its tables.
        sums: Sums over the records.
        records: Digests of the records.

    Example:
        >>> spec = ExactSpec("simplecil", {}, 2, 0, "")
        >>> images, rows = torch.zeros(2, 1, 1, 1, dtype=torch.uint8), torch.tensor([[30, 40], [10, 0]])
        >>> one, both = (ExactClassifier(spec, bytes(32)) for _ in range(2))
        >>> one.learn(images[:1], rows[:1], ["cat"])
        >>> both.learn(images, rows, ["cat", "owl"])
        >>> both.forget(images[1:], rows[1:], ["owl"])
        >>> both.digests() == one.digests(), both.classes
        (True, ('cat',))
    """

    def __init__(self, spec: ExactSpec, key: bytes | None = None) -> None:
        self.head: SumsHead[Any] = HEADS.build(spec.head, spec.settings, spec.width, spec.seed)
        self.spec = replace(spec, tables=tensors_digest(self.head.tables(), b"", "tables"))
        if spec.tables not in ("", self.spec.tables):
            raise SettingsError(
                f"torch {torch.__version__} computes another table of '{spec.head}' here than the one that the sums "
                "were made with; use the version, and the kind of machine, that learned them"
            )
        self.sums = Sums()
        self.records = RecordList(new_key() if key is None else key)
        self._solved: dict[str, Tensor] | None = None
        self._digests: Digests | None = None

    def __len__(self) -> int:
        return len(self.records)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, sorted."""
        return self.sums.classes

    def learn(
        self, images: UInt8[Tensor, "n channels height width"], rows: Int[Tensor, "n d"], classes: Sequence[str]
    ) -> None:
        """Add records.

        Args:
            images: Pixels, for the digests.
            rows: Features on the grid, see :func:`exact_features`.
            classes: Name of the class of each.

        Raises:
            SettingsError: There are more records than the sums can hold, or features do not fit the grid.
        """
        if len(self) + len(rows) > MAX_RECORDS:
            raise SettingsError(f"{len(self) + len(rows):,} records, but the sums hold at most {MAX_RECORDS:,}")
        if len(rows) > 1 and int(rows.abs().amax()) < _COARSE:
            raise SettingsError(
                f"the largest feature is {int(rows.abs().amax())} units of a grid of {self.head.settings.bits} bits, "
                "which is too coarse; set 'method.bits' higher"
            )
        total = self.head.total(rows, classes)
        self.records.add(make_records(self.records.key, images, rows, classes))
        self.sums.add(total)
        self._solved = self._digests = None

    def forget(
        self, images: UInt8[Tensor, "n channels height width"], rows: Int[Tensor, "n d"], classes: Sequence[str]
    ) -> None:
        """Take records out; a class whose last record goes is removed. Nothing is changed where an error is raised.

        Args:
            images: Pixels, as for the next those that were learned.
            rows: Features on the grid.
            classes: Name of the class of each.

        Raises:
            SettingsError: There is no record.
            OtherFeaturesError: An image has other features than when it was learned.
            NotLearnedError: A record is not in the sums.
        """
        if not len(rows):
            raise SettingsError("the request names no image")
        records = make_records(self.records.key, images, rows, classes)
        self.records.check(records, self.classes)
        total = self.head.total(rows, classes)
        self.records.remove(records)
        self.sums.add(total, sign=-1)
        self._solved = self._digests = None

    def solved(self) -> dict[str, Tensor]:
        """Return the head: its constants, and what is solved from the sums; nothing of the latter without a class."""
        if self._solved is None:
            self._solved = {**self.head.constants(), **(self.head.solve(self.sums) if self.classes else {})}
        return self._solved

    def scores(self, features: Float[Tensor, "n d"]) -> Float[Tensor, "n classes"]:
        """Return a score for each of :attr:`classes`."""
        if not self.classes:
            return features.new_zeros(len(features), 0)
        return self.head.scores({name: value.to(features) for name, value in self.solved().items()}, features)

    def digests(self) -> Digests:
        """Return what proves which records are in the classifier, keyed by :attr:`records`."""
        if self._digests is None:
            self._digests = _digests(self.spec, self.sums, self.solved(), self.records.key)
        return self._digests

    def save(self, path: Path) -> Digests:
        """Write description, sums, head and digests of the records into a directory, and return the digests.

        The head alone answers for images. The sums and the list of records belong to the operator: only the owner may
        read them. The files of sums and head carry a salt that follows from the key, so that a plain hash of a file,
        which a manifest has, tells no more than the digests.
        """
        path.mkdir(parents=True, exist_ok=True)
        for name, tensors in (
            (STATISTICS, self.sums.tensors()),
            (HEAD, self.solved() or {_EMPTY: torch.zeros(0)}),
        ):
            salt = tensors_digest({}, self.records.key, f"salt of {name}")
            # One entry: safetensors writes several in any order.
            write_tensors(path / name, tensors, {"exact": _described(self.spec, self.classes, salt=salt)})
        write_tensors(path / RECORDS, self.records.tensors())
        for name in (STATISTICS, RECORDS):
            (path / name).chmod(0o600)
        self._digests = None  # of what is written, whatever was computed before
        digests = self.digests()
        write_description(_Saved(self.spec, self.classes, len(self), digests), path / DESCRIPTION)
        return digests

    @classmethod
    def load(cls, path: Path) -> "ExactClassifier":
        """Read what :meth:`save` wrote.

        Raises:
            InputError: Something is missing, damaged, or of another version, or this library computes other tables.
        """
        saved = read_description(_Saved, path / DESCRIPTION, "an exact classifier")
        if saved.spec.format != FORMAT:
            raise InputError(
                f"{path / STATISTICS}: sums of version {saved.spec.format}, this release adds to those of version "
                f"{FORMAT}; learn the records again"
            )
        with readable_weights(path):
            sums = Sums.of(saved.classes, load_file(path / STATISTICS))
            records = RecordList.of(load_file(path / RECORDS))
            head = {name: value for name, value in load_file(path / HEAD).items() if name != _EMPTY}
        found = _digests(saved.spec, sums, head, records.key)
        for name in ("statistics", "head"):
            if getattr(found, name) != getattr(saved.digests, name):
                file = path / f"{name}.safetensors"
                raise InputError(
                    f"{file}: damaged or edited: it and {DESCRIPTION} do not give the digest in the latter"
                )
        if len(records) != len(sums):
            raise InputError(f"{path / RECORDS}: lists {len(records)} records, the sums hold {len(sums)}")
        try:
            classifier = cls(saved.spec, records.key)
        except SettingsError as error:
            raise InputError(f"{path / DESCRIPTION}: {error}") from None
        # The head is the one in the file, which answers for images and which an auditor asks about.
        classifier.sums, classifier.records, classifier._solved, classifier._digests = sums, records, head, found
        return classifier


def _described(spec: ExactSpec, classes: Sequence[str], **further: str) -> str:
    return json.dumps({**asdict(spec), "classes": list(classes), **further}, sort_keys=True)


def _digests(spec: ExactSpec, sums: Sums, head: Mapping[str, Tensor], key: bytes) -> Digests:
    description = _described(spec, sums.classes)
    return Digests(
        tensors_digest(sums.tensors(), key, "sums", description), tensors_digest(head, key, "head", description)
    )


def exact_features(
    body: nn.Module, images: UInt8[Tensor, "n channels height width"], bits: int, *, batch_size: int = _BATCH
) -> Int[Tensor, "n d"]:
    """Return the features of images on the grid, on the CPU; several processes share the work.

    They are computed in float64: in float32 the rounding of an image's features depends on the batch that it is in.

    Args:
        body: Body in float32, whose output has ``features``.
        images: Pixels.
        bits: Bits of the grid.
        batch_size: Images per forward pass.

    Raises:
        GridOverflowError: A feature does not fit the grid.
    """
    precise = copy.deepcopy(body).double()
    device = next(precise.parameters()).device
    parts = images.split(batch_size)
    own: dict[int, Tensor | GridOverflowError] = {}
    with evaluating(precise), torch.no_grad():
        for number in process_indices(len(parts)):
            features = precise(parts[number].to(device).double() / 255).features
            try:
                own[number] = to_grid(features, bits).cpu()
            except GridOverflowError as error:
                own[number] = error  # raised by every process, or the others would wait for this one
    rows = []
    for part in gather_by_index(own).values():
        if isinstance(part, GridOverflowError):
            raise part
        rows.append(part)
    return torch.cat(rows)
