"""Neural denoisers: the hole in the middle, what they learn from, and that they repair what counting cannot."""

import tracemalloc

import numpy as np
import pytest
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.channel_estimation import estimate_channel
from myosotis.denoising.context_samples import context_samples
from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context1d, Context2d, make_field
from myosotis.denoising.counting import dude
from myosotis.denoising.denoiser_file import load_denoiser, save_denoiser
from myosotis.denoising.neural import NeuralDenoiser, alternating_halves
from myosotis.denoising.passes import Passes
from myosotis.denoising.training_noise import blind
from myosotis.engine.errors import InputError
from myosotis.engine.seeding import derive_seed

LAW = Channel.binary_symmetric(0.1)
QUICK = Passes(epochs=10, learning_rate=5e-3, batch=256)


def markov(count, seed=0, flip=0.1, symbols=2):
    draws = np.random.default_rng(seed)
    steps = np.where(draws.random(count) < flip, draws.integers(1, symbols, count), 0)
    return np.cumsum(steps) % symbols


def noisy(clean, law=LAW, seed=1):
    return law.corrupt(clean, np.random.default_rng(seed))


def small(context=None, symbols=2, **options):
    return NeuralDenoiser(symbols, context or Context1d(3), **{"hidden": 16, "layers": 2, **options})


def blobs(seed, side=48):
    """A plane with some squares of ones."""
    draws = np.random.default_rng(seed)
    plane = np.zeros((side, side), dtype=np.uint8)
    for _ in range(6):
        top, left = draws.integers(0, side - 12, 2)
        plane[top : top + draws.integers(6, 12), left : left + draws.integers(6, 12)] = 1
    return plane


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
def test_a_symbol_does_not_look_at_itself(head):
    denoiser = small(Context1d(2), head=head)
    line = markov(1000)
    other = line.copy()
    other[500] ^= 1
    one, two = (torch.cat([logits for *_, logits in denoiser.logits(seen)]) for seen in (line, other))
    assert (one != two).any(dim=1).nonzero().flatten().tolist() == [498, 499, 501, 502]


