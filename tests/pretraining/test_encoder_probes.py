"""Probes of an encoder."""

import pytest
import torch

from myosotis.pretraining.encoder_probes import EncoderProbes, encoder_features


def test_probes_see_what_they_are_given(network, stripes):
    model = network()
    probes = EncoderProbes(stripes(40), stripes(30, seed=1), samples=20)
    assert (probes.count, probes.test_count) == (20, 30)
    assert probes.pixels().knn > 0.8
    features = encoder_features(model, stripes(6).images, "cpu", cells=2)
    assert features.shape == (6, 4 * 16)
    # The mean over cells is the plain feature.
    torch.testing.assert_close(features.view(6, 16, 4).mean(dim=2), encoder_features(model, stripes(6).images, "cpu"))
    with pytest.raises(ValueError, match="smaller than 5x5"):
        encoder_features(model, stripes(2).images, "cpu", cells=5)
