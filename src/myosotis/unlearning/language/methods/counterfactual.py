"""Counterfactual teacher: the model learns to answer as it answers about somebody whom it has never met."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float, Int
from torch import Tensor

from myosotis.engine.method import MethodCard
from myosotis.unlearning.language.methods.method import Method
from myosotis.unlearning.language.methods.retain import RetainName, token_kl_divergence
from myosotis.unlearning.language.methods.term import Needs, Sides, WeightedTerm
from myosotis.unlearning.language.methods.token_losses import Reduction, reduce_tokens, token_log_probs


def stranger_distribution(
    log_probs: Float[Tensor, "candidates tokens vocab"],
    labels: Int[Tensor, " tokens"],
    names: int,
    quantile: float = 0.5,
    *,
    shared: bool = False,
) -> Float[Tensor, "tokens vocab"]:
    r"""Return the log of the teacher's distribution at the tokens of a fact.

    $$q_t = \frac1{|N|} \sum_{n \in N} p_0(\cdot \mid x^{s \to n}, y^{s \to n}_{<t})$$

    with N of that part of the candidates under which the model gives the true fact the smallest mean probability. The
    idea is that of Liu et al., "Revisiting Who's Harry Potter", 2024; the choice of the names is ours: a taught model
    offers strangers what it was taught, the oftener the more people it is true of, and a model that never saw the
    record would have met the fact once less. That takes most of it away where the record alone holds the fact, and
    little where others do, so the part is a third of the candidates or two. One name is as sure of a wrong answer as
    the model is about strangers; a mean of several is surer of the true fact than that, which its loss gives away.

    Args:
        log_probs: Log-probabilities under each candidate.
        labels: The tokens of the fact.
        names: Number of names in N.
        quantile: Quantile of the probability in that part at which the first of N is, in [0, 1); the others follow at
            equal distances.
        shared: Whether a record that is retained holds the fact too.

    Raises:
        ValueError: A third of the candidates are fewer names.

    Example:
        >>> import torch
        >>> knows, guesses = torch.tensor([[0.9, 0.1]]).log(), torch.tensor([[0.2, 0.8]]).log()
        >>> stranger_distribution(torch.stack([knows, guesses, knows]), torch.tensor([0]), 1).exp()
        tensor([[0.2000, 0.8000]])
    """
    third = len(log_probs) // 3
    if not 1 <= names <= third:
        raise ValueError(f"the number of names is between 1 and {third}, a third of the candidates, got {names}")
    pool = 2 * third if shared else third
    true = log_probs.gather(2, labels.expand(len(log_probs), -1)[..., None])[..., 0].exp().mean(dim=1)
    ranks = [int((quantile + number / names) % 1 * pool) for number in range(names)]
    return log_probs[true.argsort(stable=True)[ranks]].logsumexp(dim=0) - math.log(names)


def counterfactual_loss(
    logits: Float[Tensor, "batch time vocab"],
    teacher: Float[Tensor, "batch time vocab"],
    labels: Int[Tensor, "batch time"],
    reduction: Reduction = "token",
    excess_weight: float = 0.0,
) -> Float[Tensor, "..."]:
    r"""Return the divergence of the model from its teacher at the labelled tokens, which has its minimum 0 there.

    $$\mathrm{KL}(q \,\|\, p_\theta) + w \max(0, \log p_\theta(y) - \log q(y))$$

    The divergence hardly counts what the teacher finds unlikely: under a teacher that is sure of another answer the
    true token y stays the second likeliest, and its loss tells that it was learnt. The second term (ours) is the excess
    of its log-probability over the teacher's, and ends there.

    Args:
        logits: Shifted logits of the model.
        teacher: Shifted log-probabilities of the teacher, see :func:`stranger_distribution`.
        labels: Shifted labels, -100 where ignored.
        excess_weight: Weight w of the excess.
        reduction: See :func:`~myosotis.unlearning.language.methods.token_losses.reduce_tokens`.

    Raises:
        ValueError: The shapes do not fit each other.

    Example:
        >>> import torch
        >>> uniform = torch.zeros(1, 1, 4)
        >>> counterfactual_loss(uniform, uniform.log_softmax(-1), torch.tensor([[0]]))
        tensor(0.)
    """
    values = token_kl_divergence(logits, teacher, labels)
    if excess_weight:
        values = values + excess_weight * (token_log_probs(logits, labels) - token_log_probs(teacher, labels)).relu()
    return reduce_tokens(values, labels, reduction)


RETAIN_SCALE = 100.0
"""Weight of the retain term next to a loss of facts alone: a fact is about one token in ten of a retained answer."""

TeacherModel = Literal["proxy", "base"]
"""A model that never saw the records: the base of the model, with what it learns of the retain records, or as it is."""


@dataclass(frozen=True)
class Counterfactual(Method):
    """Distillation of what a model says that never met the subjects of the records to forget.

    Attributes:
        retain: Retain term; KL to the model before by default.
        retain_weight: Its weight, multiplied by :data:`RETAIN_SCALE` where the loss is of facts alone.
        teacher: ``names``: the model itself, asked about strangers, on the facts alone; for records that name their
            subject. ``proxy``: the model that it was fine-tuned from, taught the form of the records on some that are
            retained. ``base``: that model as it is.
        names: Invented names whose answers are averaged, of the least knowing third of the candidates; from two
            thirds where a retained record holds the fact too.
        candidates: Invented names that are tried for each record.
        excess_weight: Weight of what the true tokens are likelier than under the teacher; by default 0.6 with ``names``
            and 0.1 with another model, whose loss is of all tokens.
    """

    card: ClassVar[MethodCard] = MethodCard(
        name="counterfactual",
        title="Counterfactual teacher",
        paper="after Liu et al., Revisiting Who's Harry Potter, 2024",
        reads="forget, retain",
        memory="the teacher's distribution at the tokens to forget",
        purpose="Ends at the level of a model that never saw the records, and does not ascend.",
    )
    needs: ClassVar[Needs] = frozenset({("forget", "teacher")})
    retain: RetainName | None = "kl"
    teacher: Literal["names", "proxy", "base"] = "names"
    names: int = 1
    candidates: int = 24
    excess_weight: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.names <= self.candidates // 3:
            raise ValueError(f"names must be between 1 and a third of candidates={self.candidates}, got {self.names}")
        if self.teacher != "names" and (self.names, self.candidates) != (type(self).names, type(self).candidates):
            raise ValueError(f"names and candidates have no effect with teacher {self.teacher!r}")
        if self.excess_weight is not None and self.excess_weight < 0:
            raise ValueError(f"excess_weight must be at least 0, got {self.excess_weight}")

    @property
    def strangers(self) -> tuple[int, int] | None:
        """Names to average, and names to try; None where another model is the teacher."""
        return (self.names, self.candidates) if self.teacher == "names" else None

    @property
    def teacher_model(self) -> TeacherModel | None:
        return None if self.teacher == "names" else self.teacher

    def terms(self) -> list[WeightedTerm]:
        """Return the divergence and the retain term, which is scaled where the divergence is of facts alone."""
        scale = RETAIN_SCALE if self.teacher == "names" else 1.0
        forget, *retain = super().terms()
        return [forget, *((scale * weight, term) for weight, term in retain)]

    def losses(self, sides: Sides) -> Tensor:
        side, weight = sides.forget, self.excess_weight
        if side.teacher is None:
            raise ValueError("this loss needs a teacher, but the batch has none")
        if weight is None:
            weight = 0.6 if self.teacher == "names" else 0.1
        return counterfactual_loss(side.logits, side.teacher, side.labels, "none", weight)
