"""Pseudo-negative regularisation, Sy-CON for contrastive losses (Cha, Cho, Moon, ICML 2024; arXiv 2306.05101)."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from myosotis.continual.selfsupervised.contrast import Pair, at_least_single, nce
from myosotis.continual.selfsupervised.losses import negative_cosine, redundancy_reduction
from myosotis.engine.errors import SettingsError

Negatives = Literal["cur", "past", "both"]
Asymmetric = Literal["byol", "barlow", "vicreg"]


class PNRTerms(NamedTuple):
    """What is minimised together, with equal weights.

    Attributes:
        plasticity: Loss of the new views, with negatives of the past model too.
        stability: Distillation of the past model's embeddings, with negatives of the current model too.
    """

    plasticity: Float[Tensor, ""]
    stability: Float[Tensor, ""]


def pnr_moco_loss(
    q: Pair,
    k: Pair,
    p: Pair,
    r: Pair,
    current_queues: Pair,
    past_queues: Pair,
    temperature: float = 0.2,
    distill_temperature: float = 0.2,
    plast_negs: Negatives = "both",
    stab_negs: Negatives = "both",
    current_excluded: Tensor | None = None,
    past_excluded: Tensor | None = None,
) -> PNRTerms:
    """Return both terms for MoCo: one set of negatives, of the current and of the past model, in both denominators.

    ``½ [NCE(q_A, k_B; N_B ∪ P_B) + NCE(q_B, k_A; N_A ∪ P_A)]`` and ``½ [NCE(p_A, r_A; N_B ∪ P_B) + NCE(p_B, r_B; N_A ∪
    P_A)]``. Queues are read before the batch is pushed. All vectors are unit vectors, (batch, dim) or (size, dim).

    Args:
        q: Embeddings of the network in training.
        k: Embeddings of its momentum copy, without gradient.
        p: Predictions of r from q.
        r: Embeddings of the past model, of the same view as p.
        current_queues: N, earlier k of each view.
        past_queues: P, earlier r of each view.
        temperature: Temperature of the first term.
        distill_temperature: Temperature of the second term.
        plast_negs: Negatives of the first term; ``"cur"`` is plain MoCo.
        stab_negs: Negatives of the second term; ``"past"`` is plain contrastive distillation.
        current_excluded: (batch, size), whether a row of N does not count for a sample.
        past_excluded: (batch, size), whether a row of P does not count for a sample.
    """

    def negatives(view: int, which: Negatives) -> dict[str, Any]:
        kinds = {"cur": ["cur"], "past": ["past"], "both": ["cur", "past"]}[which]
        queues = {"cur": current_queues[view], "past": past_queues[view]}
        masks = {"cur": current_excluded, "past": past_excluded}
        return {"negatives": [queues[kind] for kind in kinds], "excluded": [masks[kind] for kind in kinds]}

    plasticity, stability = [], []
    for own, other in ((0, 1), (1, 0)):
        given = {"temperature": temperature, **negatives(other, plast_negs)}
        plasticity.append(nce(q[own], k[other].detach(), **given))
        given = {"temperature": distill_temperature, **negatives(other, stab_negs)}
        stability.append(nce(p[own], r[own].detach(), **given))
    return PNRTerms((plasticity[0] + plasticity[1]) / 2, (stability[0] + stability[1]) / 2)


def pnr_simclr_loss(
    z: Pair,
    p: Pair,
    r: Pair,
    temperature: float = 0.2,
    *,
    positive_in_denominator: bool = True,
    plast_negs: Negatives = "both",
    stab_negs: Negatives = "both",
) -> PNRTerms:
    """Return both terms for SimCLR, whose negatives are the other embeddings of the batch, of both models.

    Args:
        z: (batch, dim) embeddings of each view; the base loss is in the first term.
        p: Predictions of r from z.
        r: Embeddings of the past model.
        temperature: Temperature of both terms.
        positive_in_denominator: Whether the second term is an InfoNCE; the released code masks its positive out, so
            that the term can be below 0.
        plast_negs: Negatives of the first term.
        stab_negs: Negatives of the second term.
    """
    with torch.autocast(z[0].device.type, enabled=False):
        own, predicted, past = (
            functional.normalize(at_least_single(torch.cat(list(pair))), dim=1) for pair in (z, p, r)
        )
        past = past.detach()
        itself = torch.eye(len(own), dtype=torch.bool, device=own.device)
        twins = torch.arange(len(own), device=own.device).roll(len(z[0]))
        rows = torch.arange(len(own), device=own.device)

        current = (own @ own.T / temperature).masked_fill(itself, -torch.inf)
        positive = current[rows, twins]
        # The positive is among the current embeddings; without these as negatives it stays.
        negatives = current if plast_negs != "past" else positive[:, None]
        groups = [negatives]
        if plast_negs != "cur":
            groups.append((own @ past.T / temperature).masked_fill(itself, -torch.inf))
        plasticity = (torch.cat(groups, dim=1).logsumexp(1) - positive).mean()

        logits = predicted @ past.T / temperature
        matching = logits.diagonal()
        groups = [matching[:, None]] if positive_in_denominator else []
        if stab_negs != "cur":
            groups.append(logits.masked_fill(itself, -torch.inf))
        if stab_negs != "past":
            groups.append((predicted @ own.T / temperature).masked_fill(itself, -torch.inf))
        stability = (torch.cat(groups, dim=1).logsumexp(1) - matching).mean()
    return PNRTerms(plasticity, stability)


def pnr_regulariser(
    p: Pair, r: Pair, kind: Asymmetric, lam: float, mu: float, *, off_diagonal: float = 5e-3, scale: float = 0.1
) -> Float[Tensor, ""]:
    """Return the regulariser of a loss without negatives: attraction to the past embedding of the same view, repulsion
    from that of the other view.

    ``λ ½ [l(p_A, r_A) + l(p_B, r_B)] - μ ½ [l(p_A, r_B) + l(p_B, r_A)]`` with ``2 - 2 cos`` for BYOL and the mean
    squared difference for VICReg. Barlow Twins attracts by its own loss and repels by ``+ μ`` times the cosine.

    Args:
        p: (batch, dim) predictions of each view.
        r: Embeddings of the past model.
        kind: Base of the regulariser.
        lam: λ.
        mu: μ; small if tasks share a distribution, as the other view is no negative then.
        off_diagonal: Weight in the loss of Barlow Twins, see :func:`~.losses.redundancy_reduction`.
        scale: Factor of the loss of Barlow Twins.

    Raises:
        SettingsError: μ is not below λ for VICReg, whose regulariser then has no lower bound.
    """
    if kind == "vicreg" and mu >= lam:
        raise SettingsError(f"for VICReg mu must be below lam, got {mu} and {lam}: it has no lower bound otherwise")
    past = (r[0].detach(), r[1].detach())
    distance: Callable[[Tensor, Tensor], Tensor] = negative_cosine if kind == "byol" else _squared
    if kind == "barlow":
        distance = partial(redundancy_reduction, off_diagonal=off_diagonal, scale=scale)
    pull = (distance(p[0], past[0]) + distance(p[1], past[1])) / 2
    if kind == "barlow":
        # 2 - 2 cos falls where the cosine rises.
        push = -(2 - (negative_cosine(p[0], past[1]) + negative_cosine(p[1], past[0])) / 2) / 2
    else:
        push = (distance(p[0], past[1]) + distance(p[1], past[0])) / 2
    return lam * pull - mu * push


def _squared(a: Tensor, b: Tensor) -> Tensor:
    with torch.autocast(a.device.type, enabled=False):
        return functional.mse_loss(at_least_single(a), at_least_single(b))
