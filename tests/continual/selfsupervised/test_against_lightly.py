"""Our losses against lightly's, where lightly is installed: `pip install lightly`."""

import pytest
import torch
from torch.nn import functional

from myosotis.continual.selfsupervised.contrast import nce
from myosotis.continual.selfsupervised.losses import (
    negative_cosine,
    pairwise_contrast,
    redundancy_reduction,
    variance_invariance_covariance,
)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def losses():
    return pytest.importorskip("lightly.loss")


def drawn_pair(count=16, dim=8, seed=0):
    stream = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(count, dim, generator=stream) for _ in range(2))


def test_contrast_with_a_queue(losses):
    theirs = losses.NTXentLoss(temperature=0.2, memory_bank_size=(32, 8))
    bank = functional.normalize(torch.randn(32, 8, generator=torch.Generator().manual_seed(5)), dim=1)
    query, key = drawn_pair()
    theirs(query, key)  # makes the bank
    theirs.memory_bank.bank = bank.T.contiguous() if theirs.memory_bank.bank.shape[0] == 8 else bank.clone()
    with torch.no_grad():
        expected = theirs(query, key)
    one, other = functional.normalize(query, dim=1), functional.normalize(key, dim=1)
    torch.testing.assert_close(nce(one, other, bank, 0.2), expected)


def test_contrast_within_a_batch(losses):
    one, other = drawn_pair()
    torch.testing.assert_close(pairwise_contrast(one, other, 0.5), losses.NTXentLoss(temperature=0.5)(one, other))


def test_cosine(losses):
    one, other = drawn_pair()
    torch.testing.assert_close(negative_cosine(one, other), 2 + 2 * losses.NegativeCosineSimilarity()(one, other))


def test_redundancy_reduction(losses):
    one, other = drawn_pair(64)
    expected = losses.BarlowTwinsLoss(lambda_param=5e-3)(one, other)
    torch.testing.assert_close(redundancy_reduction(one, other, 5e-3, 1.0), expected, rtol=1e-3, atol=1e-4)


def test_variance_invariance_covariance(losses):
    one, other = drawn_pair(64)
    expected = losses.VICRegLoss()(one, other)
    torch.testing.assert_close(variance_invariance_covariance(one, other), expected, rtol=1e-4, atol=1e-5)
