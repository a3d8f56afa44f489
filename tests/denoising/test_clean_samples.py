"""Samples of training with clean symbols."""

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context2d
from myosotis.denoising.passes import Passes
from myosotis.denoising.training_noise import blind

LAW = Channel.binary_symmetric(0.1)


def test_noise_is_fresh_in_every_pass_and_blind_training_draws_its_rate(small, blobs):
    rates = []

    def watched(draws):
        law = blind(0.05, 0.25)(draws)
        rates.append(law.matrix[0, 1])
        return law

    small(Context2d(8)).pretrain([blobs(0), blobs(1)], watched, passes=Passes(epochs=3))
    assert len(set(rates)) == 6
    assert min(rates) >= 0.05
    assert max(rates) <= 0.25


def test_pairs_are_taken_as_they_are(noisy, small, blobs):
    plane = blobs(0)
    pairs = [(plane, noisy(plane))]
    one = small(Context2d(8)).pretrain(pairs, LAW, passes=Passes(epochs=2))
    two = small(Context2d(8)).pretrain(pairs, Channel.binary_symmetric(0.2), passes=Passes(epochs=2))
    for name, value in one.network.state_dict().items():
        assert value.equal(two.network.state_dict()[name])


def test_planes_of_several_sizes_teach_together(small, blobs):
    planes = [blobs(0), blobs(1, side=40)[:, :31], blobs(2)[:20]]
    denoiser = small(Context2d(12)).pretrain(planes, LAW, passes=Passes(epochs=1))
    assert denoiser.denoise(planes[1], LAW).shape == (40, 31)
