"""Tests of :mod:`myosotis.continual.segmentation.reappearance`."""

import pytest
import torch

from myosotis.continual.segmentation.reappearance import reappearance_report


def test_what_has_been_seen_before(make_stream):
    for kind, share in (("overlapped", 1.0), ("partitioned", 0.0), ("disjoint", 0.0), ("sequential", 0.0)):
        found = make_stream(kind).reappearance
        assert found.seen_old_pixels == [None, share, share]
        assert found.seen_images[0] == 0
        assert (found.repeated_images > 0) == (kind == "overlapped")
        assert (found.future_pixels[0] > 0) == (kind in ("overlapped", "partitioned"))


def test_reappearance_by_hand():
    areas = torch.zeros(3, 256, dtype=torch.long)
    areas[0, 1], areas[0, 2] = 10, 4
    areas[1, 2] = 6
    areas[2, 1], areas[2, 2] = 3, 2
    # "a" comes twice; "c" shows an old class in a task that is its first.
    found = reappearance_report([["a"], ["a", "b", "c"]], ["a", "b", "c"], areas, [[1], [2]])
    assert found.images == [1, 3]
    assert found.repeated_images == pytest.approx(1 / 3)
    assert found.seen_images == [0, pytest.approx(1 / 3)]
    assert found.old_pixels == [0, 13]
    assert found.seen_old_pixels == [None, pytest.approx(10 / 13)]
    assert found.future_pixels == [4, 0]
