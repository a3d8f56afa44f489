"""SimNPO: negative preference optimisation without a reference model."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from myosotis.data.encoding import IGNORED
from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.preference import (
    SequencePreference,
    SequenceReduction,
    check_beta,
    reduce_sequences,
)
from myosotis.unlearning.language.methods.term import Sides
from myosotis.unlearning.language.methods.token_losses import at_least_float32, sequence_log_probs


def simnpo_loss(
    log_probs: Float[Tensor, " batch"],
    lengths: Int[Tensor, " batch"] | Float[Tensor, " batch"],
    beta: float = 2.5,
    gamma: float = 0.0,
    reduction: SequenceReduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Simple NPO, $-\frac{2}{\beta}\,\overline{\log\sigma(-\frac{\beta}{|y|}\ell - \gamma)}$: no reference model.

    (Fan et al., "Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning", 2024, eq. 5.)

    Args:
        log_probs: Sequence log-probabilities of the forget set.
        lengths: Labelled tokens of each sequence; a sequence without any counts as 0 loss.
        beta: Inverse temperature, > 0.
        gamma: Margin of the log-odds.
        reduction: ``"mean"`` or ``"none"``.

    Returns:
        The mean over sequences that have a label, 0 if there is none; with ``reduction="none"`` a loss for each of
        these.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> import torch
        >>> round(simnpo_loss(torch.tensor([-12.0]), torch.tensor([10])).item(), 6)
        0.03887
    """
    check_beta(beta)
    present = lengths > 0
    average = at_least_float32(log_probs) / lengths.clamp(min=1)
    return reduce_sequences((-2 / beta * functional.logsigmoid(-beta * average - gamma))[present], reduction)


@dataclass(frozen=True)
class SimNPO(SequencePreference):
    """SimNPO on the forget set, NLL on the retain set.

    Attributes:
        beta: Inverse temperature, > 0.
        gamma: Margin of the log-odds.
        forget_weight: Weight of the forget term.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="simnpo",
        title="Simple NPO",
        paper="Fan et al., Simplicity Prevails: Rethinking Negative Preference Optimization for LLM Unlearning, 2024",
        reads="forget, retain",
        memory="none",
        purpose="NPO without a reference; does not favour long records.",
    )
    beta: float = 2.5
    gamma: float = 0.0
    forget_weight: float = 0.1375

    def losses(self, sides: Sides) -> Tensor:
        side = sides.forget
        lengths = (side.labels != IGNORED).sum(dim=1)
        log_probs = sequence_log_probs(side.logits, side.labels)
        return simnpo_loss(log_probs, lengths, self.beta, self.gamma, "none")
