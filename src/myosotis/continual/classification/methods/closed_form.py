"""Learners that train nothing: a frozen body, and a head that is a function of sums over the learnt records."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.continual.classification.network import Outputs
from myosotis.exact import ExactClassifier, ExactSpec, exact_features
from myosotis.exact.body import body_hash, check_body, describe_body
from myosotis.exact.feature_cache import FeatureCache, cached_rows
from myosotis.exact.fecam import FeCAM as FeCAMHead, FeCAMSettings
from myosotis.exact.head import HeadSettings
from myosotis.exact.ranpac import RanPAC as RanPACHead, RanPACSettings
from myosotis.exact.simplecil import SimpleCIL as SimpleCILHead
from myosotis.models.backbone import Backbone
from myosotis.models.modes import evaluating

_CHUNK = 4096  # images whose features are computed before they are added


class FrozenNet(nn.Module):
    """A body that is not trained; its head is not a part of it."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone.requires_grad_(False)
        self.classes = 0

    def grow(self, count: int, _: torch.Generator) -> None:
        """Count the classes that have arrived."""
        self.classes += count

    def forward(self, images: Float[Tensor, "n channels height width"]) -> Outputs:
        """Return features and maps; there are no logits."""
        outputs = self.backbone(images)
        return Outputs(outputs.features.new_zeros(len(images), 0), outputs.features, outputs.maps)


class ClosedForm(Learner[HeadSettings]):
    """A learner whose task is to add its records to sums; see :class:`~myosotis.exact.ExactClassifier`.

    Needs a body with pre-trained weights. Forgets exactly, by a job ``unlearn-exact``.
    """

    reads_memory = False
    trains = False
    channels_last = False  # float64 is slower in it, and the digests of features depend on the layout
    exact: ExactClassifier | None = None

    def build(self, seed: int) -> nn.Module:
        return FrozenNet(self._make_backbone(seed))

    def stages(self, _: TaskState) -> Iterator[Stage]:
        """Return no training."""
        return iter(())

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        """Raise: nothing is trained."""
        raise NotImplementedError(f"{self.card.name} has no loss")

    def after_task(self, task: TaskState) -> None:
        if self.exact is None:
            self.exact = ExactClassifier(self._spec())
        names, body, spec = self._names(), self.net.backbone, self.exact.spec
        bits: int = self.exact.head.settings.bits  # those of the sums
        cache = None
        if self.feature_cache is not None:
            cache = FeatureCache(self.feature_cache, spec.body, bits, spec.width)
        for chunk in task.current.split(_CHUNK):
            images = (task.images(chunk) * 255).round().byte().cpu()
            with evaluating(self.net):
                rows = cached_rows(cache, images, lambda part: exact_features(body, part, bits))
            self.exact.learn(images, rows, [names[label] for label in task.labels[chunk].tolist()])

    def _names(self) -> tuple[str, ...]:
        known = () if self.body_spec is None else self.body_spec.classes
        return known or tuple(map(str, range(self.net.classes)))

    def _spec(self) -> ExactSpec:
        body: Backbone = self.net.backbone
        settings = dataclasses.asdict(self.settings)
        return ExactSpec(self.card.name, settings, body.num_features, self.seed, body_hash(body, self.body_spec))

    def predict(self, images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n classes"]:
        """Return the scores in the order of arrival; of a class that was forgotten, minus infinity."""
        assert self.exact is not None  # noqa: S101 - a task has been learnt
        scores = self.exact.scores(self.net(images).features)
        numbers = {name: number for number, name in enumerate(self._names())}
        result = scores.new_full((len(images), self.net.classes), -torch.inf)
        result[:, [numbers[name] for name in self.exact.classes]] = scores
        return result

    def model_hash(self) -> str:
        """Return the keyed digest of the sums, which covers body and head."""
        return super().model_hash() if self.exact is None else self.exact.digests().statistics

    def inference_parameters(self) -> int:
        """Return the number of parameters of body and head."""
        body = super().inference_parameters()
        return body if self.exact is None else body + sum(value.numel() for value in self.exact.solved().values())

    def linear_head(self) -> None:
        """Return None: the head is not one linear layer on the body."""

    def write_files(self, path: Path) -> None:
        """Write the sums, the head, the list of records, and the description of the body."""
        if self.exact is not None:
            self.exact.save(path)
        if self.body_spec is not None:
            describe_body(self.body_spec, path)

    def read_files(self, path: Path) -> None:
        """Read them.

        Raises:
            InputError: See :meth:`~myosotis.exact.ExactClassifier.load`; or the sums are of another body.
        """
        self.exact = ExactClassifier.load(path)
        check_body(self.net.backbone, self.body_spec, self.exact.spec.body, path)


class SimpleCIL(ClosedForm):
    """Nearest class mean by angle."""

    card = SimpleCILHead.card
    Settings = HeadSettings


class RanPAC(ClosedForm):
    """Ridge regression on a random projection."""

    card = RanPACHead.card
    Settings = RanPACSettings


class FeCAM(ClosedForm):
    """Mahalanobis distance with a covariance of each class."""

    card = FeCAMHead.card
    Settings = FeCAMSettings
