"""SSUL-M: a frozen body, independent outputs, and a class for unknown objects."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from pydantic import NonNegativeFloat
from torch import Tensor, nn
from torch.nn import functional

from myosotis.continual.segmentation.learner import Group, SegmentationBatch, SegmentationLearner, SegmentationState
from myosotis.continual.segmentation.losses import one_hot_channels
from myosotis.continual.segmentation.network import Outputs, SegmentationNet, enlarged
from myosotis.continual.segmentation.pseudo_labels import pseudo_label
from myosotis.data.masks import IGNORE
from myosotis.engine.method import Fraction, MethodCard
from myosotis.engine.seeding import seeded


def spectral_residual(images: Float[Tensor, "n channels height width"]) -> Float[Tensor, "n height width"]:
    """Return the saliency of each pixel, from 0 to 1 in each image (Hou and Zhang, CVPR 2007).

    The log amplitude of the spectrum less its local mean, transformed back with the original phase, squared, smoothed.
    SSUL uses maps of a trained detector instead.
    """
    grey = images.float().mean(dim=1)
    spectrum = torch.fft.fft2(grey)
    amplitude = spectrum.abs().clamp(min=1e-8).log()
    local = functional.avg_pool2d(
        functional.pad(amplitude.unsqueeze(1), (1, 1, 1, 1), mode="circular"), 3, stride=1
    ).squeeze(1)
    residual = (amplitude - local).exp() * torch.exp(1j * spectrum.angle())
    map_ = torch.fft.ifft2(residual).abs().square()
    smooth = functional.avg_pool2d(map_.unsqueeze(1), 5, stride=1, padding=2, count_include_pad=False).squeeze(1)
    low, high = (end(smooth.flatten(1), dim=1).values[:, None, None] for end in (torch.min, torch.max))
    return (smooth - low) / (high - low).clamp(min=1e-12)


class _UnknownNet(SegmentationNet):
    """A network with one more output for salient pixels of no known class."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__(body)  # type: ignore[arg-type]
        self.unknown = nn.Conv2d(self.heads.num_features, 1, 1)

    def forward(self, images: Tensor) -> Outputs:
        """Return logits of the classes, then of the unknown."""
        features, maps = self.body(images)
        logits = torch.cat([self.heads(features), self.unknown(features)], dim=1)
        return Outputs(enlarged(logits, images, self.body.multiple), logits, features, maps)


@dataclass(frozen=True)
class SSULMSettings:
    """Settings of SSUL-M.

    Attributes:
        threshold: Least score of a pseudo-label.
        saliency: Saliency from which a pixel of the background is unknown, see :func:`spectral_residual`.
        background_rate: Learning rate of background and unknown in later tasks, as a multiple of that of new heads.
    """

    threshold: Fraction = 0.7
    saliency: Fraction = 0.3
    background_rate: NonNegativeFloat = 1e-4


class SSULM(SegmentationLearner[SSULMSettings]):
    """Body and old heads are frozen after the first task; binary cross-entropies of background, unknown and classes.

    Background is an old class where the old network is confident, and unknown where it is salient; new heads start from
    that of the unknown class. Half of a batch is remembered.
    """

    card = MethodCard(
        "ssul_m",
        "SSUL-M",
        "Cha, Kim, Yoo, Moon, NeurIPS 2021",
        "current task, exemplars",
        "exemplars with their masks, the old network",
        "For a large first task; old classes cannot change.",
    )
    Settings = SSULMSettings
    reads_memory = True

    def build(self, seed: int) -> nn.Module:
        """Return a network with an output for the unknown."""
        with seeded(seed):
            return _UnknownNet(self._make_body(seed))

    def before_task(self, task: SegmentationState) -> None:
        """Start new heads from that of the unknown class."""
        super().before_task(task)
        if task.number:
            with torch.no_grad():
                row, bias = self.net.unknown.weight[:, :, 0, 0], self.net.unknown.bias
                self.net.heads.weights[-1].copy_(row.expand_as(self.net.heads.weights[-1]))
                self.net.heads.biases[-1].copy_(bias.expand_as(self.net.heads.biases[-1]))

    def groups(self, task: SegmentationState, head_rate: float) -> list[Group]:
        """Return all parameters in the first task, later the new heads, and background and unknown at a low rate."""
        heads, unknown = self.net.heads, list(self.net.unknown.parameters())
        if not task.number:
            return [*super().groups(task, head_rate), Group(unknown, head_rate)]
        slow = [heads.weights[0], heads.biases[0], *unknown]
        new = [heads.weights[-1], heads.biases[-1]]
        return [Group(new, head_rate), Group(slow, head_rate * self.settings.background_rate)]

    def train_mode(self, task: SegmentationState) -> None:
        """Put a frozen body into evaluation mode."""
        self.net.train(not task.number)

    def loss(self, net: nn.Module, batch: SegmentationBatch) -> Mapping[str, Tensor]:
        """Return the sum over outputs of binary cross-entropies, mean over pixels."""
        logits = net(batch.images).logits
        unknown = logits.shape[1] - 1
        target = batch.target
        if self.teacher is not None:
            old = self._teach(batch.images).logits.sigmoid()[:, :-1]
            confident = (old.amax(dim=1) >= self.settings.threshold) & (old.argmax(dim=1) > 0)
            target = pseudo_label(target, old, confident)
        salient = spectral_residual(batch.images) >= self.settings.saliency
        target = torch.where((target == 0) & salient, unknown, target)
        trained = torch.ones(logits.shape[:2], dtype=torch.bool, device=logits.device)
        # The background of an exemplar may be a later class, so it does not train the outputs of later classes.
        trained[batch.n_current :, self.known : unknown] = False
        return {"cross_entropy": summed_binary(logits, target, trained)}

    def scores(self, images: Tensor) -> Tensor:
        """Return scores; unknown is background."""
        scores: Tensor = self.net(images).logits.sigmoid()
        background = torch.maximum(scores[:, :1], scores[:, -1:])
        return torch.cat([background, scores[:, 1:-1]], dim=1)


def summed_binary(
    logits: Float[Tensor, "n classes height width"], target: Tensor, trained: Bool[Tensor, "n classes"]
) -> Float[Tensor, ""]:
    """Return binary cross-entropies summed over outputs, mean over pixels; ignored ones count as 0.

    Args:
        logits: One output for each channel.
        target: Channels, or 255.
        trained: Whether an output of an image counts.
    """
    valid = target != IGNORE
    expected = one_hot_channels(target.where(valid, 0), logits.shape[1])
    losses = functional.binary_cross_entropy_with_logits(logits.float(), expected.float(), reduction="none")
    losses = (losses * trained[:, :, None, None]).sum(dim=1)
    return (losses * valid).sum() / valid.numel()
