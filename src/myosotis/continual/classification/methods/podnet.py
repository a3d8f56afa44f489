"""PODNet: pooled outputs distillation."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.classification.distillation import feature_distance, pod_spatial
from myosotis.continual.classification.learner import Batch, Learner, Stage, TaskState
from myosotis.engine.method import MethodCard
from myosotis.engine.seeding import derive_seed
from myosotis.models.heads import GrowingHead, ProxyHead


def nca_loss(
    similarities: Float[Tensor, "n classes"],
    labels: Int[Tensor, " n"],
    scale: Tensor,
    margin: float = 0.6,
    *,
    exclude_true: bool = True,
) -> Float[Tensor, ""]:
    """Return ``mean_n max(0, -log( exp(η (s_y - δ)) / Σ_{c ≠ y} exp(η s_c) ))`` (Douillard et al., ECCV 2020).

    Args:
        similarities: s, unscaled.
        labels: y.
        scale: η, learnt.
        margin: Margin δ of the loss.
        exclude_true: Whether the sum excludes the true class, as in the paper. Then, with few classes, a scale of zero
            is a minimum of the loss: for two it becomes ``max(0, η (s_o - s_y + δ))``.
    """
    true = similarities.gather(1, labels.unsqueeze(1)).squeeze(1)
    if exclude_true and similarities.shape[1] == 1:
        return (similarities * 0).sum()
    # Scaled before it is masked: the scale's gradient would be 0 times infinity.
    replacement = torch.full_like(true, -math.inf) if exclude_true else scale * (true - margin)
    rivals = (scale * similarities).scatter(1, labels.unsqueeze(1), replacement.unsqueeze(1))
    return functional.relu(rivals.logsumexp(dim=1) - scale * (true - margin)).mean()


@dataclass(frozen=True)
class PODNetSettings:
    """Settings of PODNet.

    Attributes:
        spatial: Weight of POD-spatial.
        flat: Weight of POD-flat.
        proxies: Number of vectors of each class.
        margin: Margin δ of the loss.
        scale: Initial η.
        exclude_true: Whether the sum excludes the true class, see :func:`nca_loss`; turn it off if the first task has
            few classes.
        adaptive: Whether both weights are multiplied by √(C / C_n).
        balanced_epochs: Epochs of the fine-tuning of the head on equally many samples of every class; 0 for none.
        balanced_rate: Learning rate of the fine-tuning.
    """

    spatial: NonNegativeFloat = 3.0
    flat: NonNegativeFloat = 1.0
    proxies: PositiveInt = 10
    margin: NonNegativeFloat = 0.6
    scale: PositiveFloat = 1.0
    exclude_true: bool = True
    adaptive: bool = True
    balanced_epochs: NonNegativeInt = 20
    balanced_rate: PositiveFloat = 0.005


class PODNet(Learner[PODNetSettings]):
    """Several proxies for a class, ``L = NCA + λ_s POD-spatial + λ_f POD-flat``; then a balanced tuning of the head."""

    card = MethodCard(
        "podnet",
        "PODNet",
        "Douillard, Cord, Ollion, Robert, Valle, ECCV 2020",
        "current task, exemplars",
        "exemplars, the old network, its maps",
        "For many small tasks after a large first one.",
    )
    Settings = PODNetSettings
    signed_features = True
    least_exemplars = 1

    def head(self, num_features: int) -> GrowingHead:
        return ProxyHead(num_features, self.settings.proxies, self.settings.scale)

    def before_task(self, task: TaskState) -> None:
        """Initialise the proxies of each new class with the cluster centres of its features."""
        super().before_task(task)
        if not task.number:
            return
        features_at, proxies = task.features(self.net), self.settings.proxies
        with torch.no_grad():
            for label in range(task.old, task.classes):
                features = functional.normalize(features_at(task.of_class(label)), dim=1)
                count = min(proxies, len(features))
                from scipy.cluster.vq import kmeans2  # a third of a second, which other methods need not wait for

                centres, _ = kmeans2(
                    features.double().cpu().numpy(),
                    count,
                    minit="++",
                    rng=derive_seed(task.seed, "proxies", label) % 2**32,
                )
                rows = torch.from_numpy(centres).repeat(-(-proxies // count), 1)[:proxies]
                self.net.head.weight[label] = rows.to(self.net.head.weight)

    def stages(self, task: TaskState) -> Iterator[Stage]:
        """Yield the training, then the tuning of the head."""
        yield Stage("learn", task.current, self.replayed(task), self.loss)
        if task.number and self.settings.balanced_epochs and not task.memory.is_none:
            current, old = task.balanced(self.net)
            yield Stage(
                "balanced",
                current,
                old,
                self._classification,
                epochs=self.settings.balanced_epochs,
                learning_rate=self.settings.balanced_rate,
                parameters=list(self.net.head.parameters()),
                train=False,
                balanced=True,
            )

    def _nca(self, logits: Tensor, labels: Tensor) -> Tensor:
        scale = self.net.head.factor
        return nca_loss(logits / scale, labels, scale, self.settings.margin, exclude_true=self.settings.exclude_true)

    def _classification(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        return {"nca": self._nca(net(batch.images).logits, batch.labels)}

    def loss(self, net: nn.Module, batch: Batch) -> Mapping[str, Tensor]:
        outputs = net(batch.images)
        terms = {"nca": self._nca(outputs.logits, batch.labels)}
        if self.teacher is None:
            return terms
        old = self._teach(batch.images)
        classes, known = outputs.logits.shape[1], old.logits.shape[1]
        factor = math.sqrt(classes / (classes - known)) if self.settings.adaptive else 1.0
        terms["pod_spatial"] = self.settings.spatial * factor * pod_spatial(outputs.maps, old.maps)
        terms["pod_flat"] = self.settings.flat * factor * feature_distance(outputs.features, old.features)
        return terms
