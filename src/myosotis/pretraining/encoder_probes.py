"""Probes of an encoder on frozen features, beside those on raw pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.errors import SettingsError
from myosotis.evaluation.probe import balanced_indices, knn_probe, linear_probe
from myosotis.models.modes import evaluating
from myosotis.pretraining.maps import last_map
from myosotis.pretraining.masked_model import MaskedModel

_CHUNK = 500


@dataclass(frozen=True)
class ProbeResults:
    """Accuracies on the test set.

    Attributes:
        linear: Accuracy of a linear probe.
        knn: Accuracy of nearest neighbours.
        penalty: Penalty of the linear probe, chosen on a part of its training samples.
    """

    linear: float
    knn: float
    penalty: float


class EncoderProbes:
    """Probes of encoders on the same labelled images.

    Args:
        train: Training images of the probes.
        test: Test images of the same classes.
        samples: Images of ``train`` that take part, as many of each class; None: all.
        neighbours: Number k of the nearest neighbours.
        cells: Layout of features, see :func:`encoder_features`.
        seed: Seed of the draw.
        device: Device of the encoder.

    Raises:
        SettingsError: Classes differ, or there are too few images of one.
    """

    def __init__(
        self,
        train: ImageSet,
        test: ImageSet,
        *,
        samples: int | None = None,
        neighbours: int = 20,
        cells: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if train.classes != test.classes:
            raise SettingsError("training and test images have different classes")
        if len(train.classes) < 2:
            raise SettingsError("a probe needs at least two classes")
        if int(torch.bincount(train.labels, minlength=len(train.classes)).min()) < 2:
            raise SettingsError("every class needs at least two labelled training images")
        if samples is not None and samples < 2 * len(train.classes):
            raise SettingsError(f"{samples} samples are too few for {len(train.classes)} classes")
        indices = torch.arange(len(train))
        if samples is not None:
            indices = balanced_indices(train.labels, samples // len(train.classes), seed)
        self._images, self._labels = train.images[indices], train.labels[indices]
        self._test, self._neighbours, self._cells = test, neighbours, cells
        self._seed, self._device = seed, device
        self.count, self.test_count = len(indices), len(test)

    def encoder(self, model: MaskedModel) -> ProbeResults:
        """Return the accuracies of probes on the features of a network's encoder."""
        model.to(self._device)
        train, test = (
            encoder_features(model, images, self._device, cells=self._cells)
            for images in (self._images, self._test.images)
        )
        return self._measured(train, test)

    def pixels(self) -> ProbeResults:
        """Return the accuracies of probes on raw pixels."""
        return self._measured(to_unit(self._images).flatten(1), to_unit(self._test.images).flatten(1))

    def _measured(self, train: Float[Tensor, "n features"], test: Float[Tensor, "m features"]) -> ProbeResults:
        labels, expected = self._labels.to(train.device), self._test.labels.to(train.device)
        probe = linear_probe(train, labels, test, expected, seed=self._seed)
        near = knn_probe(train, labels, test, expected, k=self._neighbours)
        return ProbeResults(probe.accuracy, near, probe.penalty)


def encoder_features(
    model: MaskedModel, images: Tensor, device: torch.device | str, *, cells: int = 1
) -> Float[Tensor, "n features"]:
    """Return the features of whole images, in evaluation mode.

    Args:
        model: A network on ``device``, whose encoder has no classes.
        images: (n, channels, height, width), bytes.
        device: Device of the features.
        cells: 1 for the features of the encoder; more for the means of its last map over cells x cells parts of the
            image, side by side, which keep a part of the layout.

    Raises:
        SettingsError: The encoder has no map of that size.
    """
    with evaluating(model), torch.no_grad():
        return torch.cat([_features(model, to_unit(part.to(device)), cells).float() for part in images.split(_CHUNK)])


def _features(model: MaskedModel, images: Tensor, cells: int) -> Tensor:
    x: Tensor = model.normalize(images)
    if cells == 1:
        features: Tensor = model.encoder(x)
        return features
    x = last_map(model.encoder, x)
    if min(x.shape[2:]) < cells:
        raise SettingsError(f"the last map of the encoder is smaller than {cells}x{cells}")
    return functional.adaptive_avg_pool2d(x, cells).flatten(1)
