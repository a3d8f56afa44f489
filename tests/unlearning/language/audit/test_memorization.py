"""Memorisation accuracy and extraction likelihood against closed forms and the naive definition."""

from types import SimpleNamespace

import pytest
import torch

from myosotis.unlearning.language import (
    Thresholds,
    calibrate_thresholds,
    extraction_likelihood,
    memorization_accuracy,
    memorization_by_n,
)
from myosotis.unlearning.language.audit.greedy import GreedyPass
from myosotis.unlearning.language.audit.memorization import _sampled, affordable_prefixes


class TableModel(torch.nn.Module):
    """Predicts the next token from the last one by a table; has no cache and takes nothing but ids."""

    def __init__(self, successor):
        super().__init__()
        size = max(*successor.keys(), *successor.values()) + 1
        self.table = torch.zeros(size, size)
        for token, following in successor.items():
            self.table[token, following] = 1.0

    def forward(self, input_ids):
        return SimpleNamespace(logits=self.table[input_ids])


class Memoriser(torch.nn.Module):
    """Knows one sequence by heart, position by position."""

    def __init__(self, sequence):
        super().__init__()
        self.sequence = sequence

    def forward(self, input_ids):
        following = torch.cat([self.sequence[1:], self.sequence.new_zeros(1)])
        logits = torch.nn.functional.one_hot(following, int(self.sequence.max()) + 1).float()
        return logits[: input_ids.shape[1]].expand(len(input_ids), -1, -1)


def naive(model, sequence, n):
    """The definition, prefix by prefix and token by token."""
    total = 0.0
    for start in range(1, len(sequence) - n + 1):
        ids = sequence[:start]
        while len(ids) < len(sequence):
            output = model(input_ids=ids.unsqueeze(0))
            logits = output if isinstance(output, torch.Tensor) else output.logits
            ids = torch.cat([ids, logits[0, -1].argmax().view(1)])
        generated, truth = ids[start:].tolist(), sequence[start:].tolist()
        known = {tuple(truth[i : i + n]) for i in range(len(truth) - n + 1)}
        grams = [tuple(generated[i : i + n]) for i in range(len(generated) - n + 1)]
        total += sum(gram in known for gram in grams) / len(grams)
    return total / (len(sequence) - n)


def test_perfect_memoriser_needs_no_rollout():
    sequence = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3])
    model = Memoriser(sequence)
    for n in (1, 3, 9):
        assert extraction_likelihood(model, [sequence], n).item() == 1
    assert memorization_accuracy(model, [sequence]).item() == 1
    greedy = GreedyPass(model, [sequence])
    greedy.continuations([(0, start, 10 - start) for start in range(1, 10)])
    assert greedy.generated == 0


@pytest.mark.parametrize(
    ("successor", "sequence", "likelihoods", "accuracy"),
    [
        (dict.fromkeys(range(10), 1), [3, 1, 4, 1, 5, 9, 2, 6, 5, 3], (1 / 3, 0, 0), 2 / 9),
        ({0: 1, 1: 2, 2: 0, 3: 0}, [0, 1, 2, 0, 1, 3], (0.6333333, 0.5416667, 0.3888889), 0.8),
        ({7: 7, 8: 8}, [7, 7, 8, 7, 7, 8], (0.8, 0.5, 0), 0.4),
    ],
)
def test_closed_forms(successor, sequence, likelihoods, accuracy):
    model, ids = TableModel(successor), torch.tensor(sequence)
    for n, value in enumerate(likelihoods, 1):
        assert extraction_likelihood(model, [ids], n).item() == pytest.approx(value, abs=1e-6)
    assert memorization_accuracy(model, [ids]).item() == pytest.approx(accuracy)


@pytest.mark.parametrize("n", [2, 5])
def test_fast_equals_naive_on_random_markov_models(n):
    stream = torch.Generator().manual_seed(n)
    for _ in range(40):
        size = int(torch.randint(3, 8, (1,), generator=stream))
        successor = dict(enumerate(torch.randint(size, (size,), generator=stream).tolist()))
        # Follow the model's own choice often, so that there is something to extract.
        sequence = [0]
        for _ in range(15):
            follow = torch.rand((), generator=stream) < 0.7
            other = int(torch.randint(size, (1,), generator=stream))
            sequence.append(successor[sequence[-1]] if follow else other)
        model, ids = TableModel(successor), torch.tensor(sequence)
        assert extraction_likelihood(model, [ids], n).item() == pytest.approx(naive(model, ids, n), abs=1e-6)


