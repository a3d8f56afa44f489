"""What a learner with an adapter a subject is saved as: its description, its digests, and a file for each subject."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors import SafetensorError, safe_open
from torch import Tensor

from myosotis.engine.errors import InputError
from myosotis.forgetting_learner.adapters.config import AdapterSettings, AdapterTraining, RouterSettings
from myosotis.unlearning.language.job.config import BaseConfig

FORMAT = 2
"""Raised whenever the same records would give other adapters, another router or other digests."""

DESCRIPTION = "subjects.json"
"""The file that describes the learner."""
FOLDER = "adapters"
"""The folder with a file for each subject."""

NOT_ADAPTER = ("rows", "contents", "words", "text_words", "text_lengths")
"""What a subject's file holds next to the adapter: features of prompts, and keyed digests of records, of the words of
its name and, record by record, of the words of their texts."""


@dataclass(frozen=True)
class LearnerSpec:
    """What, beside its records and its key, the state of a learner is a function of.

    Attributes:
        model: Model that is never trained.
        template: Template of a record.
        max_length: Longest sequence in tokens.
        adapter: Adapters.
        training: Their training.
        router: Router.
        seed: Seed of every start.
        weights: SHA-256 of the model's weights.
        tokenizer: SHA-256 of the tokenizer.
        format: Version of the state.
    """

    model: BaseConfig
    template: str
    max_length: int
    adapter: AdapterSettings
    training: AdapterTraining
    router: RouterSettings
    seed: int
    weights: str
    tokenizer: str
    format: int = FORMAT

    @property
    def text(self) -> str:
        """What the digests cover: all but the name of the model, which may lie elsewhere."""
        values = TypeAdapter(LearnerSpec).dump_python(self, mode="json")
        values["model"].pop("name")
        return json.dumps(values, sort_keys=True)


@dataclass(frozen=True)
class LearnerDigests:
    """What proves which records are in a learner, to whoever has its key.

    Two learners of one key and one description have equal digests exactly if they learned the same records.

    Attributes:
        root: Root of a Merkle tree (RFC 6962) over the description, the router and every subject.
        router: HMAC-SHA256 of the router's sums.
        head: HMAC-SHA256 of the head that they give.
        subjects: HMAC-SHA256 of each subject's adapter, features and list of records, by its keyed name.
    """

    root: str
    router: str
    head: str
    subjects: dict[str, str]


@dataclass(frozen=True)
class SavedLearner:
    """Content of the description's file.

    Attributes:
        spec: Description.
        digests: Digests of the whole.
        records: Number of records.
    """

    spec: LearnerSpec
    digests: LearnerDigests
    records: int


def as_tensor(digests: Sequence[bytes]) -> Tensor:
    """Return digests of 32 bytes as a tensor of bytes, (count, 32)."""
    return torch.from_numpy(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(digests), 32).copy())


def from_tensor(rows: Tensor) -> list[bytes]:
    """Return the digests that :func:`as_tensor` was given."""
    return [row.tobytes() for row in rows.numpy()]


def read_subject(file: Path) -> tuple[dict[str, Tensor], str | None]:
    """Return the tensors of a subject's file and the digest in it; nothing of one that is missing or damaged."""
    try:
        with safe_open(file, "pt") as content:
            return {name: content.get_tensor(name) for name in content.keys()}, (content.metadata() or {}).get("digest")  # noqa: SIM118
    except (OSError, SafetensorError):
        return {}, None


def learner_folder(path: Path, key: str) -> Path:
    """Return the directory of a learner.

    Args:
        path: Run, or directory of the learner.
        key: Key of the configuration, for errors.

    Raises:
        InputError: There is none.
    """
    folder = path / "model" if (path / "config.yaml").is_file() else path
    if not (folder / DESCRIPTION).is_file():
        raise InputError(f"{key} {path}: holds no learner of 'learn-language', which has an adapter for each subject")
    return folder
