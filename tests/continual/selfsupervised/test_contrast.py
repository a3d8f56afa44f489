"""Tests of :mod:`myosotis.continual.selfsupervised.contrast`."""

from collections import deque

import pytest
import torch
from hypothesis import given, settings, strategies as st

from myosotis.continual.selfsupervised.contrast import EmbeddingQueue


@settings(deadline=None)
@given(st.integers(1, 9), st.lists(st.integers(1, 9), max_size=12))
def test_a_queue_holds_the_last_rows(size, counts):
    queue, oracle, number = EmbeddingQueue(size, 1), deque(maxlen=size), 0
    for count in counts:
        numbers = torch.arange(number, number + count).double()
        if count > size:
            with pytest.raises(ValueError, match=f"a batch of {count} does not fit into a queue of {size}"):
                queue.push((numbers[:, None], -numbers[:, None]))
            continue
        number += count
        queue.push((numbers[:, None], -numbers[:, None]), numbers.long())
        oracle.extend(numbers.tolist())
    assert sorted(queue.negatives(0).flatten().tolist()) == sorted(oracle)
    assert sorted((-queue.negatives(1)).flatten().tolist()) == sorted(oracle)
    again = EmbeddingQueue(size, 1)
    again.load_state_dict(queue.state_dict())
    again.push((torch.full((1, 1), -7.0), torch.full((1, 1), 7.0)))
    oracle.append(-7.0)
    assert sorted(again.negatives(0).flatten().tolist()) == sorted(oracle)
    wanted = torch.tensor([0, number + 5])
    same = queue.same(wanted)
    assert same.shape == (2, len(queue))
    assert same[0].sum() == (queue.negatives(0).flatten() == 0).sum()
    assert not same[1].any()


def test_a_queue_is_reset():
    batch = torch.ones(2, 3), torch.ones(2, 3) * 2
    queue = EmbeddingQueue(5, 3)
    queue.push(batch)
    queue.reset("carry")
    assert len(queue) == 2
    queue.reset("random", generator=torch.Generator().manual_seed(0))
    assert len(queue) == 5
    torch.testing.assert_close(queue.negatives(1).norm(dim=1), torch.ones(5))
    queue.reset("empty")
    assert len(queue) == 0
    assert queue.negatives(0).shape == (0, 3)
    asked = []

    def batches():
        for number in range(9):
            asked.append(number)
            yield batch, torch.tensor([number, number])

    queue.reset("refill", batches())
    assert len(queue) == 5
    assert asked == [0, 1, 2]
    assert sorted(queue.samples.tolist()) == [0, 1, 1, 2, 2]
    queue.reset("refill", [(batch, None)])
    assert len(queue) == 2
    with pytest.raises(ValueError, match="must be positive"):
        EmbeddingQueue(0, 3)