@pytest.mark.parametrize("make", ["llama", "gpt2"], indirect=True)
def test_fast_equals_naive_on_transformers_whatever_the_batch(make):
    model = make(vocab=12)
    stream = torch.Generator().manual_seed(0)
    sequences = [torch.randint(12, (length,), generator=stream) for length in (9, 14, 6, 14)]
    # Let half of a sequence be the model's own words.
    own = model.generate(sequences[0][:3].unsqueeze(0), max_new_tokens=6, do_sample=False, eos_token_id=None)
    sequences[0] = torch.cat([own[0], sequences[0][:2]])
    together = extraction_likelihood(model, sequences, 2, batch_size=4)
    alone = torch.cat([extraction_likelihood(model, [sequence], 2) for sequence in sequences])
    torch.testing.assert_close(together, alone)
    expected = torch.tensor([naive(model, sequence, 2) for sequence in sequences])
    torch.testing.assert_close(together, expected)
    assert expected.max() > 0
    assert GreedyPass(model, sequences)._cache is not None


def test_teacher_forced_accuracy_is_that_of_greedy_generation(tiny_model):
    sequence = torch.randint(300, (9,), generator=torch.Generator().manual_seed(2))
    right = 0
    for start in range(1, 9):
        answer = tiny_model.generate(sequence[:start].unsqueeze(0), max_new_tokens=1, do_sample=False)
        right += int(answer[0, -1] == sequence[start])
    assert memorization_accuracy(tiny_model, [sequence]).item() == pytest.approx(right / 8)


def test_likelihood_does_not_grow_with_n():
    model, ids = TableModel({0: 1, 1: 2, 2: 0, 3: 0}), torch.tensor([0, 1, 2, 0, 1, 3])
    values = [extraction_likelihood(model, [ids], n).item() for n in (1, 2, 3, 4)]
    assert values == sorted(values, reverse=True)


