"""A moving average of the trained network, which guides a masker from whole images."""

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from myosotis.models.modes import evaluating
from myosotis.pretraining.masked_model import Images, MaskedModel
from myosotis.pretraining.maskers.masker import Guide


class Teacher:
    """Follows a network: after a step every weight becomes ``momentum * own + (1 - momentum) * theirs``.

    Args:
        model: The trained network, whose masker needs a guide.
    """

    def __init__(self, model: MaskedModel) -> None:
        guide = model.masker.guide
        if guide is None:
            raise ValueError(f"masker '{model.masker.card.name}' needs no teacher")
        self._guide: Guide = guide
        self._momentum = model.masker.teacher_momentum
        self.model = copy.deepcopy(model)
        self.model.requires_grad_(requires_grad=False)

    def __call__(self, images: Images) -> Float[Tensor, "batch tokens"]:
        """Return the guide of the masker, from whole images."""
        with evaluating(self.model), torch.no_grad():
            return self.model.guidance(images, self._guide)

    @torch.no_grad()
    def follow(self, model: MaskedModel) -> None:
        """Take a step towards the weights of a network, and its buffers as they are."""
        torch._foreach_lerp_(list(self.model.parameters()), list(model.parameters()), 1 - self._momentum)
        for own, theirs in zip(self.model.buffers(), model.buffers(), strict=True):
            own.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """Return its weights."""
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Restore its weights."""
        self.model.load_state_dict(state)
