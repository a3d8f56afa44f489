"""Tests of :mod:`myosotis.pretraining.packing`."""

import torch
from hypothesis import given, settings, strategies as st

from myosotis.pretraining.packing import packing


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 3))
def test_sequences_come_back_and_read_themselves_alone(counts, spare):
    lengths, length = torch.tensor(counts), max(counts) + spare
    tokens = torch.arange(len(counts) * length).view(len(counts), length, 1).float() + 1
    packed = packing(lengths, length)
    rows = packed.pack(tokens)
    assert len(rows) == (len(counts) + 1) // 2
    longest_first = sorted(counts, reverse=True)
    paired = longest_first[len(counts) % 2 :]
    sums = [one + other for one, other in zip(paired, paired[::-1], strict=True)]
    assert rows.shape[1] == max(longest_first[: len(counts) % 2] + sums)
    back = packed.unpack(rows)
    owner = ((rows - 1) // length).squeeze(-1)
    for number, count in enumerate(counts):
        assert torch.equal(back[number, :count], tokens[number, :count])
    for row, attends in enumerate(packed.attends[:, 0]):
        assert bool(attends.diagonal().all())  # padding too: a softmax over nothing would not be finite
        for place in packed.give.flatten().unique().tolist():
            if place // rows.shape[1] == row:
                column = place % rows.shape[1]
                read = owner[row, attends[column]]
                assert bool((read == owner[row, column]).all())
                assert len(read) == counts[int(owner[row, column])]
