"""What an encoder is worth: probes on frozen features, beside those on raw pixels."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.data.images import ImageSet, to_unit
from myosotis.evaluation.probe import balanced_places, knn_probe, linear_probe
from myosotis.models.normalization import NormalizedClassifier
from myosotis.pretraining.finetuning import pooled_features


@dataclass(frozen=True)
class EncoderMeasured:
    """Accuracies on the test set.

    Attributes:
        linear: Of a linear probe.
        knn: By nearest neighbours.
        penalty: That the linear probe chose on a part of its training samples.
    """

    linear: float
    knn: float
    penalty: float


class EncoderMeasuring:
    """Measures encoders on labelled images, always the same ones.

    Args:
        train: What probes are fitted to.
        test: What they are measured with; the same classes.
        samples: Images of ``train`` that take part, as many of each class; None: all.
        neighbours: k of the nearest neighbours.
        seed: Of the draw.
        device: Of the encoder.

    Raises:
        ValueError: Classes differ, or there are too few images of one.
    """

    def __init__(
        self,
        train: ImageSet,
        test: ImageSet,
        *,
        samples: int | None = None,
        neighbours: int = 20,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        if train.classes != test.classes:
            raise ValueError("training and test images have different classes")
        if len(train.classes) < 2:
            raise ValueError("a probe needs at least two classes")
        if samples is not None and samples < 2 * len(train.classes):
            raise ValueError(f"{samples} samples are too few for {len(train.classes)} classes")
        places = torch.arange(len(train))
        if samples is not None:
            places = balanced_places(train.labels, samples // len(train.classes), seed)
        self._images, self._labels = train.images[places], train.labels[places]
        self._test, self._neighbours, self._seed, self._device = test, neighbours, seed, device
        self.count, self.test_count = len(places), len(test)

    def encoder(self, model: NormalizedClassifier) -> EncoderMeasured:
        """Return what the features of an encoder are worth."""
        model.to(self._device)
        return self._measured(
            pooled_features(model, self._images, self._device), pooled_features(model, self._test.images, self._device)
        )

    def pixels(self) -> EncoderMeasured:
        """Return what raw pixels are worth."""
        return self._measured(to_unit(self._images).flatten(1), to_unit(self._test.images).flatten(1))

    def _measured(self, train: Float[Tensor, "n features"], test: Float[Tensor, "m features"]) -> EncoderMeasured:
        labels, wanted = self._labels.to(train.device), self._test.labels.to(train.device)
        probe = linear_probe(train, labels, test, wanted, seed=self._seed)
        near = knn_probe(train, labels, test, wanted, k=self._neighbours)
        return EncoderMeasured(probe.accuracy, near, probe.penalty)
