"""Estimates of loss: their numbers, that they are unbiased, and that a transposed channel would show."""

import itertools

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.mappings import (
    all_mappings,
    hamming,
    head_estimate,
    loss_estimate,
    pseudo_labels,
    reduced_mappings,
    supervised_labels,
    true_loss,
)


def test_the_estimate_of_the_binary_symmetric_channel():
    channel = Channel.binary_symmetric(0.1)
    estimate = loss_estimate(channel, None, reduced_mappings(2))
    np.testing.assert_allclose(estimate, [[0.1, -0.125, 1.125], [0.1, 1.125, -0.125]], atol=1e-12)
    np.testing.assert_allclose(pseudo_labels(estimate), [[1.025, 1.25, 0], [1.025, 0, 1.25]], atol=1e-12)
    # 00, 01, 10, 11.
    every = loss_estimate(channel, None, all_mappings(2, 2))
    np.testing.assert_allclose(every, [[-0.125, 0.1, 0.9, 1.125], [1.125, 0.1, 0.9, -0.125]], atol=1e-12)


def test_the_estimate_of_four_symbols():
    channel = Channel.symmetric(4, 0.1)
    reduced = loss_estimate(channel, None, reduced_mappings(4))
    np.testing.assert_allclose(reduced[0], [0.1, -0.115385, 1.038462, 1.038462, 1.038462], atol=1e-6)
    every = loss_estimate(channel, None, all_mappings(4, 4))
    assert every.shape == (4, 256)
    assert (every.min(), every.max()) == pytest.approx((-0.115385, 1.105128), abs=1e-6)
    heads = head_estimate(channel)
    np.testing.assert_allclose(heads[0, 0], [-0.003846, *[1.001282] * 3], atol=1e-6)
    np.testing.assert_allclose(heads[0, 1], [-0.037179, 0.034615, 0.001282, 0.001282], atol=1e-6)
    assert (heads.max(), heads.min()) == pytest.approx((1.001282, -0.037179), abs=1e-6)


@pytest.mark.parametrize("shape", [(3, 3), (4, 4), (2, 3)])
def test_estimates_are_unbiased_for_any_channel_and_loss(shape):
    draws = np.random.default_rng(0)
    table = draws.random(shape) + 2 * np.eye(*shape)
    channel = Channel(table / table.sum(axis=1, keepdims=True))
    loss = draws.random((shape[0], 3))
    mappings = all_mappings(shape[1], 3)
    estimate, rho = loss_estimate(channel, loss, mappings), true_loss(channel, loss, mappings)
    np.testing.assert_allclose(channel.matrix @ estimate, rho, atol=1e-12)
    by_hand = [
        [sum(channel.matrix[x, z] * loss[x, s[z]] for z in range(shape[1])) for s in mappings] for x in range(shape[0])
    ]
    np.testing.assert_allclose(rho, by_hand, atol=1e-12)
    heads = head_estimate(channel, loss)
    sums = np.array([[sum(heads[z, w, s[w]] for w in range(shape[1])) for s in mappings] for z in range(shape[1])])
    np.testing.assert_allclose(sums, estimate, atol=1e-12)
    if shape[0] == shape[1]:
        turned = Channel(channel.matrix.T / channel.matrix.T.sum(axis=1, keepdims=True))
        assert np.abs(turned.matrix @ estimate - rho).max() > 0.05


def test_the_expected_estimate_of_a_rule_with_a_hole_is_its_loss():
    """Over all noise patterns of eight bits; the rule looks at the neighbours alone."""
    x, d = np.array([1, 1, 1, 0, 0, 0, 0, 0]), 0.1
    rule = {(0, 0): 0, (0, 1): 2, (1, 0): 1, (1, 1): 2}
    channel, mappings = Channel.binary_symmetric(d), reduced_mappings(2)
    estimate = loss_estimate(channel, None, mappings)
    said = paid = 0.0
    for noise in itertools.product([0, 1], repeat=8):
        z = x ^ np.array(noise)
        weight = np.prod([d if bit else 1 - d for bit in noise])
        for i in range(1, 7):
            s = rule[z[i - 1], z[i + 1]]
            said += weight * estimate[z[i], s] / 6
            paid += weight * (mappings[s, z[i]] != x[i]) / 6
    assert said == pytest.approx(paid, abs=1e-12)
    assert said == pytest.approx(0.2603333, abs=1e-6)


def test_supervised_and_adaptive_labels_differ_by_a_constant_in_the_mean():
    channel = Channel.binary_symmetric(0.1)
    mappings, loss = reduced_mappings(2), hamming(2)
    adaptive = channel.matrix @ pseudo_labels(loss_estimate(channel, loss, mappings))
    supervised = np.einsum("xz,xzs->xs", channel.matrix, supervised_labels(loss, mappings))
    np.testing.assert_allclose(adaptive[0], [1.025, 1.125, 0.125], atol=1e-12)
    np.testing.assert_allclose(supervised[0], [0.9, 1, 0], atol=1e-12)
    np.testing.assert_allclose(adaptive - supervised, 0.125, atol=1e-12)
    # (x, z) = (0,0), (0,1), (1,0), (1,1) as the released code labels them.
    labels = supervised_labels(loss, mappings)
    assert labels[0, 0].tolist() == [1, 1, 0]
    assert labels[0, 1].tolist() == [0, 1, 0]
    assert labels[1, 0].tolist() == [0, 0, 1]
    assert labels[1, 1].tolist() == [1, 0, 1]


def test_reduced_mappings_can_lose_much_with_four_symbols():
    posterior, channel = np.array([0.9, 0.09, 0.005, 0.005]), Channel.symmetric(4, 0.1)
    best = (posterior @ true_loss(channel, hamming(4), all_mappings(4, 4))).min()
    reduced = (posterior @ true_loss(channel, hamming(4), reduced_mappings(4))).min()
    assert (best, reduced) == pytest.approx((0.049, 0.1), abs=1e-4)


def test_what_does_not_fit():
    channel = Channel.symmetric(3, 0.1)
    with pytest.raises(ValueError, match="a row for each of 3 clean symbols"):
        loss_estimate(channel, np.eye(2), reduced_mappings(3))
    with pytest.raises(ValueError, match="a column for each of 3 noisy symbols"):
        loss_estimate(channel, None, reduced_mappings(2))
    with pytest.raises(ValueError, match="cannot be reconstructed"):
        loss_estimate(channel, None, reduced_mappings(3) + 1)
    with pytest.raises(ValueError, match="are too many; use a factorised head"):
        all_mappings(20, 20)
