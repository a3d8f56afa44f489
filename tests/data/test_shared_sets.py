"""Image sets in memory that processes share."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from myosotis.data.images import ImageSet
from myosotis.data.sets import content_hash
from myosotis.data.shared_sets import SharedSets, can_share

needs_memory = pytest.mark.skipif(not can_share(), reason="this system has no such memory")


def image_set(count, seed=0, **options):
    stream = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, 5, 7), generator=stream).to(torch.uint8)
    labels = torch.arange(count) % 2
    return ImageSet(images, labels, tuple(f"caf\udce9 {number}" for number in range(count)), ("x", "y"), **options)


@needs_memory
def test_sets_are_what_was_put_in():
    given = [
        image_set(4, skipped=("broken.png",), files=tuple(Path(f"/images/{number}\udce9.png") for number in range(4))),
        image_set(1, seed=1),
        image_set(0),
    ]
    shared = SharedSets(given)
    for one, other in zip(given, shared.sets(), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
        assert (one.images.dtype, one.labels.dtype) == (other.images.dtype, other.labels.dtype)
        assert (one.names, one.classes, one.skipped, one.files) == (
            other.names,
            other.classes,
            other.skipped,
            other.files,
        )
        assert content_hash(one) == content_hash(other)
    assert SharedSets([]).sets() == []


@needs_memory
def test_views_and_mapped_files_can_be_shared(tmp_path):
    whole = image_set(6)
    np.save(tmp_path / "images.npy", whole.images.numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "images.npy", mmap_mode="c"))
    for images in (whole.images.permute(0, 1, 3, 2), whole.images[::2], mapped):
        given = ImageSet(images, torch.zeros(len(images)).long(), tuple(map(str, range(len(images)))), ("x",))
        (found,) = SharedSets([given]).sets()
        assert torch.equal(found.images, images)


@needs_memory
def test_no_process_can_change_what_the_others_see():
    shared = SharedSets([image_set(2)])
    (one,) = shared.sets()
    one.images.zero_()
    one.labels.fill_(9)
    (other,) = shared.sets()
    assert torch.equal(other.images, image_set(2).images)
    assert torch.equal(other.labels, image_set(2).labels)
    for change in (lambda: os.pwrite(shared._descriptor, b"x", 0), lambda: os.ftruncate(shared._descriptor, 1)):
        with pytest.raises(PermissionError):
            change()


@needs_memory
def test_sets_outlive_the_handle_whose_memory_is_given_back():
    shared = SharedSets([image_set(3)])
    descriptor = shared._descriptor
    (found,) = shared.sets()
    del shared
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert torch.equal(found.images, image_set(3).images)


def test_where_the_memory_is_missing_or_forbidden_nothing_is_shared(monkeypatch):
    """A hardened kernel refuses it (``vm.memfd_noexec=2``), other systems do not know it."""

    def refused(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "memfd_create", refused, raising=False)
    assert not can_share()
    monkeypatch.delattr(os, "memfd_create")
    assert not can_share()


@needs_memory
def test_labels_lie_where_their_type_may():
    """They began at any byte, which other processors than x86 read slowly or not at all."""
    given = [ImageSet(torch.zeros(n, 1, 3, 3, dtype=torch.uint8), torch.arange(n), ("x",) * n, ("a",)) for n in (1, 5)]
    for one in SharedSets(given).sets():
        assert one.labels.data_ptr() % 64 == one.images.data_ptr() % 64 == 0
