"""Training and test images together: what they share, and what names all that a result depends on."""

from dataclasses import replace

import pytest
import torch

from myosotis.data.images import ImageSet
from myosotis.data.sets import content_hash, input_fingerprints, repeated_images, set_fingerprints
from myosotis.engine.errors import InputError


def images(count=6, seed=0):
    pixels = torch.randint(0, 256, (count, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).byte()
    return ImageSet(pixels, torch.arange(count) % 2, tuple(f"{seed}-{n}" for n in range(count)), ("a", "b"))


def test_test_images_that_are_training_images_are_counted():
    train, test = images(), images(seed=1)
    assert repeated_images(train, test) == 0
    mixed = replace(test, images=torch.cat([test.images[:4], train.images[:2]]), labels=1 - test.labels)
    assert repeated_images(train, mixed) == 2
    with pytest.raises(InputError, match="probes.data: every test image is a training image; give other test images"):
        repeated_images(train, replace(test, images=train.images.flip(0)), "probes.data")


CHANGES = {
    "a pixel": lambda one: replace(one, images=one.images.clone().index_fill_(0, torch.tensor([2]), 7)),
    "a label": lambda one: replace(one, labels=torch.tensor([1, 1, 0, 1, 0, 1])),
    "two labels exchanged": lambda one: replace(one, labels=torch.tensor([1, 0, 0, 1, 0, 1])),
    "a name": lambda one: replace(one, names=("other", *one.names[1:])),
    "a class": lambda one: replace(one, classes=("a", "c")),
    "the order": lambda one: one.subset([1, 0, 2, 3, 4, 5]),
    "one less": lambda one: one.subset(range(5)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_told(change):
    known, other = images(), CHANGES[change](images())
    assert content_hash(known, images()) == content_hash(images(), known)
    assert content_hash(other) != content_hash(known)
    assert content_hash(known, other) != content_hash(known, known)
    one, changed = (input_fingerprints({"train": some}, "salt") for some in (known, other))
    assert one.keys() == changed.keys() == {"train images"}
    assert one != changed
    assert input_fingerprints({"train": known}, "other salt") != one


def test_fingerprints_of_sets_do_not_change_with_versions():
    """A run of an earlier version is resumed, and audited again, by these."""
    found = set_fingerprints(images(), images(seed=1), "salt")
    assert found == {
        "train": "152688bc1ebaf8b6737c53a89d0825417d0684340bcabedff0a04626a5849904",
        "test": "a0e81edd6c318046bd5afafc45a69c743d36ca381252088fd16c93ebcccf1cf3",
    }
    every = "".join(sorted(images().digest(place) for place in range(6)))
    assert every == "".join(sorted(labelled.hex() for _, labelled in images().hashes))
