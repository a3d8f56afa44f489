import math

import pytest
import torch

from myosotis.evaluation.membership import roc_auc
from myosotis.evaluation.shadow import epsilon_estimate, likelihood_ratio, offline_prior, posterior, rmia_score


def test_likelihood_ratio_with_a_pooled_spread():
    ratio = likelihood_ratio(
        torch.tensor([1.5]), torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([[-1.0], [0.0], [1.0]])
    )
    assert ratio.item() == pytest.approx(1.0)
    assert posterior(ratio).item() == pytest.approx(0.731059, abs=1e-6)


def test_likelihood_ratio_of_many_models_is_that_of_two_normals():
    stream = torch.Generator().manual_seed(0)
    u, o = torch.randn(50, 3, generator=stream) * 2 + 1, torch.randn(40, 3, generator=stream)
    value = torch.tensor([0.3, -1.0, 2.0])
    expected = torch.distributions.Normal(u.mean(0), u.std(0)).log_prob(value) - torch.distributions.Normal(
        o.mean(0), o.std(0)
    ).log_prob(value)
    torch.testing.assert_close(likelihood_ratio(value, u, o).float(), expected, atol=1e-5, rtol=1e-5)


def test_two_populations_of_one_kind_are_at_chance_and_unlike_ones_are_not():
    stream = torch.Generator().manual_seed(1)
    u, o = (torch.randn(16, 400, generator=stream) for _ in range(2))
    same, moved = torch.randn(400, generator=stream), torch.randn(400, generator=stream) + 2
    chance = roc_auc(-likelihood_ratio(same, u, o), -likelihood_ratio(torch.randn(400, generator=stream), u, o))
    # The standard error of an AUC of 400 against 400 at chance is 0.02.
    assert chance == pytest.approx(0.5, abs=0.06)
    clear = roc_auc(-likelihood_ratio(moved, u + 2, o), -likelihood_ratio(same, u + 2, o))
    assert clear > 0.85


def test_one_shadow_model_is_too_few():
    with pytest.raises(ValueError, match="two shadow models"):
        likelihood_ratio(torch.zeros(1), torch.zeros(1, 1), torch.zeros(3, 1))


@pytest.mark.parametrize(("gamma", "expected"), [(1.0, 0.75), (1.3, 0.75), (2.0, 0.5), (2.1, 0.25)])
def test_rmia(gamma, expected):
    """Ratios 2, 4/3, 4 and 1/3."""
    found = rmia_score(
        torch.tensor([0.8]),
        torch.tensor([0.4]),
        torch.tensor([0.5, 0.9, 0.2, 0.6]),
        torch.tensor([0.5, 0.6, 0.4, 0.1]),
        gamma,
    )
    assert found.item() == expected


def test_rmia_of_an_underflowed_probability():
    found = rmia_score(torch.tensor([0.5]), torch.tensor([0.5]), torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.1]))
    assert found.item() == 0.5


def test_offline_prior():
    assert offline_prior(torch.tensor([[0.1], [0.3]]), 0.3).item() == pytest.approx(0.48)
    assert offline_prior(torch.tensor([[0.2]]), 1.0).item() == pytest.approx(0.2)
    with pytest.raises(ValueError, match="a must be"):
        offline_prior(torch.tensor([[0.2]]), 1.5)


def test_rmia_wrong_input():
    one = torch.tensor([0.5])
    with pytest.raises(ValueError, match="empty"):
        rmia_score(one, one, torch.zeros(0), torch.zeros(0))
    with pytest.raises(ValueError, match="prior"):
        rmia_score(one, torch.zeros(1), one, one)


def test_epsilon():
    assert epsilon_estimate(0.1, 0.2) == pytest.approx(2.079442, abs=1e-6)
    assert epsilon_estimate(0.5, 0.5) == 0
    assert epsilon_estimate(0.01, 0.5, delta=1e-5) == pytest.approx(3.912003, abs=1e-6)
    assert epsilon_estimate(0.0, 0.0) == math.inf
    assert epsilon_estimate(0.0, 0.3) is None
    assert epsilon_estimate(0.9, 0.9) == 0
