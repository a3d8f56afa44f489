"""What heads learn from: labels in closed form, and that counting is what a table of them comes to."""

import numpy as np
import pytest
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.counting import dude
from myosotis.denoising.heads import HEADS, FactorisedHead, MappingHead, PosteriorHead, default_head
from myosotis.denoising.mappings import all_mappings, hamming, loss_estimate, true_loss


def channel(symbols, seed=0):
    draws = np.random.default_rng(seed)
    table = draws.random((symbols, symbols)) * 0.15 + np.eye(symbols)
    return Channel(table / table.sum(axis=1, keepdims=True))


@pytest.mark.parametrize(("name", "symbols"), [(name, q) for name in HEADS for q in (2, 4)])
def test_clean_and_noisy_symbols_teach_the_same_in_the_mean(name, symbols):
    """Of labels of softmaxes: their expectation over noise differs by a constant alone."""
    law = channel(symbols)
    head = HEADS[name](law)
    logits = torch.randn(5, head.width(symbols), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    others = torch.randn_like(logits)
    matrix = torch.from_numpy(law.matrix.copy())
    if name == "posterior":
        # Another likelihood, with the same minimiser: the posterior of the context itself.
        prior = torch.tensor([0.7, 0.3] if symbols == 2 else [0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
        seen = prior @ matrix
        free = torch.zeros(1, symbols, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([free], max_iter=200, line_search_fn="strong_wolfe")

        def closure():
            optimizer.zero_grad()
            value = (head.adaptive(free) * seen).sum()
            value.backward()
            return value

        optimizer.step(closure)
        torch.testing.assert_close(free.detach().softmax(dim=1)[0], prior, atol=1e-4, rtol=0)
        return
    difference = []
    for some in (logits, others):
        logs = some.view(5, -1, symbols if name == "factorised" else some.shape[1]).log_softmax(dim=2)
        adaptive = head.adaptive(some) @ matrix.T
        supervised = (head.supervised(some) * matrix).sum(dim=2)
        # A constant label makes -constant * sum of logs.
        difference.append((adaptive - supervised) / -logs.sum(dim=(1, 2))[:, None])
    torch.testing.assert_close(difference[0], difference[1])
    assert difference[0].std() < 1e-9


def test_the_labels_of_bits_by_hand():
    head = MappingHead(Channel.binary_symmetric(0.1))
    logs = torch.tensor([[0.2, -0.4, 0.1]]).log_softmax(dim=1)[0]
    adaptive = head.adaptive(torch.tensor([[0.2, -0.4, 0.1]]))[0]
    wanted = [-(1.025 * logs[0] + 1.25 * logs[1]), -(1.025 * logs[0] + 1.25 * logs[2])]
    assert adaptive.tolist() == pytest.approx([value.item() for value in wanted], rel=1e-5)
    supervised = head.supervised(torch.tensor([[0.2, -0.4, 0.1]]))[0]
    # (x, z) = (0, 0): keep and always 0 are right; (0, 1): only always 0.
    assert supervised[0, 0].item() == pytest.approx(-(logs[0] + logs[1]).item(), rel=1e-5)
    assert supervised[0, 1].item() == pytest.approx(-logs[1].item(), rel=1e-5)
    assert supervised[1, 0].item() == pytest.approx(-logs[2].item(), rel=1e-5)
    # The loss of the released code is (1 + this) / 3.
    p = logs.exp()
    label = torch.tensor([1.025, 1.25, 0.0])
    assert (p - label * logs).mean().item() == pytest.approx((1 + adaptive[0].item()) / 3, rel=1e-5)


def test_a_table_of_mappings_is_dude():
    draws = np.random.default_rng(0)
    clean = np.cumsum(draws.random(20_000) < 0.1) % 2
    law = Channel.binary_symmetric(0.1)
    noisy = law.corrupt(clean, draws)
    head, found = MappingHead(law), dude(noisy, law, k=2).symbols
    keys = np.array([int("".join(map(str, np.delete(noisy[i - 2 : i + 3], 2))), 2) for i in range(2, len(noisy) - 2)])
    counts = np.zeros((16, 2))
    np.add.at(counts, (keys, noisy[2:-2]), 1)
    free = torch.zeros(16, 3, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = (head.adaptive(free) * torch.from_numpy(counts)).sum() / len(noisy)
        value.backward()
        return value

    optimizer.step(closure)
    rules = head.decisions(free.detach()).numpy()
    assert (rules[keys, noisy[2:-2]] == found[2:-2]).all()
    assert (rules[:, 0] != rules[:, 1]).any()
    assert (rules[:, 0] == rules[:, 1]).any()


@pytest.mark.parametrize("symbols", [2, 3, 4])
def test_the_factorised_head_decides_as_the_best_of_all_mappings(symbols):
    law, head = channel(symbols), FactorisedHead(channel(symbols))
    counts = torch.rand(symbols, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    free = torch.zeros(1, head.width(symbols), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = (head.adaptive(free) * counts).sum()
        value.backward()
        return value

    optimizer.step(closure)
    every = all_mappings(symbols, symbols)
    best = every[(counts.numpy() @ loss_estimate(law, None, every)).argmin()]
    assert head.decisions(free.detach())[0].tolist() == best.tolist()


def test_the_posterior_head_decides_as_bayes():
    law, head = channel(4), PosteriorHead(channel(4))
    prior = np.array([0.9, 0.09, 0.005, 0.005])
    rule = head.decisions(torch.from_numpy(np.log(prior))[None])[0].numpy()
    every = all_mappings(4, 4)
    best = every[(prior @ true_loss(law, hamming(4), every)).argmin()]
    assert rule.tolist() == best.tolist()
    beliefs = head.posterior(torch.from_numpy(np.log(prior))[None])[0].numpy()
    joint = prior[:, None] * law.matrix
    np.testing.assert_allclose(beliefs, (joint / joint.sum(axis=0)).T)


def test_beliefs_of_the_mapping_head():
    head = MappingHead(Channel.binary_symmetric(0.1))
    p = torch.tensor([[0.5, 0.3, 0.2]])
    assert head.posterior(p.log())[0].flatten().tolist() == pytest.approx([0.8, 0.2, 0.3, 0.7])


def test_defaults_and_faults():
    assert [default_head(q) for q in (2, 3, 4)] == ["mapping", "posterior", "posterior"]
    with pytest.raises(ValueError, match="as many noisy symbols as clean ones"):
        MappingHead(Channel([[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]))
    with pytest.raises(ValueError, match="the loss must be square"):
        MappingHead(Channel.binary_symmetric(0.1), np.ones((2, 3)))
    assert Context1d(1).size == 2
