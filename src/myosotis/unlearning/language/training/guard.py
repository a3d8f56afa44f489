"""The divergence guard: when training has diverged, and the weights to go back to."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from myosotis.data.encoding import IGNORED
from myosotis.unlearning.language.methods.token_losses import token_log_probs
from myosotis.unlearning.language.training.weights import copy_weights, set_weights


class DivergenceGuard:
    """Detects divergence from losses, and keeps the last sound weights.

    Weights are sound when the loss is finite and the mean negative log-likelihood of no batch is above a limit.
    Gradient ascent, for example, raises it without bound; far above that of a uniform guess the model is broken, it has
    not merely forgotten.

    Args:
        max_nll: Limit of the mean negative log-likelihood, in nats.
        gather: Collects (1, 2) tensors of all processes as (processes, 2), so that all decide alike.

    Attributes:
        divergence: Description of the divergence; None before one.
    """

    def __init__(self, max_nll: float, gather: Callable[[Tensor], Tensor]) -> None:
        self._max_nll = max_nll
        self._gather = gather
        self._sound: dict[str, Tensor] = {}
        self.divergence: str | None = None

    def judge(self, loss: Float[Tensor, ""], nll: Float[Tensor, " batches"], where: str) -> bool:
        """Return whether the weights are sound on every process; if not, :attr:`divergence` says why.

        Args:
            loss: Loss; must be finite.
            nll: Mean negative log-likelihoods in nats; must be finite and within the limit.
            where: Description of what was measured, for the message.
        """
        measured = torch.stack([loss.float(), nll.float().max()])  # the maximum is NaN if any is
        measured = self._gather(measured.unsqueeze(0)).reshape(-1, 2)
        worst, finite = torch.stack([measured[:, 1].max(), measured.isfinite().all().float()]).tolist()
        if not finite:
            self.divergence = f"the loss of {where} is not finite"
        elif worst > self._max_nll:
            self.divergence = (
                f"the negative log-likelihood of {where} reached {worst:.1f} nats, above {self._max_nll:.1f}"
            )
        return self.divergence is None

    def keep(self, model: nn.Module) -> None:
        """Keep a copy of a model's trained weights on the CPU; under FSDP of this process's shards."""
        self._sound = copy_weights(model)

    def restore(self, model: nn.Module) -> None:
        """Restore the weights that were kept last."""
        set_weights(model, self._sound)


def mean_nll(logits: Float[Tensor, "batch time vocab"], labels: Int[Tensor, "batch time"]) -> Float[Tensor, ""]:
    """Return the mean negative log-likelihood over the labelled tokens of a batch, 0 without any."""
    return -token_log_probs(logits, labels).sum() / (labels != IGNORED).sum().clamp(min=1)
