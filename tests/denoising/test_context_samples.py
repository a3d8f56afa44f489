"""The contexts that a network learns from noisy symbols."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import torch

from myosotis.denoising.channel import Channel
from myosotis.denoising.context_samples import context_samples, sorted_sample
from myosotis.denoising.contexts import Context1d, Context2d, make_field
from myosotis.engine.seeding import derive_seed

LAW = Channel.binary_symmetric(0.1)


@pytest.mark.parametrize("head", ["mapping", "factorised", "posterior"])
def test_counted_contexts_have_the_loss_and_the_gradient_of_all_symbols(markov, noisy, small, head, monkeypatch):
    seen = noisy(markov(5000))
    gradients = []
    for threshold in (0.0, 1.1):
        monkeypatch.setattr("myosotis.denoising.context_samples._DEDUPLICATE", threshold)
        denoiser = small(Context1d(3), head=head)
        denoiser.network.double()
        learnt = context_samples(seen, Context1d(3), 2)
        every = np.arange(len(learnt.field))
        assert (learnt.counts is None) == (threshold == 0)
        counts = learnt.weights(every)
        values = denoiser._head(LAW).adaptive(denoiser.network(learnt.windows(every)))
        loss = (values * counts).sum() / counts.sum()
        loss.backward()
        gradients.append((loss.item(), [weight.grad.clone() for weight in denoiser.network.parameters()]))
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-12)
    for one, other in zip(gradients[0][1], gradients[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-9)


def test_few_contexts_are_counted_and_many_are_not(markov, noisy):
    seen = noisy(markov(5000))
    counted = context_samples(seen, Context1d(3), 2)
    assert len(counted.field) < 200
    assert counted.counts.sum() == counted.total == 5000
    single = context_samples(seen, Context1d(30), 2)
    assert single.counts is None
    assert single.total == 5000


@pytest.mark.parametrize(
    ("context", "shape", "lengths"),
    [(Context1d(3), 600, None), (Context1d(2), 600, [1, 99, 500]), (Context2d(12), (20, 30), None)],
)
def test_a_sample_has_the_contexts_of_the_whole(noisy, context, shape, lengths, monkeypatch):
    seen = noisy(np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8))
    monkeypatch.setattr("myosotis.denoising.context_samples._DEDUPLICATE", 0.0)
    monkeypatch.setattr("myosotis.denoising.context_samples._MAX_SAMPLES", 50)
    whole = make_field(seen, context, 2, lengths=lengths).windows()
    for chosen in (None, np.arange(0, 600, 4)):
        learnt = context_samples(seen, context, 2, lengths=lengths, chosen=chosen)
        draws = np.random.default_rng(derive_seed(0, "sample"))
        sample = sorted_sample(600 if chosen is None else 150, 50, draws)
        places = sample if chosen is None else chosen[sample]
        assert learnt.windows(np.arange(50)).tolist() == whole[places].tolist()
        assert learnt.symbols.tolist() == seen.ravel()[places].tolist()


@pytest.mark.parametrize(
    ("context", "shape", "lengths"),
    [(Context1d(1), 600, None), (Context1d(2), 600, [1, 99, 500]), (Context2d(4), (20, 30), None)],
)
@pytest.mark.parametrize("chosen", [None, np.arange(1, 600, 3), np.arange(599, dtype=np.int32)])
def test_counts_are_those_of_a_dictionary(noisy, context, shape, lengths, chosen, monkeypatch):
    """Contexts in the order of their symbols, with the first index of each, whatever the parts they are counted in."""
    monkeypatch.setattr("myosotis.denoising.context_samples._DEDUPLICATE", 1.1)
    monkeypatch.setattr("myosotis.denoising.context_samples._SMALLEST", 7)
    seen = noisy(np.random.default_rng(0).integers(0, 2, shape).astype(np.uint8))
    windows = make_field(seen, context, 2, lengths=lengths).windows().tolist()
    counts, first = {}, {}
    for index in range(600) if chosen is None else chosen.tolist():
        counts.setdefault(tuple(windows[index]), [0, 0])[seen.ravel()[index]] += 1
        first.setdefault(tuple(windows[index]), index)
    learnt = context_samples(seen, context, 2, lengths=lengths, chosen=chosen)
    assert learnt.counts.tolist() == [counts[key] for key in sorted(counts)]
    assert np.asarray(learnt.field.chosen).tolist() == [first[key] for key in sorted(first)]
    assert [tuple(row) for row in learnt.windows(np.arange(len(counts))).tolist()] == sorted(counts)


@pytest.mark.parametrize("kind", ["all differ", "many are equal", "sequences", "plane"])
def test_memory_of_contexts(kind):
    """Positions, keys and their order took 76 to 91 bytes for each symbol."""
    count = 1 << 21
    seen = np.random.default_rng(0).integers(0, 4, count).astype(np.uint8)
    context, lengths = Context1d(8), None
    if kind == "many are equal":
        seen = np.tile(seen[: count // 8], 8)
    if kind == "sequences":
        lengths = [128] * (count // 128)
    if kind == "plane":
        seen, context = (seen % 2).reshape(1 << 10, -1), Context2d(20)
    tracemalloc.start()
    context_samples(seen, context, 4, lengths=lengths)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 9 * count


def test_memory_of_a_sample(monkeypatch):
    """Positions and keys of all symbols were made before the sample was drawn: 35 bytes for each, or 78 by keys."""
    monkeypatch.setattr("myosotis.denoising.context_samples._MAX_SAMPLES", 1000)
    seen = np.zeros(2_000_000, dtype=np.uint8)
    tracemalloc.start()
    context_samples(seen, Context1d(8), 2)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * seen.size


@pytest.mark.parametrize(("count", "size"), [(5, 0), (5, 5), (5, 1), (5, 4), (1000, 500), (1000, 999), (0, 0)])
def test_a_sample_has_its_size_in_order_without_repetition(count, size):
    sample = sorted_sample(count, size, np.random.default_rng(0))
    assert len(sample) == size
    assert (np.diff(sample) > 0).all()
    assert all(0 <= number < count for number in sample)


@pytest.mark.parametrize("size", [2, 3])
def test_every_sample_is_as_likely_as_any_other(size):
    draws = np.random.default_rng(0)
    found = Counter(tuple(sorted_sample(5, size, draws).tolist()) for _ in range(20_000))
    assert len(found) == 10
    # The 99.9 % point of chi-squared with nine degrees of freedom.
    assert sum((number - 2000) ** 2 / 2000 for number in found.values()) < 27.9