def test_a_sample_of_prefixes_estimates_the_exact_value_without_bias():
    """Over all starts that a sequence could draw, the mean of the estimates is the mean over all prefixes."""
    values = torch.rand(23, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for prefixes in (1, 4, 7, 22):
        shares = torch.zeros(23, dtype=torch.float64)
        draws = 4000
        for draw in range(draws):
            sequence = torch.tensor([draw, 1, 2])
            chosen = _sampled(sequence, 1, 23, prefixes)
            assert len(set(chosen)) == prefixes
            assert 1 <= min(chosen) <= max(chosen) <= 23
            shares[torch.tensor(chosen) - 1] += 1 / prefixes / draws
        # Five standard errors of a binomial share.
        assert (shares - 1 / 23).abs().max() < 5 * (prefixes / 23 / draws) ** 0.5 / prefixes
        assert (shares * values).sum() == pytest.approx(values.mean().item(), abs=0.02)


def test_a_sample_of_all_prefixes_is_exact_and_a_smaller_one_costs_less(tiny_model):
    sequences = [torch.randint(300, (20,), generator=torch.Generator().manual_seed(seed)) for seed in range(6)]
    exact = extraction_likelihood(tiny_model, sequences, 2)
    torch.testing.assert_close(extraction_likelihood(tiny_model, sequences, 2, prefixes=18), exact)
    torch.testing.assert_close(extraction_likelihood(tiny_model, sequences, 2, prefixes=500), exact)
    some = extraction_likelihood(tiny_model, sequences, 2, prefixes=3)
    # The same prefixes whatever the batch and its order.
    alone = torch.cat([extraction_likelihood(tiny_model, [row], 2, prefixes=3) for row in reversed(sequences)]).flip(0)
    torch.testing.assert_close(some, alone)
    with pytest.raises(ValueError, match="at least 1"):
        extraction_likelihood(tiny_model, sequences, 2, prefixes=0)


def test_an_affordable_sample_stays_within_its_budget():
    sequences = [torch.arange(length) for length in (12, 40, 90, 5)]
    starts = [3, 8, 30, 1]
    for budget in (50, 300, 1500):
        prefixes = affordable_prefixes(sequences, starts, 3, budget)
        # What a model costs that knows nothing: each prefix is rolled out to the end.
        spent = sum(
            len(sequence) - length
            for sequence, start in zip(sequences, starts, strict=True)
            for length in _sampled(sequence, start, len(sequence) - 3, prefixes)
        )
        assert spent <= 1.3 * budget
        assert prefixes is not None
    assert affordable_prefixes(sequences, starts, 3, 10**6) is None
    assert affordable_prefixes(sequences, starts, 3, 1) == 1
    assert affordable_prefixes([], [], 3, 10) is None


def test_bad_sequences_are_refused(llama):
    with pytest.raises(ValueError, match="needs at least 10"):
        extraction_likelihood(llama, [torch.arange(10)])
    with pytest.raises(ValueError, match="no sequence"):
        memorization_accuracy(llama, [])


def test_mode_is_restored(llama):
    llama.train()
    llama.model.layers[0].eval()
    memorization_accuracy(llama, [torch.arange(5)])
    assert llama.training
    assert not llama.model.layers[0].training


def test_thresholds_are_the_means_and_refuse_another_n_or_length(llama):
    unseen = [torch.randint(300, (12,), generator=torch.Generator().manual_seed(seed)) for seed in range(5)]
    thresholds = calibrate_thresholds(llama, unseen, n=3)
    assert thresholds.memorization_accuracy == pytest.approx(memorization_accuracy(llama, unseen).mean().item())
    assert thresholds.extraction_likelihood == pytest.approx(extraction_likelihood(llama, unseen, 3).mean().item())
    assert (thresholds.n, thresholds.length, thresholds.lengths, thresholds.count) == (3, 12, (12, 12), 5)
    thresholds.check_comparable(unseen, 3)
    with pytest.raises(ValueError, match="n=3"):
        thresholds.check_comparable(unseen, 4)
    with pytest.raises(ValueError, match="12 tokens"):
        thresholds.check_comparable([torch.arange(13)], 3)
    with pytest.raises(ValueError, match="one of 4"):
        # The mean is 12, the lengths are not.
        thresholds.check_comparable([torch.arange(4), torch.arange(20)], 3)
    with pytest.raises(ValueError, match="one of 9"):
        thresholds.check_comparable(unseen, 3, starts=[4] * 5)


def six_tokens(likelihood, accuracy):
    return Thresholds(likelihood, accuracy, 1, 6.0, (6, 6), 2, 0.0, 0.0)


def test_forgotten_is_at_or_below_the_thresholds():
    thresholds = six_tokens(0.5, 0.5)
    assert thresholds.forgotten(torch.tensor([0.4, 0.5]), torch.tensor([0.2, 0.6]))
    assert thresholds.forgotten(torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5]))
    assert not thresholds.forgotten(torch.tensor([0.5, 0.51]), torch.tensor([0.2, 0.2]))
    assert not thresholds.forgotten(torch.tensor([0.2, 0.2]), torch.tensor([0.5, 0.51]))
    # The mean of float32 thirds is not the third of float64; a threshold of 0 is met by 0.
    assert six_tokens(1 / 3, 1 / 3).forgotten(torch.full((3,), 1 / 3), torch.tensor([0.0, 0.0, 1.0]))
    assert six_tokens(0.0, 0.0).forgotten(torch.zeros(2), torch.zeros(2))
    model = TableModel({7: 7, 8: 8})
    sequences = [torch.tensor([7, 7, 8, 7, 7, 8]), torch.tensor([8, 7, 0, 1, 2, 3])]
    assert six_tokens(0.8, 0.4).forgotten_each(model, sequences) == [True, True]
    assert six_tokens(0.79, 0.4).forgotten_each(model, sequences) == [False, True]


def test_starts_measure_the_answer_alone():
    # The question 7, 8 cannot be predicted; the answer 0, 1, 2 is the model's own.
    model = TableModel({7: 7, 8: 0, 0: 1, 1: 2, 2: 0})
    ids = torch.tensor([7, 8, 0, 1, 2])
    assert memorization_accuracy(model, [ids]).item() == pytest.approx(3 / 4)
    assert memorization_accuracy(model, [ids], starts=[2]).item() == 1
    assert extraction_likelihood(model, [ids], 2, starts=[2]).item() == 1
    assert extraction_likelihood(model, [ids], 2).item() < 1
    with pytest.raises(ValueError, match="2 of them prompt"):
        extraction_likelihood(model, [ids], 4, starts=[2])
    with pytest.raises(ValueError, match="one position"):
        extraction_likelihood(model, [ids], 2, starts=[0])


def test_further_n_are_measured_from_prefixes_of_their_own(llama):
    stream = torch.Generator().manual_seed(3)
    texts = [torch.randint(300, (length,), generator=stream) for length in (14, 11, 12)]
    for prefixes in (None, 1, 2, 4):
        _, together = memorization_by_n(llama, texts, (10, 3, 5), prefixes=prefixes)
        for n, values in together.items():
            assert not values.isnan().any()
            assert torch.equal(values, memorization_by_n(llama, texts, (n,), prefixes=prefixes)[1][n])
