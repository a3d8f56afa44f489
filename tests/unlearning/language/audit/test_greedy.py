"""Greedy continuations from one teacher-forced pass."""

import pytest
import torch

from myosotis.unlearning.language.audit.greedy import GreedyPass


def test_rollouts_without_a_cache_equal_those_with_one(tiny_llama):
    model = tiny_llama(vocab=12)
    sequences = [torch.randint(12, (length,), generator=torch.Generator().manual_seed(length)) for length in (8, 11)]
    starts = [(0, 2, 9), (1, 1, 10), (1, 7, 12)]
    with_cache, without = GreedyPass(model, sequences), GreedyPass(model, sequences)
    without._cache = None
    with torch.no_grad():
        assert with_cache.continuations(starts) == without.continuations(starts)


@pytest.mark.parametrize("slices", [True, False])
def test_ranks_count_what_is_likelier_than_the_true_next_token(slices, llama, monkeypatch):
    if not slices:
        monkeypatch.setattr("myosotis.unlearning.language.audit.greedy.takes_positions", lambda _: False)
    sequences = [torch.randint(300, (length,), generator=torch.Generator().manual_seed(length)) for length in (10, 7)]
    with torch.no_grad():
        greedy = GreedyPass(llama, sequences, [4, 2], batch_size=2)
        for sequence, start, ranks in zip(sequences, (4, 2), greedy.ranks, strict=True):
            order = llama(sequence[None]).logits[0].argsort(dim=-1, descending=True).tolist()
            expected = [order[at].index(token) for at, token in enumerate(sequence[1:].tolist())]
            assert ranks == [-1] * (start - 1) + expected[start - 1 :]


def test_continuations_are_those_of_generate(llama):
    sequence = torch.randint(300, (10,), generator=torch.Generator().manual_seed(1))
    answer = llama.generate(sequence[:4].unsqueeze(0), max_new_tokens=12, do_sample=False, eos_token_id=None)
    with torch.no_grad():
        assert GreedyPass(llama, [sequence]).continuations([(0, 4, 12)]) == [answer[0, 4:].tolist()]


@pytest.mark.parametrize("cached", [True, False])
def test_a_continuation_ends_with_the_end_token(cached, tiny_llama):
    model = tiny_llama(vocab=12)
    sequence = torch.randint(12, (10,), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = GreedyPass(model, [sequence]).continuations([(0, 4, 20)])[0]
        for end in set(whole):
            greedy = GreedyPass(model, [sequence])
            greedy._cache = greedy._cache if cached else None
            assert greedy.continuations([(0, 4, 20)], frozenset({end})) == [whole[: whole.index(end) + 1]]
