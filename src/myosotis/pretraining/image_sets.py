"""The images of a job: read, limited, checked against each other, and fingerprinted."""

from dataclasses import dataclass
from pathlib import Path

from myosotis.data.images import ImageSet
from myosotis.data.sets import input_fingerprints, limited, read_sets, repeated_images
from myosotis.data.sources import read_images
from myosotis.engine.errors import InputError
from myosotis.models.weight_files import weights_inputs
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.model_directory import directory_hash


@dataclass(frozen=True)
class PretrainSets:
    """The images of a job.

    Attributes:
        train: Images of the pre-training.
        labelled: Training images of probes and fine-tuning, if there are any.
        test: Test images of probes and fine-tuning.
    """

    train: ImageSet
    labelled: ImageSet | None
    test: ImageSet | None

    @property
    def shown(self) -> ImageSet:
        """The images of pictures: test images, or else training images."""
        return self.train if self.test is None else self.test


def read_pretrain_sets(config: PretrainConfig) -> PretrainSets:
    """Read the images of a job.

    Raises:
        InputError: Something is missing, or does not fit together.
    """
    data, seed = config.data, config.seed
    if data.test is None:
        train, test = read_images(data.train), None
    else:
        train, test = read_sets(data.both())
        # Runs of several seeds are measured on the same test images.
        test = limited(test, data.test_limit, 0, "data.test_limit")
    train = limited(train, data.limit, seed, "data.limit")
    probes = config.probes
    if test is not None and train.classes != test.classes:
        raise InputError("data: training and test images have different classes")
    if probes is None or probes.data is None:
        return PretrainSets(train, train if test is not None else None, test)
    labelled, measured = read_sets(probes.data)
    if labelled.classes != measured.classes:
        raise InputError("probes.data: training and test images have different classes")
    if labelled.images.shape[1:] != train.images.shape[1:]:
        raise InputError(
            f"probes.data: images are {tuple(labelled.images.shape[1:])}, those of the training "
            f"{tuple(train.images.shape[1:])}"
        )
    return PretrainSets(
        train,
        limited(labelled, probes.data.limit, 0, "probes.data.limit"),
        limited(measured, probes.data.test_limit, 0, "probes.data.test_limit"),
    )


def pretrain_inputs(sets: PretrainSets, config: PretrainConfig, salt: str) -> dict[str, str]:
    """Return digests by name of everything that a job reads: its images, and the weights that it begins with.

    Args:
        sets: The images.
        config: Configuration of the job.
        salt: Salt of the fingerprints of images.

    Raises:
        InputError: A file of weights cannot be read.
    """
    named, model = {"train": sets.train, "labelled": sets.labelled, "test": sets.test}, config.model
    inputs = input_fingerprints({name: images for name, images in named.items() if images is not None}, salt)
    initial = {} if model.init_from is None else {"init_from": directory_hash(Path(model.init_from))}
    return {**inputs, **weights_inputs(model.architecture, model.source), **initial}


def repeated_in(config: PretrainConfig, sets: PretrainSets) -> int:
    """Return how many test images are among those that are learnt from, with labels or without.

    Raises:
        InputError: All of them are labelled training images.
    """
    if sets.test is None or sets.labelled is None:
        return 0
    own = config.probes is not None and config.probes.data is not None
    repeated_images(sets.labelled, sets.test, "probes.data" if own else "data")
    learnt = {pixels for images in (sets.train, sets.labelled) for pixels, _ in images.hashes}
    return sum(pixels in learnt for pixels, _ in sets.test.hashes)
