"""The job of ``unlearn-exact``."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from myosotis.data.forgotten import STREAM, carry_stream
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet
from myosotis.data.instance_lists import read_instance_list
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.job import Job
from myosotis.engine.processes import is_main_process
from myosotis.evaluation.comparison import Comparison, answer, compared, one_sided
from myosotis.evaluation.intervals import change_interval, clopper_pearson, mean_interval
from myosotis.exact import Digests, ExactClassifier, OtherFeaturesError
from myosotis.exact.classifier import DESCRIPTION
from myosotis.exact.feature_cache import FeatureCache
from myosotis.exact.records import NotLearnedError
from myosotis.forgetting_learner.exact.config import ExactForgettingConfig
from myosotis.forgetting_learner.exact.learner import ExactLearner, class_names, load_exact_learner
from myosotis.forgetting_learner.exact.result import ExactResult, ExactVerdict

_SHAPE_HINT = "give data.train with the 'size' that the learner learned"


class ExactForgettingJob(Job[ExactForgettingConfig]):
    """Takes images out of the sums of a learner; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-exact"
    Result = ExactResult

    def prepare(self) -> None:
        """Read the learner and the images, and look every image up in the list of records.

        Raises:
            InputError: Something is missing, or an image was never learned.
        """
        config = self._config
        self._check_available()
        cache = config.model.feature_cache
        if cache is not None and not Path(cache).is_dir():
            raise InputError(f"model.feature_cache {cache}: no such directory")
        self._learner = load_exact_learner(Path(config.model.learner), "model.learner")
        self._read_images()
        counts = f"{len(self._forget)} images to forget of {len(self._learner.classifier):,} that were learned"
        self._say(counts)
        with settings_as_input():
            self._rows = self._learner.rows(self._forget)
        records = self._learner.records(self._forget, self._rows)
        try:
            self._learner.classifier.records.check(records, self._learner.classifier.classes)
        except OtherFeaturesError as error:
            if not config.recompute:
                hint = "'--set recompute=true' learns the remaining images of data.train anew"
                raise InputError(f"{error}; {hint}") from None
        except NotLearnedError as error:
            first = self._forget.names[error.indices[0]]
            raise InputError(f"{error}; {first} first") from None
        if config.recompute:
            self._check_complete()

    def _read_images(self) -> None:
        data, config = self._config.data, self._config
        train = None if data.train is None else read_images(data.train)
        self._test = None if data.test is None else read_images(data.test)
        if data.forget.folder is not None:
            sizes = [source.size for source in (data.train, data.test) if source is not None]
            self._forget = read_image_folder(Path(data.forget.folder), sizes[0] if sizes else None)
            rest = [] if train is None else _not_among(train, self._forget)
        else:
            assert train is not None  # noqa: S101 - the configuration has been checked
            if data.forget.list is not None:
                indices = read_instance_list(Path(str(data.forget.list)), train)
            else:
                count, learned = int(data.forget.count or 0), set(self._learned(train))
                if count > len(learned):
                    raise InputError(
                        f"data.forget.count is {count}, but {len(learned)} images of data.train were learned"
                    )
                order = train.shuffled(config.seed, "forget")
                indices = [index for index in order if index in learned][:count]
            chosen = set(indices)
            self._forget = train.subset(indices)
            rest = [index for index in range(len(train)) if index not in chosen]
        for name, images in (("training", train), ("test", self._test)):
            if images is not None and images.images.shape[1:] != self._forget.images.shape[1:]:
                raise InputError(f"the images to forget and those of the {name} set differ in size; {_SHAPE_HINT}")
        self._remaining = None
        if train is not None:
            others = train.subset(rest)
            self._remaining = others.subset(self._learned(others))

    def _learned(self, images: ImageSet) -> list[int]:
        """The indices of the images whose pixels and class are in the list of records."""
        known = {record.image for record in self._learner.classifier.records.counts}
        blank = torch.zeros(len(images), 0, dtype=torch.int32)
        records = self._learner.records(images, blank)
        return [index for index, record in enumerate(records) if record.image in known]

    def _check_complete(self) -> None:
        """Refuse to learn anew from fewer images than remain."""
        assert self._remaining is not None  # noqa: S101 - the configuration has been checked
        expected = len(self._learner.classifier) - len(self._forget)
        if len(self._remaining) != expected:
            raise InputError(
                f"recompute: {expected} records remain, but data.train holds {len(self._remaining)} of their images"
            )

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the digests of the learner and fingerprints of the images."""
        digests = self._learner.classifier.digests()
        return {"the sums": digests.statistics, "the head": digests.head, **self._fingerprints(salt)}

    def _fingerprints(self, salt: str) -> dict[str, str]:
        sets = {"forget": self._forget, "remaining": self._remaining, "test": self._test}
        return {
            f"{name} images": salted_fingerprint("".join(sorted(_digests(images))), salt)
            for name, images in sets.items()
            if images is not None
        }

    def produce(self) -> Mapping[str, Any]:
        """Measure, subtract, measure again, and publish the learner."""
        config, learner = self._config, self._learner
        before = learner.classifier.digests()
        classes = learner.classifier.classes
        records_before = len(learner.classifier)
        sets = self._audited()
        with self._run.timed("audit"):
            right = {"before": {name: self._right(images) for name, images in sets.items()}}
        with self._run.timed("forget"):
            if config.recompute:
                self._recompute()
            else:
                learner.classifier.forget(self._forget.images, self._rows, class_names(self._forget))
            after = learner.classifier.digests()
        with self._run.timed("audit"):
            right["after"] = {name: self._right(images) for name, images in sets.items()}
        self._run.publish(learner.save)
        if is_main_process():
            self._clear_cache()
            stream, request = learner.path.parent, self._answered(right)
            gone = learner.described()[1] if (stream / STREAM).is_file() else ()
            carry_stream(stream, self._run.path, self._forget, request, tasks_gone=gone)
        asked = learner.records(self._forget, self._rows)
        copies = learner.classifier.records.copies(asked, learner.classifier.classes)
        keeping = self._keeping(right, sets.get("test"))
        kept = answer(keeping)
        return {
            "head": learner.classifier.spec.head,
            "request": config.request.model_dump(mode="json"),
            "classes": list(learner.classifier.classes),
            "classes_gone": [name for name in classes if name not in learner.classifier.classes],
            "images": {
                "forget": len(self._forget),
                "by_class": dict(sorted(Counter(class_names(self._forget)).items())),
                "records_before": records_before,
                "records_after": len(learner.classifier),
                "copies_left": sum(copies.values()),
                "copies_by_class": copies,
                "remaining": len(self._remaining or ()),
                "test": len(self._test or ()),
            },
            "digests": {"before": asdict(before), "after": asdict(after)},
            "recomputed": config.recompute,
            "metrics": {
                model: {name: _accuracy(values, config.audit.confidence) for name, values in own.items()}
                for model, own in right.items()
            },
            "fingerprints": [salted_fingerprint(digest, self._run.salt) for digest in _digests(self._forget)],
            "verdict": ExactVerdict(
                known=True,
                forgotten=not copies,
                kept=kept,
                sure=None if kept is None else True,
                keeping=keeping,
                confidence=config.audit.confidence,
            ),
            "lineage": {
                "model_in": before.statistics,
                "model_out": after.statistics,
                "body": learner.classifier.spec.body,
                "data": self._fingerprints(self._run.salt),
            },
            "cost": self.cost(),
        }

    def _clear_cache(self) -> None:
        directory, spec = self._config.model.feature_cache, self._learner.classifier.spec
        if directory is not None:
            bits = self._learner.classifier.head.settings.bits
            FeatureCache(Path(directory), spec.body, bits, spec.width).forget(self._forget.images)

    def _answered(self, right: Mapping[str, Mapping[str, Tensor]]) -> dict[str, Any]:
        """What a stream that goes on says of this request."""

        def share(model: str, name: str) -> float | None:
            return right[model][name].double().mean().item() if name in right[model] else None

        return {
            "name": self._config.name,
            "images": len(self._forget),
            "forgotten_before": share("before", "forget"),
            "forgotten_after": share("after", "forget"),
            "test_after": share("after", "test"),
        }

    def _recompute(self) -> None:
        old, remaining = self._learner.classifier, self._remaining
        assert remaining is not None  # noqa: S101 - the configuration has been checked
        new = ExactClassifier(old.spec, old.records.key)
        if len(remaining):
            new.learn(remaining.images, self._learner.rows(remaining), class_names(remaining))
        self._learner.classifier = new

    def _audited(self) -> dict[str, ImageSet]:
        """The sets that are measured; of large ones a part that depends on names and the seed alone."""
        largest = self._config.audit.samples
        sets = {"forget": self._forget, "remaining": self._remaining, "test": self._test}
        return {
            name: images.subset(images.shuffled(self._config.seed, "audit")[:largest])
            if len(images) > largest
            else images
            for name, images in sets.items()
            if images is not None and len(images)
        }

    def _right(self, images: ImageSet) -> Bool[Tensor, " n"]:
        answers: Int[Tensor, " n"] = self._learner.answers(images)
        return answers == images.labels

    def _keeping(self, right: Mapping[str, Mapping[str, Tensor]], test: ImageSet | None) -> list[Comparison]:
        """The accuracy on test images of classes that are still there, against that before; none without such."""
        known = set(self._learner.classifier.classes)
        still = [] if test is None else [row for row, name in enumerate(class_names(test)) if name in known]
        if test is None or not still:
            return []
        audit = self._config.audit
        after, before = (right[model]["test"][still].double() for model in ("after", "before"))
        row = compared(
            "test",
            mean_interval(after, level=audit.confidence),
            mean_interval(before, level=audit.confidence),
            change_interval(after, before, level=one_sided(audit.confidence)),
            "at least",
            against_of="before",
            margin=audit.most_lost,
            total=len(test),
            confidence=audit.confidence,
        )
        return [row]


def recomputed_digests(learner: ExactLearner, images: ImageSet) -> tuple[Digests, int]:
    """Return the digests of a learner of the same key that learns these images, and how many the given one learned.

    Args:
        learner: Learner whose body, head and settings are used.
        images: All images that it should have learned, and no other.

    Raises:
        SettingsError: A feature does not fit the grid.
    """
    own = learner.classifier
    new = ExactClassifier(own.spec, own.records.key)
    rows = learner.rows(images)
    new.learn(images.images, rows, class_names(images))
    missing = own.records.missing(learner.records(images, rows))
    return new.digests(), len(images) - len(missing)


def audit_against(path: Path, folder: Path, size: int | None) -> dict[str, Any]:
    """Compare a learner with one that learns the images of a folder, as an auditor who has them does.

    Args:
        path: Run, or directory of a learner.
        folder: Folder of all images that the learner should have learned, with a folder for each class.
        size: Side that images are scaled to, as they were when they were learned.

    Returns:
        ``equal``: whether the digests are; both digests, ``images`` and ``learned``, how many of the images are in the
        list of records.

    Raises:
        InputError: There is no such learner, or no such images.
    """
    learner = load_exact_learner(path, "RUN")
    images = read_image_folder(folder, size)
    with settings_as_input():
        digests, learned = recomputed_digests(learner, images)
    own = learner.classifier.digests()
    return {
        "equal": digests == own,
        "statistics_equal": digests.statistics == own.statistics,
        "claimed": asdict(own),
        "recomputed": asdict(digests),
        "images": len(images),
        "learned": learned,
        "records": len(learner.classifier),
    }


def is_exact(path: Path) -> bool:
    """Return whether a run, or a directory, holds a learner that forgets exactly."""
    return (path / DESCRIPTION).is_file() or (path / "model" / DESCRIPTION).is_file()


def _digests(images: ImageSet) -> list[str]:
    return [images.digest(index) for index in range(len(images))]


def _not_among(images: ImageSet, others: ImageSet) -> list[int]:
    """The indices of images that are not, with their class, among others; numbers of classes may differ.

    The same pixels under another class are another record, which stays in the sums.
    """
    taken = {(others.images[index].numpy().tobytes(), name) for index, name in enumerate(class_names(others))}
    return [
        index
        for index, name in enumerate(class_names(images))
        if (images.images[index].numpy().tobytes(), name) not in taken
    ]


def _accuracy(right: Bool[Tensor, " n"], level: float) -> dict[str, Any]:
    hits, count = int(right.sum()), len(right)
    if not count:
        return {"accuracy": None, "low": None, "high": None, "count": 0}
    low, high = clopper_pearson(hits, count, level)
    return {"accuracy": hits / count, "low": low, "high": high, "count": count}