def test_a_pixel_does_not_look_at_itself():
    denoiser = small(Context2d(8))
    plane = blobs(0)
    other = plane.copy()
    other[20, 30] ^= 1
    one, two = (torch.cat([logits for *_, logits in denoiser.logits(seen)]) for seen in (plane, other))
    changed = (one != two).any(dim=1).nonzero().flatten().numpy()
    around = {(20 + dy, 30 + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} - {(20, 30)}
    assert {tuple(divmod(place, 48)) for place in changed.tolist()} == around


def test_adapting_learns_without_clean_symbols_and_leaves_the_denoiser_as_it_was():
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


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
def test_counted_contexts_have_the_loss_and_the_gradient_of_all_symbols(head, monkeypatch):
    seen = noisy(markov(5000))
    gradients = []
    for threshold in (0.0, 1.1):
        monkeypatch.setattr("myosotis.denoising.context_samples._DEDUPLICATE", threshold)
        denoiser = small(Context1d(3), head=head)
        denoiser.network.double()
        learnt = context_samples(seen, Context1d(3), 2)
        every = np.arange(len(learnt.field.places))
        assert (learnt.counts is None) == (threshold == 0)
        counts = learnt.weights(every)
        values = denoiser._head(LAW).adaptive(denoiser.network(learnt.windows(every)))
        loss = (values * counts).sum() / counts.sum()
        loss.backward()
        gradients.append((loss.item(), [weight.grad.clone() for weight in denoiser.network.parameters()]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-12)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_few_contexts_are_counted_and_many_are_not():
    seen = noisy(markov(5000))
    counted = context_samples(seen, Context1d(3), 2)
    assert len(counted.field.places) < 200
    assert counted.counts.sum() == counted.total == 5000
    single = context_samples(seen, Context1d(30), 2)
    assert single.counts is None
    assert single.total == 5000


@pytest.mark.parametrize(
    ("context", "shape", "lengths"),
    [(Context1d(3), 600, None), (Context1d(2), 600, [1, 99, 500]), (Context2d(12), (20, 30), None)],
)
def test_a_sample_has_the_contexts_of_the_whole(context, shape, lengths, monkeypatch):
    seen = noisy(np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8))
    monkeypatch.setattr("myosotis.denoising.context_samples._DEDUPLICATE", 0.0)
    monkeypatch.setattr("myosotis.denoising.context_samples._MOST_SAMPLES", 50)
    whole = make_field(seen, context, 2, lengths=lengths).windows()
    for chosen in (None, np.arange(0, 600, 4)):
        learnt = context_samples(seen, context, 2, lengths=lengths, chosen=chosen)
        draws = np.random.default_rng(derive_seed(0, "sample"))
        sample = np.sort(draws.choice(600 if chosen is None else 150, 50, replace=False))
        places = sample if chosen is None else chosen[sample]
        assert learnt.windows(np.arange(50)).tolist() == whole[places].tolist()
        assert learnt.symbols.tolist() == seen.ravel()[places].tolist()


def test_memory_of_a_sample(monkeypatch):
    """Positions and keys of all symbols were made before the sample was drawn: 35 bytes for each, or 78 by keys."""
    monkeypatch.setattr("myosotis.denoising.context_samples._MOST_SAMPLES", 1000)
    seen = np.zeros(2_000_000, dtype=np.uint8)
    tracemalloc.start()
    context_samples(seen, Context1d(8), 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * seen.size


def test_clean_symbols_teach_and_noisy_ones_go_on():
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


def test_adapting_repairs_a_mismatch():
    """Trained for few flips, used with many; seeds are fixed."""
    train, plane = [blobs(seed) for seed in range(8)], blobs(100)
    law = Channel.binary_symmetric(0.25)
    seen = noisy(plane, law)
    wrong = small(Context2d(12)).pretrain(train, Channel.binary_symmetric(0.02), passes=Passes(epochs=8))
    before = (wrong.denoise(seen, law) != plane).mean()
    after = (wrong.adapt(seen, law, passes=Passes(epochs=40, learning_rate=1e-3)).denoise(seen, law) != plane).mean()
    assert after < 0.8 * before


def test_noise_is_fresh_in_every_pass_and_blind_training_draws_its_rate():
    rates = []

    def watched(draws):
        law = blind(0.05, 0.25)(draws)
        rates.append(law.matrix[0, 1])
        return law

    small(Context2d(8)).pretrain([blobs(0), blobs(1)], watched, passes=Passes(epochs=3))
    assert len(set(rates)) == 6
    assert min(rates) >= 0.05
    assert max(rates) <= 0.25


def test_pairs_are_taken_as_they_are():
    plane = blobs(0)
    pairs = [(plane, noisy(plane))]
    one = small(Context2d(8)).pretrain(pairs, LAW, passes=Passes(epochs=2))
    two = small(Context2d(8)).pretrain(pairs, Channel.binary_symmetric(0.2), passes=Passes(epochs=2))
    for name, value in one.network.state_dict().items():
        assert value.equal(two.network.state_dict()[name])


def test_planes_of_several_sizes_teach_together():
    planes = [blobs(0), blobs(1, side=40)[:, :31], blobs(2)[:20]]
    denoiser = small(Context2d(12)).pretrain(planes, LAW, passes=Passes(epochs=1))
    assert denoiser.denoise(planes[1], LAW).shape == (40, 31)


def test_reads_teach_with_their_ends():
    law = Channel.symmetric(4, 0.1)
    reads = np.tile(markov(50, symbols=4, flip=0.5), 40)
    seen = noisy(reads, law)
    denoiser = small(Context1d(5), symbols=4)
    lengths, passes = [50] * 40, Passes(epochs=40, learning_rate=1e-2, batch=128)
    found = denoiser.adapt(seen, law, lengths=lengths, passes=passes).denoise(seen, law, lengths=lengths)
    assert (found != reads).mean() < 0.4 * (seen != reads).mean()


@pytest.mark.parametrize("head", ["factorised", "posterior"])
def test_four_symbols(head):
    clean = markov(20_000, symbols=4, flip=0.1)
    law = Channel.symmetric(4, 0.1)
    seen = noisy(clean, law)
    denoiser = small(Context1d(2), symbols=4, head=head, hidden=32)
    found = denoiser.adapt(seen, law, passes=Passes(epochs=12, learning_rate=5e-3)).denoise(seen, law)
    assert (found != clean).mean() < 0.75 * (seen != clean).mean()


def test_estimates_are_of_use():
    clean = markov(20_000)
    seen = noisy(clean)
    denoiser = small(Context1d(3))
    other = denoiser.adapt(seen, LAW, passes=QUICK)
    true = (other.denoise(seen, LAW) != clean).mean()
    assert denoiser.estimated_loss(seen, LAW, passes=QUICK) == pytest.approx(true, abs=0.012)
    assert other.optimistic_estimate(seen, LAW) == pytest.approx(true, abs=0.015)


def test_what_is_learnt_by_heart_shows():
    """A large network on few symbols: the optimistic estimate believes it, the cross-fitted one does not."""
    clean = markov(1500)
    seen = noisy(clean)
    denoiser, passes = small(Context1d(10), hidden=64), Passes(epochs=60, learning_rate=5e-3, batch=64)
    true = (denoiser.adapt(seen, LAW, passes=passes).denoise(seen, LAW) != clean).mean()
    optimistic = denoiser.adapt(seen, LAW, passes=passes).optimistic_estimate(seen, LAW)
    fitted = denoiser.estimated_loss(seen, LAW, passes=passes)
    assert optimistic < true - 0.05
    assert fitted > true - 0.02


def test_reads_are_judged_by_other_reads():
    law = Channel.symmetric(4, 0.1)
    reads = np.tile(markov(128, symbols=4, flip=0.5), 40)
    seen, lengths = noisy(reads, law), [128] * 40
    denoiser, passes = small(Context1d(4), symbols=4), Passes(epochs=30, learning_rate=1e-2, batch=128)
    true = (
        denoiser.adapt(seen, law, passes=passes, lengths=lengths).denoise(seen, law, lengths=lengths) != reads
    ).mean()
    fitted = denoiser.estimated_loss(seen, law, passes=passes, lengths=lengths)
    assert fitted == pytest.approx(true, abs=0.04)


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
@pytest.mark.parametrize("kind", ["one", "many"])
def test_every_head_learns_from_clean_symbols(head, kind):
    clean = [markov(400, seed=seed, symbols=4, flip=0.1) for seed in range(30)]
    law = Channel.symmetric(4, 0.1)
    draws = law if kind == "one" else blind(0.05, 0.15, symbols=4)
    denoiser = small(Context1d(2), symbols=4, head=head, hidden=32)
    denoiser.pretrain(clean, draws, passes=Passes(epochs=8, learning_rate=5e-3, batch=128))
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


def test_contexts_are_chosen_without_clean_symbols():
    clean = markov(20_000)
    seen = noisy(clean)
    candidates = [Context1d(k) for k in (1, 2, 3, 4, 5, 8)]
    best, found = select_context(seen, LAW, candidates)
    true = {context: (dude(seen, LAW, k=context.half_width).symbols != clean).mean() for context in candidates}
    assert true[best] < 1.06 * min(true.values())
    assert set(found) == set(candidates)
    # The plain estimate of counting falls for the largest.
    plain = {context: dude(seen, LAW, k=context.half_width).estimated_loss for context in candidates}
    assert min(plain, key=plain.get) == Context1d(8)
    slow = noisy(markov(20_000, flip=0.03))
    neural, _ = select_context(slow, LAW, [Context1d(1), Context1d(4)], neural=small, passes=QUICK)
    assert neural == Context1d(4)
    with pytest.raises(ValueError, match="no context to choose from"):
        select_context(seen, LAW, [])


def test_an_unknown_channel_is_found():
    clean = markov(20_000, flip=0.04)
    law = Channel.binary_symmetric(0.12)
    seen = noisy(clean, law)
    found = estimate_channel(small(Context1d(4)), seen, Channel.binary_symmetric(0.3), rounds=4, passes=QUICK)
    assert found.channel.matrix[0, 1] == pytest.approx(0.12, abs=0.04)
    assert found.channel.matrix[1, 0] == pytest.approx(0.12, abs=0.04)
    assert len(found.history) == 5


def test_an_iid_source_is_left_alone_and_no_noise_changes_nothing():
    draws = np.random.default_rng(0)
    clean = draws.integers(0, 2, 20_000)
    seen = noisy(clean)
    found = small(Context1d(3)).adapt(seen, LAW).denoise(seen, LAW)
    assert (found != clean).mean() == pytest.approx((seen != clean).mean(), abs=0.02)
    quiet = Channel.binary_symmetric(0.0)
    line = markov(5000)
    assert (small(Context1d(3)).adapt(line, quiet).denoise(line, quiet) == line).mean() > 0.99


def test_a_model_file_keeps_everything(tmp_path):
    denoiser = small(Context2d(12)).pretrain([blobs(0)], LAW, passes=Passes(epochs=1))
    path = tmp_path / "model.safetensors"
    save_denoiser(denoiser, path, {"names": "01", "rate": 0.1})
    back, notes = load_denoiser(path)
    assert notes == {"names": "01", "rate": 0.1}
    assert (back.symbols, back.context, back.head, back.pretrained) == (2, Context2d(12), "mapping", True)
    plane = noisy(blobs(1))
    assert (back.denoise(plane, LAW) == denoiser.denoise(plane, LAW)).all()
    torch.save({"weights": 1}, tmp_path / "other")
    for name, message in (("other", "not a model of a denoiser, or damaged"), ("none", "no such model file")):
        with pytest.raises(InputError, match=message):
            load_denoiser(tmp_path / name)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match="or damaged"):
        load_denoiser(path)


def test_what_does_not_fit():
    with pytest.raises(ValueError, match="the channel has 4 symbols, the denoiser 2"):
        small().adapt(markov(100), Channel.symmetric(4, 0.1))
    for head in ("factorised", "posterior"):
        denoiser = NeuralDenoiser(3, Context1d(1), head=head, hidden=4, layers=1)
        with pytest.raises(ValueError, match="the channel has 4 symbols, the denoiser 3"):
            denoiser.pretrain([markov(100)], lambda _: Channel.symmetric(4, 0.1))
    with pytest.raises(ValueError, match="symbol 2 at position 1"):
        small().denoise(np.array([0, 2, 1]), LAW)
    with pytest.raises(ValueError, match="nothing to learn from"):
        small().pretrain([], LAW)
    with pytest.raises(ValueError, match="differ in shape"):
        small().pretrain([(markov(10), markov(11))], LAW)
    with pytest.raises(ValueError, match="two dimensions"):
        small(Context2d(4)).denoise(markov(10), LAW)
