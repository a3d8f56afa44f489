"""Membership inference with shadow models: U-LiRA and RMIA."""

import math

from jaxtyping import Float
from torch import Tensor

FEW = 8
"""Below this many shadow models on a side, both sides share one estimate of the spread."""

_LEAST_SPREAD = 1e-6


def likelihood_ratio(
    observed: Float[Tensor, " n"],
    unlearned: Float[Tensor, "shadows_u n"],
    unseen: Float[Tensor, "shadows_o n"],
) -> Float[Tensor, " n"]:
    """Return the log of N(observed; unlearned) / N(observed; unseen) for each example (U-LiRA).

    Hayes, Shumailov, Triantafillou, Khalifa, Papernot (2024), after LiRA (Carlini et al., S&P 2022): over shadow models
    a normal distribution is fitted to the confidence of each example, once over models that learned and unlearned
    it, once over models that never saw it. The deviation divides by count - 1; with fewer than :data:`FEW` shadow
    models on a side the two deviations are pooled.

    Args:
        observed: log(p / (1 - p)) of the true class under the model in question.
        unlearned: Confidences under shadow models that unlearned the example.
        unseen: Confidences under shadow models that never saw it.

    Returns:
        Log ratios; above 0 the example looks unlearned. A perfect method leaves no difference.

    Raises:
        ValueError: A side has fewer than two shadow models.

    Example:
        >>> import torch
        >>> ratio = likelihood_ratio(
        ...     torch.tensor([1.5]), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[-1.0], [0.0], [1.0]])
        ... )
        >>> round(ratio.item(), 6), round(posterior(ratio).item(), 6)
        (1.0, 0.731059)
    """
    if min(len(unlearned), len(unseen)) < 2:
        raise ValueError(f"expected at least two shadow models on each side, got {len(unlearned)} and {len(unseen)}")
    u, o = unlearned.double(), unseen.double()
    spread_u, spread_o = u.std(dim=0), o.std(dim=0)
    if min(len(u), len(o)) < FEW:
        weights = len(u) - 1, len(o) - 1
        pooled = (weights[0] * spread_u.square() + weights[1] * spread_o.square()) / sum(weights)
        spread_u = spread_o = pooled.sqrt()
    value = observed.double()

    def log_density(mean: Tensor, spread: Tensor) -> Tensor:
        spread = spread.clamp_min(_LEAST_SPREAD)
        return -0.5 * ((value - mean) / spread).square() - spread.log()

    return log_density(u.mean(dim=0), spread_u) - log_density(o.mean(dim=0), spread_o)


def posterior(log_ratio: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return the probability that an example was unlearned under a balanced prior: ratio / (1 + ratio)."""
    return log_ratio.sigmoid()


def offline_prior(out: Float[Tensor, "shadows n"], a: float) -> Float[Tensor, " n"]:
    """Return RMIA's estimate of p(x) from models without x alone: ((1 + a) mean p_out(x) + 1 - a) / 2.

    Zarifzadeh, Liu, Shokri (ICML 2024), section on offline attacks.

    Args:
        out: Probability of the true class under each model that never saw x.
        a: Weight in [0, 1], tuned on the attacker's own pair of models.

    Raises:
        ValueError: ``a`` is out of range.

    Example:
        >>> import torch
        >>> round(offline_prior(torch.tensor([[0.2]]), 0.3).item(), 6)
        0.48
    """
    if not 0 <= a <= 1:
        raise ValueError(f"a must be in [0, 1], got {a}")
    return ((1 + a) * out.mean(dim=0) + 1 - a) / 2


def rmia_score(
    targets: Float[Tensor, " n"],
    target_priors: Float[Tensor, " n"],
    population: Float[Tensor, " m"],
    population_priors: Float[Tensor, " m"],
    gamma: float = 1.0,
) -> Float[Tensor, " n"]:
    """Return the share of population samples whose likelihood ratio each target beats (RMIA).

    Zarifzadeh, Liu, Shokri (ICML 2024): LR(x, z) = [p_model(x) / p(x)] / [p_model(z) / p(z)]; the score counts
    LR >= gamma.

    Args:
        targets: Probability of the true class of each target under the model in question.
        target_priors: Mean of that probability over reference models.
        population: Probability of the true class of each sample that the model never saw.
        population_priors: Mean of that probability over reference models.
        gamma: Threshold of the ratio, at least 1.

    Returns:
        Scores in [0, 1]; high scores look like members.

    Raises:
        ValueError: A prior is 0, or the population is empty.

    Example:
        >>> import torch
        >>> scores = rmia_score(
        ...     torch.tensor([0.8]),
        ...     torch.tensor([0.4]),
        ...     torch.tensor([0.5, 0.9, 0.2, 0.6]),
        ...     torch.tensor([0.5, 0.6, 0.4, 0.1]),
        ... )
        >>> scores.item()
        0.75
    """
    if not len(population):
        raise ValueError("the population is empty")
    if min(target_priors.min().item(), population_priors.min().item()) <= 0:
        raise ValueError("priors must be above 0")
    ratio = targets.double() / target_priors.double()
    others = population.double() / population_priors.double()
    # Compared as a product, so that a population sample of probability 0 is below every target.
    return (ratio.unsqueeze(1) >= gamma * others.unsqueeze(0)).double().mean(dim=1)


def epsilon_estimate(false_positives: float, false_negatives: float, delta: float = 0.0) -> float | None:
    """Return the epsilon of (epsilon, delta)-unlearning that an attack with these error rates rules out.

    max(log(1 - delta - FPR) - log FNR, log(1 - delta - FNR) - log FPR), at least 0, as in the evaluation of the NeurIPS
    2023 unlearning challenge (Triantafillou et al., 2024).

    Args:
        false_positives: False-positive rate, FPR.
        false_negatives: False-negative rate, FNR.
        delta: Delta, at least 0.

    Returns:
        Epsilon; infinity where both rates are 0; None where exactly one is, as the estimate then has no meaning.

    Example:
        >>> round(epsilon_estimate(0.1, 0.2), 6), epsilon_estimate(0.5, 0.5)
        (2.079442, 0.0)
    """
    if false_positives == 0 and false_negatives == 0:
        return math.inf
    if false_positives == 0 or false_negatives == 0:
        return None
    parts = [
        math.log(1 - delta - rate) - math.log(other_rate)
        for rate, other_rate in ((false_positives, false_negatives), (false_negatives, false_positives))
        if 1 - delta - rate > 0
    ]
    return max([0.0, *parts])
