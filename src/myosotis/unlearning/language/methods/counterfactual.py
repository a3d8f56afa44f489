"""Counterfactual teacher: the model learns to answer as it answers about somebody whom it has never met."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName, token_kl_divergence
from myosotis.unlearning.language.methods.term import ReferenceKind, SideName, Sides, Term, per_unit
from myosotis.unlearning.language.methods.token_losses import Reduction, reduce_tokens


def stranger_distribution(
    log_probs: Float[Tensor, "names tokens vocab"], labels: Int[Tensor, " tokens"], keep: int
) -> Float[Tensor, "tokens vocab"]:
    r"""Return the log of the teacher's distribution at the tokens of a fact.

    $$q_t = \frac1{|N|} \sum_{n \in N} p_0(\cdot \mid x^{s \to n}, y^{s \to n}_{<t})$$

    with N the names under which the model gives the true fact the smallest mean probability. The idea is that of Liu
    et al., "Revisiting Who's Harry Potter", 2024; the choice of the names is ours: with names at random the taught
    model offers strangers the facts that it was taught, those that are to be forgotten among them.

    Args:
        log_probs: Log-probabilities under each name.
        labels: The tokens of the fact.
        keep: Number of names in N.

    Raises:
        ValueError: There are fewer names.

    Example:
        >>> knows, guesses = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.2, 0.8]]).log()
        >>> stranger_distribution(torch.stack([knows, guesses]), torch.tensor([0]), 1).exp()
        tensor([[0.2000, 0.8000]])
    """
    if not 1 <= keep <= len(log_probs):
        raise ValueError(f"the number of names to keep is between 1 and {len(log_probs)}, got {keep}")
    true = log_probs.gather(2, labels.expand(len(log_probs), -1)[..., None])[..., 0].exp().mean(dim=1)
    chosen = log_probs[true.argsort(stable=True)[:keep]]
    return chosen.logsumexp(dim=0) - torch.tensor(float(keep)).log()


def counterfactual_loss(
    logits: Float[Tensor, "batch time vocab"],
    teacher: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
) -> Float[Tensor, "..."]:
    r"""Return $\mathrm{KL}(q \,\|\, p_\theta)$ at the labelled tokens, which has its minimum 0 at the teacher.

    Args:
        logits: Shifted logits of the model.
        teacher: Shifted log-probabilities of the teacher, see :func:`stranger_distribution`.
        labels: Shifted labels, -100 where ignored; only their mask is used.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> uniform = torch.zeros(1, 1, 4)
        >>> counterfactual_loss(uniform, uniform.log_softmax(-1), torch.tensor([[0]]))
        tensor(0.)
    """
    return reduce_tokens(token_kl_divergence(logits, teacher, labels), labels, reduction)


@dataclass(frozen=True)
class CounterfactualTerm(Term):
    """Divergence of the model from its counterfactual teacher on the facts to forget."""

    name: ClassVar[str] = "forget_counterfactual"
    reads: ClassVar[SideName] = "forget"
    needs: ClassVar[frozenset[tuple[SideName, ReferenceKind]]] = frozenset({("forget", "teacher")})

    def items(self, sides: Sides) -> Tensor:
        """Return the divergence per token or its mean per sequence."""
        side = sides.the("forget")
        if side.teacher is None:
            raise ValueError("this loss needs a teacher, but the batch has none")
        values = counterfactual_loss(side.logits, side.teacher, side.labels, "none")
        return per_unit(values, side.labels, self.unit)


@dataclass(frozen=True)
class Counterfactual(Method):
    """Distillation of what the model says about strangers, on the facts to forget alone.

    Attributes:
        retain: Retain term; KL to the model before by default.
        names: Invented names whose answers are averaged.
        candidates: Invented names that are tried for each record.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="counterfactual",
        title="Counterfactual teacher",
        paper="after Liu et al., Revisiting Who's Harry Potter, 2024",
        reads="forget, retain",
        memory="the teacher's distribution at the fact tokens",
        purpose="Facts about named subjects: ends at the level of subjects never met, and does not ascend.",
    )
    retain: RetainName | None = "kl"
    names: int = 8
    candidates: int = 24

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.names <= self.candidates:
            raise ValueError(f"names must be between 1 and candidates={self.candidates}, got {self.names}")

    @property
    def strangers(self) -> tuple[int, int]:
        """Names to keep, and names to try."""
        return self.names, self.candidates

    def forget_term(self) -> Term:
        """Return the divergence from the teacher."""
        return CounterfactualTerm(self.reduction)
