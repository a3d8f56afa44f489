"""NPO: negative preference optimisation."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.preference import (
    SequencePreference,
    SequenceReduction,
    check_beta,
    has_labels,
    reduce_sequences,
)
from myosotis.unlearning.language.methods.term import Needs, Sides, reference_log_probs
from myosotis.unlearning.language.methods.token_losses import at_least_float32, sequence_log_probs


def npo_loss(
    log_probs: Float[Tensor, " batch"],
    reference_log_probs: Float[Tensor, " batch"],
    beta: float = 0.1,
    reduction: SequenceReduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Negative preference optimisation, $-\frac{2}{\beta}\,\overline{\log\sigma(-\beta(\ell - \ell_0))}$.

    (Zhang et al., "Negative Preference Optimization", COLM 2024, eq. 3.) Where the model still is the reference its
    gradient is that of ascent on the sequence sum; it fades as the sequence grows less likely than at the reference.

    Args:
        log_probs: Sequence log-probabilities of the forget set under the model, see :func:`sequence_log_probs`.
        reference_log_probs: The same before unlearning.
        beta: Inverse temperature, > 0; towards 0 the loss turns into gradient ascent.
        reduction: ``"mean"`` or ``"none"``.

    Returns:
        The mean over the batch, 0 for an empty batch; with ``reduction="none"`` a loss for each sequence.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> import torch
        >>> round(npo_loss(torch.tensor([-5.0]), torch.tensor([-5.0])).item(), 4)
        13.8629
    """
    check_beta(beta)
    ratio = at_least_float32(log_probs) - at_least_float32(reference_log_probs)
    return reduce_sequences(-2 / beta * functional.logsigmoid(-beta * ratio), reduction)


@dataclass(frozen=True)
class NPO(SequencePreference):
    """NPO on the forget set, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="npo",
        title="Negative preference optimisation",
        paper="Zhang, Lin, Bai, Mei, Negative Preference Optimization, COLM 2024",
        reads="forget, retain",
        memory="one reference log-probability per forget record",
        purpose="Ascent that fades as a record is forgotten; the field's strong baseline.",
    )
    needs: ClassVar[Needs] = frozenset({("forget", "log_probs")})

    def losses(self, sides: Sides) -> Tensor:
        side = sides.forget
        labelled = has_labels(side)
        log_probs = sequence_log_probs(side.logits, side.labels)
        return npo_loss(log_probs[labelled], reference_log_probs(side)[labelled], self.beta, "none")
