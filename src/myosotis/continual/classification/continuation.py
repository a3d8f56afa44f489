"""A stream that goes on: what a finished run leaves for a later one, and how that one begins with it."""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.result import TaskRecord
from myosotis.continual.classification.saved import LEARNER, LearnerSpec
from myosotis.continual.classification.training import Start
from myosotis.continual.memory import ExemplarMemory
from myosotis.data.forgotten import STREAM, Forgotten
from myosotis.data.images import ImageSet
from myosotis.engine.artifact import read_description
from myosotis.engine.errors import InputError
from myosotis.engine.files import read_json, write_json
from myosotis.engine.run import Run

_KINDS = ("learn-classes", "unlearn-exact", "unlearn-learner")
_KEY = "continue_from"


@dataclass(frozen=True)
class Earlier:
    """A run that a stream goes on from.

    Attributes:
        path: Its directory.
        name: Its name.
        spec: Description of its learner.
        records: Measurements after each of its tasks.
        memory: State of its exemplar memory, with indices into its own training set.
        exemplars: Keyed digest of each exemplar, by that index.
        key: Key of these digests.
        forgotten: Images that were forgotten in it.
        model: Hash of what it left.
        settings: Its settings of ``model`` and ``memory``.
        validation: Share of each class that it held out of training.
        shape: Channels, height and width of its images, by whose pixels exemplars and forgotten images are recognised.
        requests: What was forgotten between the tasks, see :func:`~myosotis.data.forgotten.carry_stream`.
    """

    path: Path
    name: str
    spec: LearnerSpec
    records: list[TaskRecord]
    memory: dict[str, Any]
    exemplars: dict[int, str]
    key: str
    forgotten: Forgotten | None
    model: str
    settings: Mapping[str, Any]
    validation: float
    shape: tuple[int, ...]
    requests: tuple[Mapping[str, Any], ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the learnt classes in the order of arrival."""
        return self.spec.backbone.classes[: sum(self.spec.sizes)]

    def check_shape(self, images: ImageSet, key: str) -> None:
        """Raise ``InputError`` if images have other pixels than those that were learnt, and would not be recognised.

        Args:
            images: Images.
            key: Key of the configuration, for the error.
        """
        given = tuple(images.images.shape[1:])
        if given != self.shape:
            was, now = ("x".join(map(str, shape)) for shape in (self.shape, given))
            raise InputError(
                f"{key}: the images are {now} (channels, height, width), {self.name} learned them as {was}: none could "
                "be recognised; set it by 'size'"
            )

    def start(self, train: ImageSet) -> Start:
        """Return what a trainer begins with, its exemplars as indices into another training set.

        Args:
            train: Training images, which must hold the exemplars.

        Raises:
            InputError: One of them is missing.
        """
        numbers = self.numbers(train)
        missing = len(self.exemplars) - len(numbers)
        if missing:
            raise InputError(
                f"{_KEY}: {missing} of {len(self.exemplars)} exemplars of {self.name} are not among data.train, "
                "which must hold them"
            )
        memory = {
            **self.memory,
            "ranked": [[label, [numbers[index] for index in ranked]] for label, ranked in self.memory["ranked"]],
        }
        return Start(self.path / "model", self.spec.sizes, memory, list(self.records), numbers)

    def numbers(self, images: ImageSet) -> dict[int, int]:
        """Return the index in a set of images of each exemplar that is among them, by its own index."""
        indices = defaultdict(list)
        if self.exemplars:
            for index in range(len(images)):
                indices[exemplar_digest(self.key, images, index)].append(index)
        return {old: indices[digest].pop(0) for old, digest in sorted(self.exemplars.items()) if indices[digest]}

    def exemplars_among(self, images: ImageSet) -> list[int]:
        """Return the indices of the exemplars with the pixels of one of these images, whatever its class."""
        names = self.spec.backbone.classes
        digests = {_digest(self.key, pixels, name) for pixels, _ in images.hashes for name in (*names, *images.classes)}
        return [index for index, digest in sorted(self.exemplars.items()) if digest in digests]


def exemplar_digest(key: str, images: ImageSet, index: int) -> str:
    """Return a keyed digest of an image and the name of its class."""
    name = images.classes[int(images.labels[index])]
    return _digest(key, images.hashes[index][0], name)


def _digest(key: str, pixels: bytes, name: str) -> str:
    content = pixels + name.encode("utf-8", "surrogatepass")
    return hmac.new(key.encode(), content, hashlib.sha256).hexdigest()


def write_stream(
    run: Run,
    config: ClassLearningConfig,
    learner: Learner[Any],
    memory: ExemplarMemory,
    records: Sequence[TaskRecord],
    train: ImageSet,
    earlier: Earlier | None,
) -> None:
    """Write what a later run begins with.

    Args:
        run: The run.
        config: Its configuration.
        learner: Learner after the last task.
        memory: Memory after the last task.
        records: Measurements after each task.
        train: Training images that the memory refers to.
        earlier: Run that this one went on from, or None.
    """
    forgotten = None if earlier is None else earlier.forgotten
    stored = [*memory.indices().tolist(), *learner.stored_indices()]
    content = {
        "records": [record.model_dump(mode="json") for record in records],
        "memory": memory.state_dict(),
        "settings": _settings(config),
        "validation": config.scenario.validation,
        "shape": list(train.images.shape[1:]),
        "exemplars": {str(index): exemplar_digest(run.salt, train, index) for index in sorted(set(stored))},
        "key": run.salt,
        "forgotten": None if forgotten is None else forgotten.as_json(),
        "requests": [] if earlier is None else list(earlier.requests),
    }
    write_json(run.path / STREAM, content, private=True)


def read_earlier(path: Path, key: str = _KEY) -> Earlier:
    """Read a run that a stream goes on from.

    Args:
        path: The run.
        key: Key of the configuration, for errors.

    Raises:
        InputError: It is none, not finished, or lacks something.
    """
    if not path.is_dir():
        raise InputError(f"{key} {path}: no such run")
    run = Run.read(path)
    result = run.result()
    if result.get("kind") not in _KINDS:
        raise InputError(f"{key} {path}: is a run of '{result.get('kind')}', expected one of 'learn-classes'")
    spec = read_description(LearnerSpec, path / "model" / LEARNER, "a learner")
    if not (path / STREAM).is_file():
        raise InputError(f"{key} {path}: holds no {STREAM}, as runs of earlier versions: run it again")
    content = read_json(path / STREAM)
    try:
        records = TypeAdapter(list[TaskRecord]).validate_python(content["records"])
        exemplars = {int(index): str(digest) for index, digest in content["exemplars"].items()}
        forgotten = None if content["forgotten"] is None else Forgotten.of(content["forgotten"])
        return Earlier(
            path,
            str(result["name"]),
            spec,
            records,
            dict(content["memory"]),
            exemplars,
            str(content["key"]),
            forgotten,
            str(result["lineage"]["model_out"]),
            dict(content["settings"]),
            float(content["validation"]),
            tuple(int(side) for side in content["shape"]),
            tuple(content["requests"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ValidationError):
        raise InputError(f"{key} {path}: {STREAM} is damaged") from None


def check_same(earlier: Earlier, config: ClassLearningConfig) -> None:
    """Refuse to go on with another network, method, memory or seed than the earlier run had.

    Args:
        earlier: Earlier run.
        config: Configuration of the job that goes on.

    Raises:
        InputError: Something differs; the first is named.
    """
    spec, own = earlier.spec, _settings(config)
    compared = {
        "method": ((spec.method, spec.settings), (config.method.name, config.method.settings)),
        "norm": (spec.norm.model_dump(), config.norm.model_dump()),
        "seed": (spec.seed, config.seed),
        **{key: (earlier.settings.get(key), value) for key, value in own.items()},
    }
    for key, (was, now) in compared.items():
        if was != now:
            raise InputError(
                f"{_KEY} {earlier.path}: '{key}' was {_text(was)}, is {_text(now)}; a stream goes on as it began"
            )


def _settings(config: ClassLearningConfig) -> dict[str, Any]:
    """What must stay as it was: a file of weights may lie elsewhere by now, as may the cache."""
    model = config.model.model_dump(mode="json", exclude={"feature_cache", "init_from"})
    return {
        "model": {**model, "weights": config.model.weights is not None},
        "memory": config.memory.model_dump(mode="json"),
    }


def _text(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
