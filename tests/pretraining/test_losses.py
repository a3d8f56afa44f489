"""The losses of pre-training against loops."""

import pytest
import torch

from myosotis.engine.seeding import generator
from myosotis.pretraining.losses import hidden_mean, ranking_loss


def test_a_mean_over_what_is_hidden():
    values, hidden = torch.tensor([[1.0, 3.0], [5.0, 9.0]]), torch.tensor([[True, True], [True, False]])
    assert hidden_mean(values, hidden).item() == 3
    assert hidden_mean(values, hidden, "sample").item() == 3.5


def test_ranking_of_predicted_losses():
    losses = torch.rand(3, 9, generator=generator(0)) * 4
    hidden = torch.rand(3, 9, generator=generator(1)) < 0.7
    log2 = torch.log(torch.tensor(2.0)).item()
    assert ranking_loss(torch.zeros(3, 9), losses, hidden).item() == pytest.approx(log2)
    assert ranking_loss(losses, losses, hidden).item() < log2 < ranking_loss(-losses, losses, hidden).item()
    total, pairs = 0.0, 0
    guess = torch.randn(3, 9, generator=generator(2))
    for image in range(3):
        places = hidden[image].nonzero().flatten().tolist()
        for i in places:
            for j in places:
                if losses[image, i] > losses[image, j]:
                    total -= torch.sigmoid(guess[image, i] - guess[image, j]).log().item()
                    pairs += 1
    assert ranking_loss(guess, losses, hidden).item() == pytest.approx(total / pairs, rel=1e-5)
    assert ranking_loss(guess, losses, torch.zeros(3, 9, dtype=torch.bool)).item() == 0
