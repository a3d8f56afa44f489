"""Neural denoisers: the hole in the middle, what they learn from, and that they repair what counting cannot."""

import numpy as np
import pytest
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.contexts import Context1d, Context2d
from myosotis.denoising.neural import NeuralDenoiser, alternating_halves
from myosotis.denoising.passes import Passes
from myosotis.denoising.training_noise import blind
from myosotis.engine.errors import SettingsError

LAW = Channel.binary_symmetric(0.1)
QUICK = Passes(epochs=10, learning_rate=5e-3, batch_size=256)


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
def test_a_symbol_does_not_look_at_itself(markov, small, head):
    denoiser = small(Context1d(2), head=head)
    line = markov(1000)
    other = line.copy()
    other[500] ^= 1
    one, two = (torch.cat([logits for *_, logits in denoiser.logits(seen)]) for seen in (line, other))
    assert (one != two).any(dim=1).nonzero().flatten().tolist() == [498, 499, 501, 502]


def test_a_pixel_does_not_look_at_itself(small, blobs):
    denoiser = small(Context2d(8))
    plane = blobs(0)
    other = plane.copy()
    other[20, 30] ^= 1
    one, two = (torch.cat([logits for *_, logits in denoiser.logits(seen)]) for seen in (plane, other))
    changed = (one != two).any(dim=1).nonzero().flatten().numpy()
    around = {(20 + dy, 30 + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {(20, 30)}
    assert {tuple(divmod(place, 48)) for place in changed.tolist()} == around


def test_adapting_learns_without_clean_symbols_and_leaves_the_denoiser_as_it_was(markov, noisy, small):
    clean = markov(20_000, flip=0.05)
    seen = noisy(clean)
    denoiser = small(Context1d(4))
    before = {name: value.clone() for name, value in denoiser.network.state_dict().items()}
    found = denoiser.adapt(seen, LAW, passes=QUICK)
    # Who knows the source gets 0.30.
    assert (found.denoise(seen, LAW) != clean).mean() < 0.4 * (seen != clean).mean()
    assert all(value.equal(before[name]) for name, value in denoiser.network.state_dict().items())
    again = denoiser.adapt(seen, LAW, passes=QUICK)
    assert all(value.equal(again.network.state_dict()[name]) for name, value in found.network.state_dict().items())


def test_clean_symbols_teach_and_noisy_ones_go_on(noisy, small, blobs):
    train = [blobs(seed) for seed in range(8)]
    plane = blobs(100)
    law = Channel.binary_symmetric(0.15)
    seen = noisy(plane, law)
    plain = small(Context2d(12)).pretrain(train, law, passes=Passes(epochs=8))
    assert plain.pretrained
    raw = (seen != plane).mean()
    supervised = (plain.denoise(seen, law) != plane).mean()
    assert supervised < 0.4 * raw
    both = (plain.adapt(seen, law).denoise(seen, law) != plane).mean()
    assert both < 0.4 * raw


def test_adapting_repairs_a_mismatch(noisy, small, blobs):
    """Trained for few flips, used with many; seeds are fixed."""
    train, plane = [blobs(seed) for seed in range(8)], blobs(100)
    law = Channel.binary_symmetric(0.25)
    seen = noisy(plane, law)
    wrong = small(Context2d(12)).pretrain(train, Channel.binary_symmetric(0.02), passes=Passes(epochs=8))
    before = (wrong.denoise(seen, law) != plane).mean()
    after = (wrong.adapt(seen, law, passes=Passes(epochs=40, learning_rate=1e-3)).denoise(seen, law) != plane).mean()
    assert after < 0.8 * before


def test_reads_teach_with_their_ends(markov, noisy, small):
    law = Channel.symmetric(4, 0.1)
    reads = np.tile(markov(50, symbols=4, flip=0.5), 40)
    seen = noisy(reads, law)
    denoiser = small(Context1d(5), symbols=4)
    lengths, passes = [50] * 40, Passes(epochs=40, learning_rate=1e-2, batch_size=128)
    found = denoiser.adapt(seen, law, lengths=lengths, passes=passes).denoise(seen, law, lengths=lengths)
    assert (found != reads).mean() < 0.4 * (seen != reads).mean()


@pytest.mark.parametrize("head", ["factorised", "posterior"])
def test_four_symbols(markov, noisy, small, head):
    clean = markov(20_000, symbols=4, flip=0.1)
    law = Channel.symmetric(4, 0.1)
    seen = noisy(clean, law)
    denoiser = small(Context1d(2), symbols=4, head=head, hidden=32)
    found = denoiser.adapt(seen, law, passes=Passes(epochs=12, learning_rate=5e-3)).denoise(seen, law)
    assert (found != clean).mean() < 0.75 * (seen != clean).mean()


def test_estimates_are_of_use(markov, noisy, small):
    clean = markov(20_000)
    seen = noisy(clean)
    denoiser = small(Context1d(3))
    other = denoiser.adapt(seen, LAW, passes=QUICK)
    true = (other.denoise(seen, LAW) != clean).mean()
    assert denoiser.estimated_loss(seen, LAW, passes=QUICK) == pytest.approx(true, abs=0.012)
    assert other.optimistic_estimate(seen, LAW) == pytest.approx(true, abs=0.015)


def test_what_is_learnt_by_heart_shows(markov, noisy, small):
    """A large network on few symbols: the optimistic estimate believes it, the cross-fitted one does not."""
    clean = markov(1500)
    seen = noisy(clean)
    denoiser, passes = small(Context1d(10), hidden=64), Passes(epochs=60, learning_rate=5e-3, batch_size=64)
    true = (denoiser.adapt(seen, LAW, passes=passes).denoise(seen, LAW) != clean).mean()
    optimistic = denoiser.adapt(seen, LAW, passes=passes).optimistic_estimate(seen, LAW)
    fitted = denoiser.estimated_loss(seen, LAW, passes=passes)
    assert optimistic < true - 0.05
    assert fitted > true - 0.02


def test_reads_are_judged_by_other_reads(markov, noisy, small):
    law = Channel.symmetric(4, 0.1)
    reads = np.tile(markov(128, symbols=4, flip=0.5), 40)
    seen, lengths = noisy(reads, law), [128] * 40
    denoiser, passes = small(Context1d(4), symbols=4), Passes(epochs=30, learning_rate=1e-2, batch_size=128)
    true = (
        denoiser.adapt(seen, law, passes=passes, lengths=lengths).denoise(seen, law, lengths=lengths) != reads
    ).mean()
    fitted = denoiser.estimated_loss(seen, law, passes=passes, lengths=lengths)
    assert fitted == pytest.approx(true, abs=0.04)


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
@pytest.mark.parametrize("kind", ["one", "many"])
def test_every_head_learns_from_clean_symbols(markov, noisy, small, head, kind):
    clean = [markov(400, seed=seed, symbols=4, flip=0.1) for seed in range(30)]
    law = Channel.symmetric(4, 0.1)
    draws = law if kind == "one" else blind(0.05, 0.15, symbols=4)
    denoiser = small(Context1d(2), symbols=4, head=head, hidden=32)
    denoiser.pretrain(clean, draws, passes=Passes(epochs=8, learning_rate=5e-3, batch_size=128))
    test = markov(8000, seed=99, symbols=4, flip=0.1)
    seen = noisy(test, law)
    assert (denoiser.denoise(seen, law) != test).mean() < 0.85 * (seen != test).mean()


def test_the_halves_of_a_cross_fit_are_apart():
    line = alternating_halves(np.zeros(1000, dtype=int))
    reads = alternating_halves(np.zeros(6, dtype=int), [1, 2, 3])
    assert reads.tolist() == [0, 1, 1, 0, 0, 0]
    assert 0.4 < line.mean() < 0.6
    plane = alternating_halves(np.zeros((64, 64), dtype=int)).reshape(64, 64)
    assert plane.mean() == 0.5
    assert (plane[:16, :16] == plane[0, 0]).all()
    assert plane[0, 16] != plane[0, 0]


def test_halves_symbol_by_symbol():
    """Positions of all symbols, in eight bytes each, used to be made for them."""
    for count in (65, 1000):
        assert alternating_halves(np.zeros(count)).tolist() == [i // 64 % 2 for i in range(count)]
    plane = alternating_halves(np.zeros((35, 50))).reshape(35, 50)
    assert plane.tolist() == [[(y // 16 + x // 16) % 2 for x in range(50)] for y in range(35)]


@pytest.mark.parametrize("shape", [(2,), (3,), (64,), (1, 2), (2, 1), (16, 16), (3, 2), (40, 3)])
def test_neither_half_is_empty(shape):
    """Of few symbols all were in the first half: there was nothing to learn from, or to judge by."""
    halves = alternating_halves(np.zeros(shape))
    assert halves.size == np.prod(shape)
    assert set(halves.tolist()) == {0, 1}


def test_a_network_on_few_symbols(small):
    """It ended in an ``IndexError``."""
    passes = Passes(epochs=1)
    for shape, context in (((40,), Context1d(3)), ((9, 9), Context2d(4))):
        seen = np.random.default_rng(0).integers(0, 2, shape)
        assert np.isfinite(small(context).estimated_loss(seen, LAW, passes=passes))
    assert alternating_halves(np.zeros(5), [0, 5, 0]).tolist() == [0, 0, 1, 1, 0]
    assert alternating_halves(np.zeros(5), [2, 0, 3]).tolist() == [0, 0, 1, 1, 1]
    with pytest.raises(SettingsError, match="one symbol is too few"):
        small(Context1d(3)).estimated_loss(np.zeros(1, dtype=int), LAW, passes=passes)


@pytest.mark.parametrize("count", [5, 4000])
def test_orders_take_four_bytes(count):
    """The order of a pass is that of whole numbers of eight bytes."""
    batches = Passes(batch_size=7).shuffled(count, torch.Generator().manual_seed(5))
    assert (
        np.concatenate(list(batches)).tolist()
        == torch.randperm(count, generator=torch.Generator().manual_seed(5)).tolist()
    )


def test_an_iid_source_is_left_alone_and_no_noise_changes_nothing(markov, noisy, small):
    draws = np.random.default_rng(0)
    clean = draws.integers(0, 2, 20_000)
    seen = noisy(clean)
    found = small(Context1d(3)).adapt(seen, LAW).denoise(seen, LAW)
    assert (found != clean).mean() == pytest.approx((seen != clean).mean(), abs=0.02)
    quiet = Channel.binary_symmetric(0.0)
    line = markov(5000)
    assert (small(Context1d(3)).adapt(line, quiet).denoise(line, quiet) == line).mean() > 0.99


def test_what_does_not_fit(markov, small):
    with pytest.raises(ValueError, match="the channel has 4 symbols, the denoiser 2"):
        small().adapt(markov(100), Channel.symmetric(4, 0.1))
    for head in ("factorised", "posterior"):
        denoiser = NeuralDenoiser(3, Context1d(1), head=head, hidden=4, layers=1)
        with pytest.raises(ValueError, match="the channel has 4 symbols, the denoiser 3"):
            denoiser.pretrain([markov(100)], lambda _: Channel.symmetric(4, 0.1))
    with pytest.raises(ValueError, match="symbol 2 at position 1"):
        small().denoise(np.array([0, 2, 1]), LAW)
    with pytest.raises(ValueError, match="no training symbols given"):
        small().pretrain([], LAW)
    with pytest.raises(ValueError, match="differ in shape"):
        small().pretrain([(markov(10), markov(11))], LAW)
    with pytest.raises(ValueError, match="two dimensions"):
        small(Context2d(4)).denoise(markov(10), LAW)
