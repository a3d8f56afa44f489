"""Audit with shadow models: attacks by somebody who can repeat the whole procedure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from myosotis.data.images import ImageSet
from myosotis.engine.errors import SettingsError
from myosotis.engine.seeding import derive_seed
from myosotis.evaluation.membership import membership_inference, roc_auc
from myosotis.evaluation.shadow import likelihood_ratio, offline_prior, posterior, rmia_score
from myosotis.unlearning.classifier.audit import predict, share, true_label_probabilities
from myosotis.unlearning.classifier.goals import true_label_confidence

_LEAST_PRIOR = 1e-12
_OFFLINE = 1.0  # a of RMIA's offline prior: the plain mean


@dataclass(frozen=True)
class ShadowPair:
    """Outputs of one pair of shadow models for the instances and the test set.

    Attributes:
        unlearned: log(p / (1 - p)) of the true class of each instance, by a model that learned and unlearned them.
        unseen: The same confidence by a model that learned the same other samples and never saw the instances.
        unseen_probability: Probability of the true class of each instance by the second model.
        population: Probability of the true class of each test sample by the second model.
    """

    unlearned: list[float]
    unseen: list[float]
    unseen_probability: list[float]
    population: list[float]


def shadow_pair(
    number: int,
    forget: ImageSet,
    remaining: ImageSet,
    test: ImageSet,
    train: Callable[[ImageSet, int], nn.Module],
    unlearn: Callable[[nn.Module, ImageSet, ImageSet, int], nn.Module],
    *,
    kept_share: float,
    seed: int,
) -> ShadowPair:
    """Train one pair of shadow models and return their outputs.

    Args:
        number: Number of the pair; each draws its own part of the remaining samples and its own initial weights.
        forget: Instances to forget.
        remaining: Other training samples.
        test: Samples that no model sees.
        train: Function from samples and a seed to a new model.
        unlearn: Function from a model, the instances, the other samples that it learned and a seed, to the model
            without the instances.
        kept_share: Share of the remaining samples that each model learns.
        seed: Seed of all draws.
    """
    own = derive_seed(seed, "shadow", number)
    count = max(1, round(kept_share * len(remaining)))
    part = remaining.subset(remaining.shuffled(own, "part")[:count])
    both = part.joined(forget, "forget/")
    learned, unseen = train(both, derive_seed(own, "with")), train(part, derive_seed(own, "without"))
    unlearned = unlearn(learned, forget, part, derive_seed(own, "unlearn"))
    confidences = [true_label_confidence(predict(model, forget), forget.labels) for model in (unlearned, unseen)]
    probabilities = [true_label_probabilities(unseen, images) for images in (forget, test)]
    return ShadowPair(*(values.tolist() for values in (*confidences, *probabilities)))


def shadow_audit(
    pairs: Sequence[ShadowPair],
    observed: Float[Tensor, " n"],
    probabilities: Mapping[str, tuple[Float[Tensor, " n"], Float[Tensor, " m"]]],
    *,
    confidence: float = 0.95,
) -> dict[str, Any]:
    """Return the results of U-LiRA and RMIA.

    U-LiRA's error rates are those on the shadow models themselves, each judged by the others, so that both kinds of
    model are known: 2 x pairs x instances trials. Instances of one model are not independent of each other. With few
    pairs the rates are a little below chance where there is no trace: a model that is left out is missing from the mean
    of its own side.

    Args:
        pairs: Pairs of shadow models, at least three.
        observed: log(p / (1 - p)) of each instance by the model in question.
        probabilities: Probability of the true class of each instance and of each test sample, by model, e.g.
            ``"after"``. Every second test sample is RMIA's population, the others are its non-members.
        confidence: Level of the intervals.

    Returns:
        ``pairs``; ``u_lira``: ``accuracy`` (0.5 is no trace), ``auc``, ``tpr`` by false-positive rate, ``trials``, and
        of the model in question ``called_unlearned`` (share of instances with a posterior above one half) and
        ``posteriors``; ``rmia``: by model the membership inference of instances against test samples.

    Raises:
        ValueError: There are fewer than three pairs.
    """
    if len(pairs) < 3:
        raise SettingsError(f"each shadow model is judged by at least two others: 3 pairs needed, got {len(pairs)}")
    unlearned = torch.tensor([pair.unlearned for pair in pairs])
    unseen = torch.tensor([pair.unseen for pair in pairs])
    scores: dict[str, list[Tensor]] = {"unlearned": [], "unseen": []}
    for left_out in range(len(pairs)):
        others = [index for index in range(len(pairs)) if index != left_out]
        for name, side in (("unlearned", unlearned), ("unseen", unseen)):
            scores[name].append(likelihood_ratio(side[left_out], unlearned[others], unseen[others]))
    positive, negative = torch.cat(scores["unlearned"]), torch.cat(scores["unseen"])
    hits = int((positive > 0).sum()) + int((negative <= 0).sum())
    # A high ratio means unlearned; membership inference calls a low score a member.
    attack = membership_inference(-positive, -negative, level=confidence)
    judged = posterior(likelihood_ratio(observed, unlearned, unseen))
    # From models that never saw either: no shadow model learns the test samples, and what only one side has learned
    # would separate the sides where there is no trace.
    prior, population_prior = (
        offline_prior(torch.tensor(rows).double(), _OFFLINE).clamp_min(_LEAST_PRIOR)
        for rows in ([pair.unseen_probability for pair in pairs], [pair.population for pair in pairs])
    )
    rmia = {}
    for name, (targets, test) in probabilities.items():
        behind = (test[::2], population_prior[::2])
        inside = rmia_score(targets, prior, *behind)
        outside = rmia_score(test[1::2], population_prior[1::2], *behind)
        result = membership_inference(-inside, -outside, level=confidence)
        rmia[name] = {
            "auc": roc_auc(-inside, -outside),
            "low": result.low,
            "high": result.high,
            "tpr": {
                rate: share(round(value * len(inside)), len(inside), confidence)
                for rate, value in result.tpr_at_fpr.items()
            },
            "members": len(inside),
            "others": len(outside),
        }
    return {
        "pairs": len(pairs),
        "u_lira": {
            "accuracy": share(hits, len(positive) + len(negative), confidence),
            "auc": attack.auc,
            "tpr": {
                rate: share(round(value * len(positive)), len(positive), confidence)
                for rate, value in attack.tpr_at_fpr.items()
            },
            "trials": len(positive) + len(negative),
            "called_unlearned": (judged > 0.5).double().mean().item(),
            "posteriors": judged.tolist(),
        },
        "rmia": rmia,
    }
