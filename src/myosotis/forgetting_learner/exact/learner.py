"""An exact learner in a directory: its sums, its body, and the files that come with them."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json
from myosotis.engine.processes import device
from myosotis.exact import ExactClassifier, exact_features
from myosotis.exact.body import BODY, WEIGHTS, load_body
from myosotis.exact.classifier import DESCRIPTION
from myosotis.exact.records import Record, make_records
from myosotis.models.backbone import Backbone
from myosotis.models.modes import evaluating

_COPIED = (WEIGHTS, BODY)
"""Files of a learner that forgetting does not change."""

_STREAM_LEARNER = "learner.json"

_CHUNK = 256


@dataclass
class ExactLearner:
    """A learner that forgets exactly.

    Attributes:
        path: Its directory.
        classifier: Sums, head and list of records.
        body: Frozen body.
    """

    path: Path
    classifier: ExactClassifier
    body: Backbone

    def rows(self, images: ImageSet) -> Int[Tensor, "n d"]:
        """Return the features of images on the grid.

        Raises:
            GridOverflowError: One does not fit.
        """
        bits: int = self.classifier.head.settings.bits
        return exact_features(self.body, images.images, bits)

    def records(self, images: ImageSet, rows: Int[Tensor, "n d"]) -> list[Record]:
        """Return the digests of images under the key of the learner."""
        return make_records(self.classifier.records.key, images.images, rows, class_names(images))

    def answers(self, images: ImageSet) -> Int[Tensor, " n"]:
        """Return the label of the class with the largest score of each image; -1 where it is no class of the images."""
        known = {name: label for label, name in enumerate(images.classes)}
        labels = torch.tensor([known.get(name, -1) for name in self.classifier.classes], dtype=torch.long)
        if not len(labels):
            return torch.full((len(images),), -1)
        found = [self._scores(part).argmax(1).cpu() for part in images.images.split(_CHUNK)]
        return labels[torch.cat(found)]

    def _scores(self, images: Tensor) -> Float[Tensor, "n classes"]:
        with evaluating(self.body), torch.no_grad():
            return self.classifier.scores(self.body(to_unit(images.to(device()))).features)

    def save(self, path: Path) -> None:
        """Write the learner as it is now into another directory."""
        path.mkdir(parents=True, exist_ok=True)
        for name in _COPIED:
            if (self.path / name).is_file():
                shutil.copyfile(self.path / name, path / name)
        if (self.path / _STREAM_LEARNER).is_file():
            write_json(path / _STREAM_LEARNER, self.described()[0])
        self.classifier.save(path)

    def described(self) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Return the description of the learner in its stream, without classes and tasks of which nothing is left.

        Returns:
            The content of ``learner.json``, and the indices of the tasks that went with their last class.

        Raises:
            InputError: The file is damaged.
        """
        path = self.path / _STREAM_LEARNER
        content = read_json(path)
        try:
            names, sizes, left = list(content["backbone"]["classes"]), [], []
            begin = 0
            for size in content["sizes"]:
                own = [name for name in names[begin : begin + size] if name in self.classifier.classes]
                left += own
                sizes.append(len(own))
                begin += size
        except (KeyError, TypeError):
            raise InputError(f"{path}: does not describe a learner") from None
        empty = tuple(index for index, size in enumerate(sizes) if not size)
        backbone = {**content["backbone"], "classes": [*left, *names[begin:]]}
        return {**content, "backbone": backbone, "sizes": [size for size in sizes if size]}, empty


def class_names(images: ImageSet) -> list[str]:
    """Return the name of the class of each image."""
    return [images.classes[label] for label in images.labels.tolist()]


def load_exact_learner(path: Path, key: str) -> ExactLearner:
    """Read a learner that forgets exactly.

    Args:
        path: Run, or directory of the learner.
        key: Key of the configuration, or name of the option, for errors.

    Raises:
        InputError: There is none; a learner of another method is named as such.
    """
    folder = path / "model" if (path / "config.yaml").is_file() else path
    if not folder.is_dir():
        raise InputError(f"{key} {path}: no such run or directory")
    if not (folder / DESCRIPTION).is_file():
        other = (folder / _STREAM_LEARNER).is_file() or (folder / "classifier.json").is_file()
        why = "its body was trained, so that no sum says what a record did to it" if other else "holds no learner"
        raise InputError(f"{key} {path}: {why}; 'unlearn-exact' needs simplecil, ranpac or fecam")
    classifier = ExactClassifier.load(folder)
    return ExactLearner(folder, classifier, load_body(folder, classifier.spec.body).to(device()))
