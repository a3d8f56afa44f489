"""DPO towards refusals, and AltPO towards answers of the model's own making."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Alternates
from myosotis.unlearning.language.methods.preference import (
    SequencePreference,
    SequenceReduction,
    check_beta,
    has_labels,
    reduce_sequences,
)
from myosotis.unlearning.language.methods.term import Needs, Sides, reference_log_probs
from myosotis.unlearning.language.methods.token_losses import at_least_float32, sequence_log_probs


def dpo_loss(
    preferred: Float[Tensor, " batch"],
    preferred_reference: Float[Tensor, " batch"],
    rejected: Float[Tensor, " batch"],
    rejected_reference: Float[Tensor, " batch"],
    beta: float = 0.1,
    reduction: SequenceReduction = "mean",
) -> Float[Tensor, "..."]:
    r"""Direct preference optimisation, $-\overline{\log\sigma(\beta[(\ell^+ - \ell^+_0) - (\ell^- - \ell^-_0)])}$.

    (Rafailov et al., 2023, eq. 7; for unlearning the preferred answer is a refusal and the rejected one the forget
    answer: Maini et al., "TOFU", 2024.) Some released code multiplies by 2/beta; this is the plain form, log 2 at the
    reference.

    Args:
        preferred: Sequence log-probabilities of the preferred answers.
        preferred_reference: The same before unlearning.
        rejected: Sequence log-probabilities of the rejected answers.
        rejected_reference: The same before unlearning.
        beta: Inverse temperature, > 0.
        reduction: ``"mean"`` or ``"none"``.

    Returns:
        The mean over the batch, 0 for an empty batch; with ``reduction="none"`` a loss for each sequence.

    Raises:
        ValueError: ``beta`` is not positive.

    Example:
        >>> import torch
        >>> zeros = torch.zeros(2)
        >>> dpo_loss(zeros, zeros, zeros, zeros)
        tensor(0.6931)
    """
    check_beta(beta)
    gain = at_least_float32(preferred) - at_least_float32(preferred_reference)
    loss = at_least_float32(rejected) - at_least_float32(rejected_reference)
    return reduce_sequences(-functional.logsigmoid(beta * (gain - loss)), reduction)


@dataclass(frozen=True)
class DPO(SequencePreference):
    """DPO from the forget answer towards a refusal, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="dpo",
        title="Direct preference optimisation towards refusals",
        paper="Rafailov et al., NeurIPS 2023; Maini et al., TOFU, COLM 2024",
        reads="forget, retain",
        memory="two reference log-probabilities per forget record",
        purpose="Refusals with an explicit push away from the answer.",
    )
    term: ClassVar[str] = "forget_dpo"
    needs: ClassVar[Needs] = frozenset({("forget", "log_probs"), ("alternate", "log_probs")})
    alternates: ClassVar[Alternates | None] = "refusals"

    def losses(self, sides: Sides) -> Tensor:
        """Return the losses times 2/beta, which gives their gradient the scale of NPO's."""
        forget, alternate = sides.forget, sides.the("alternate")
        labelled = has_labels(forget)
        preferred, rejected = (sequence_log_probs(side.logits, side.labels)[labelled] for side in (alternate, forget))
        loss = dpo_loss(
            preferred,
            reference_log_probs(alternate)[labelled],
            rejected,
            reference_log_probs(forget)[labelled],
            self.beta,
            "none",
        )
        return 2 / self.beta * loss


@dataclass(frozen=True)
class AltPO(DPO):
    """DPO from the forget answer towards another answer of the model's own making, NLL on the retain set."""

    card: ClassVar[MethodCard] = MethodCard(
        name="altpo",
        title="Alternate preference optimisation",
        paper="Mekala et al., Alternate Preference Optimization for Unlearning Factual Knowledge in LLMs, COLING 2025",
        reads="forget prompts, retain",
        memory="two reference log-probabilities per forget record; the alternates are generated before training",
        purpose="Plausible alternative answers instead of refusals or nonsense.",
    )
    alternates: ClassVar[Alternates | None] = "generated"
