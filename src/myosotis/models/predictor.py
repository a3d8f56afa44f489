"""Trained networks that answer for images, as :func:`myosotis.load` returns them."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.models.modes import evaluating


class ImageNetwork:
    """A trained network behind a function from images to answers.

    Args:
        module: The network; move it by ``module.to(device)``, images follow.
        answer: Function from images in [0, 1] on the device of the network to its answer.
        batch_size: Images per forward pass.

    Attributes:
        module: The network.
    """

    def __init__(self, module: nn.Module, answer: Callable[[Tensor], Tensor], *, batch_size: int = 256) -> None:
        self.module = module.eval()
        self._answer = answer
        self._batch_size = batch_size

    def __call__(self, images: Tensor) -> Tensor:
        """Return the answers, on the CPU, without gradients.

        Args:
            images: (n, channels, height, width); bytes, or numbers in [0, 1].
        """
        device = next(self.module.parameters()).device
        with evaluating(self.module), torch.no_grad():
            parts = [self._answer(_unit(part.to(device))).cpu() for part in images.split(self._batch_size)]
        return torch.cat(parts)


class ImagePredictor(ImageNetwork):
    """A classifier of images, or of their pixels.

    Args:
        module: See :class:`ImageNetwork`, as for the next.
        answer: Function to scores, (n, classes) or (n, classes, height, width).
        classes: Names of the classes, in the order of the scores.
        batch_size: Images per forward pass.

    Attributes:
        classes: Names of the classes.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
        >>> predictor = ImagePredictor(net, net, ("ash", "birch", "cedar"))
        >>> predictor.predict(torch.rand(5, 1, 2, 2)).shape, predictor.scores(torch.rand(5, 1, 2, 2)).shape
        (torch.Size([5]), torch.Size([5, 3]))
    """

    def __init__(
        self,
        module: nn.Module,
        answer: Callable[[Tensor], Tensor],
        classes: tuple[str, ...],
        *,
        batch_size: int = 256,
    ) -> None:
        super().__init__(module, answer, batch_size=batch_size)
        self.classes = classes

    def scores(self, images: Tensor) -> Float[Tensor, "n classes ..."]:
        """Return a score for each class; logits, except for learners that measure distances."""
        return self(images)

    def predict(self, images: Tensor) -> Int[Tensor, "n ..."]:
        """Return the index of the class of each image, or of each pixel, in :attr:`classes`."""
        return self(images).argmax(dim=1)


class ImageEncoder(ImageNetwork):
    """An encoder of images.

    Example:
        >>> net = nn.Flatten()
        >>> ImageEncoder(nn.Sequential(net, nn.Linear(4, 3)), net).transform(torch.rand(5, 1, 2, 2)).shape
        torch.Size([5, 4])
    """

    def transform(self, images: Tensor) -> Float[Tensor, "n features"]:
        """Return features, for a probe or a nearest-neighbour search."""
        return self(images)

    predict = transform


def _unit(images: Tensor) -> Float[Tensor, "n channels height width"]:
    """Bytes as numbers in [0, 1]."""
    return images.float() / 255 if images.dtype == torch.uint8 else images
