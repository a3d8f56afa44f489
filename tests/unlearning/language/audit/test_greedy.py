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
