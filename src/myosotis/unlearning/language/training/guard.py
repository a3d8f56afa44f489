"""The divergence guard: what is sound, and the way back to it."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.weights import copy_weights, set_weights


class DivergenceGuard:
    """Judges losses by what they say of the weights, and keeps the last weights that were sound.

    Weights are sound when the loss is finite and the mean negative log-likelihood of no batch is above a limit.
    Gradient ascent, for one, pushes it up without end; far above that of a uniform guess the model is broken, not
    forgetful.

    Args:
        model: Whose trainable weights are kept, on the CPU.
        max_nll: The limit, in nats.
        gather: Collects (1, 2) tensors of all processes as (processes, 2), so that all decide alike.

    Attributes:
        divergence: What was seen, once something was not sound.
    """

    def __init__(self, model: nn.Module, max_nll: float, gather: Callable[[Tensor], Tensor]) -> None:
        self._model = model
        self._max_nll = max_nll
        self._gather = gather
        self._kept: dict[str, Tensor] = {}
        self.divergence: str | None = None

    @property
    def kept(self) -> dict[str, Tensor]:
        """The weights to go back to, by name."""
        return self._kept

    def judge(self, loss: Float[Tensor, ""], nll: Float[Tensor, " batches"], where: str) -> bool:
        """Say whether all is sound on every process; if not, :attr:`divergence` tells what was seen.

        Args:
            loss: Must be finite.
            nll: Mean negative log-likelihoods in nats; must be finite and within the limit.
            where: What they are of and when, for people.
        """
        seen = torch.stack([loss.float(), nll.float().max()])  # the maximum is NaN if any is
        seen = self._gather(seen.unsqueeze(0)).reshape(-1, 2)
        worst = float(seen[:, 1].max())
        if not bool(seen.isfinite().all()):
            self.divergence = f"the loss of {where} is not finite"
        elif worst > self._max_nll:
            self.divergence = (
                f"the negative log-likelihood of {where} reached {worst:.1f} nats, above {self._max_nll:.1f}"
            )
        return self.divergence is None

    def keep(self) -> None:
        """Remember the weights as they are."""
        self._kept = copy_weights(self._model)

    def restore(self) -> None:
        """Go back to the weights that were kept last."""
        set_weights(self._model, self._kept)


def mean_nll(logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood over the labelled tokens of a batch, 0 without any."""
    return -token_log_probs(logits, labels).sum() / (labels != IGNORED).sum().clamp(min=1)
