"""Sums over records, by class: a record is added, and taken out again, to the bit."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Sums:
    """Integer sums over the records of a learner. The classes are sorted by name, so that nothing depends on arrival.

    Attributes:
        classes: Names of the classes with a record.
        counts: Records of each class.
        by_class: Sums of each class, int64, (classes, ...) each.
        shared: Sums over all classes, int64.
    """

    classes: tuple[str, ...] = ()
    counts: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    by_class: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.counts.sum())

    def add(self, other: "Sums", sign: int = 1) -> None:
        """Add other sums, or with ``sign=-1`` take them out; a class whose last record goes is removed."""
        # Python compares strings by code points, so the order is the same everywhere.
        self._select(tuple(sorted({*self.classes, *other.classes})), other)
        rows = torch.tensor([self.classes.index(name) for name in other.classes], dtype=torch.long)
        self.counts.index_add_(0, rows, other.counts, alpha=sign)
        for name, value in other.by_class.items():
            self.by_class[name].index_add_(0, rows, value, alpha=sign)
        for name, value in other.shared.items():
            if name in self.shared:
                self.shared[name].add_(value, alpha=sign)
            else:
                self.shared[name] = sign * value
        left = tuple(name for name, count in zip(self.classes, self.counts.tolist(), strict=True) if count)
        if not left:
            # As if there had never been a record.
            self.classes, self.counts, self.by_class, self.shared = (), self.counts[:0], {}, {}
        elif left != self.classes:
            self._select(left, other)

    def _select(self, classes: tuple[str, ...], like: "Sums") -> None:
        """Take on these classes: new ones begin with zeros, others go."""
        if classes == self.classes:
            return
        known = {name: row for row, name in enumerate(self.classes)}
        targets = [row for row, name in enumerate(classes) if name in known]
        sources = [known[classes[row]] for row in targets]

        def moved(value: Tensor) -> Tensor:
            result = value.new_zeros(len(classes), *value.shape[1:])
            result[targets] = value[sources]
            return result

        empty = {name: value[:0] for name, value in like.by_class.items()}
        self.counts = moved(self.counts)
        self.by_class = {name: moved(value) for name, value in {**empty, **self.by_class}.items()}
        self.classes = classes

    def tensors(self) -> dict[str, Tensor]:
        """Return everything but the names of the classes, by names for a file."""
        return {
            "counts": self.counts,
            **{f"by_class.{name}": value for name, value in self.by_class.items()},
            **{f"shared.{name}": value for name, value in self.shared.items()},
        }

    @classmethod
    def of(cls, classes: Sequence[str], tensors: Mapping[str, Tensor]) -> "Sums":
        """Return the sums whose :meth:`tensors` these are."""
        parts: dict[str, dict[str, Tensor]] = {"by_class": {}, "shared": {}}
        for key, value in tensors.items():
            part, _, name = key.partition(".")
            if name:
                parts[part][name] = value
        return cls(tuple(classes), tensors["counts"], parts["by_class"], parts["shared"])


def tensors_digest(tensors: Mapping[str, Tensor], key: bytes, label: str, description: str = "") -> str:
    """Return the HMAC-SHA256 of names, types, shapes and bytes of tensors, in order of names.

    Without a key, whoever has all records but one could try candidates for it until the digest fits.

    Args:
        tensors: Tensors by name.
        key: Key.
        label: What the tensors are, so that digests of different things never meet.
        description: Text that the digest covers too.
    """
    digest = hmac.new(key, f"myosotis/v1/{label}:{len(description)}:{description};".encode(), hashlib.sha256)
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
