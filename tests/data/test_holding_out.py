"""Sets that are split into training and test images."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image
from pydantic import ValidationError

from myosotis.data.holding_out import HeldOut
from myosotis.data.mask_sources import MaskSourceConfig, read_masks
from myosotis.data.sets import DataConfig, read_sets
from myosotis.data.sources import SourceConfig, read_digits, read_images
from myosotis.engine.errors import InputError


@given(counts=st.lists(st.integers(2, 30), min_size=1, max_size=6), share=st.floats(0.001, 0.999))
def test_every_image_is_on_one_side_and_every_class_on_both(counts, share):
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    names = [f"{label}/{index}" for index, label in enumerate(labels)]
    train, test = (HeldOut(share, split).indices(names, labels, "set") for split in ("train", "test"))
    assert sorted(train + test) == list(range(len(labels)))
    assert {labels[index] for index in train} == {labels[index] for index in test} == set(labels)


def test_the_draw_depends_on_names_alone():
    names, labels = [f"{index:03d}" for index in range(100)], [index % 2 for index in range(100)]
    drawn = {names[index] for index in HeldOut(0.2, "test").indices(names, labels, "set")}
    backwards = HeldOut(0.2, "test").indices(names[::-1], labels[::-1], "set")
    assert {names[::-1][index] for index in backwards} == drawn
    # Another class moves no image of these.
    more = HeldOut(0.2, "test").indices([*names, "x", "y"], [*labels, 2, 2], "set")
    assert {[*names, "x", "y"][index] for index in more} - {"x", "y"} == drawn


def test_a_class_of_one_image_cannot_be_split():
    with pytest.raises(InputError, match=r"set: b is the only image of its class"):
        HeldOut(0.5, "train").indices(["a", "b", "c"], [0, 1, 0], "set")


@pytest.fixture
def folder(tmp_path):
    for name in ("ash", "birch"):
        (tmp_path / name).mkdir()
        for index in range(10):
            pixels = np.random.default_rng(index).integers(0, 255, (6, 6), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


def test_a_folder_is_both_training_and_test_set(folder):
    data = DataConfig(
        train={"folder": str(folder), "held_out": 0.2}, test={"folder": str(folder), "held_out": 0.2, "split": "test"}
    )
    train, test = read_sets(data)
    assert (len(train), len(test)) == (16, 4)
    assert not set(train.names) & set(test.names)
    assert torch_counts(test) == [2, 2]


def torch_counts(images):
    return images.labels.bincount().tolist()


def test_unlabelled_images_are_split_too(folder):
    test = read_images(SourceConfig(images=str(folder), held_out=0.25, split="test"))
    assert len(test) == 5


def test_arrays_are_split_too(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, images=np.zeros((10, 4, 4), np.uint8), labels=np.arange(10) % 2)
    assert len(read_images(SourceConfig(arrays=str(path), held_out=0.4, split="test"))) == 4


def test_digits_come_with_a_split():
    train, test = (read_images(SourceConfig(packaged="digits", split=split)) for split in ("train", "test"))
    assert len(train) + len(test) == len(read_digits()) == 1797
    assert torch_counts(test) == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    assert train.images.shape[1:] == (1, 8, 8)
    assert int(train.images.max()) == 255


def test_a_source_says_its_split_only_where_it_has_one(folder):
    assert SourceConfig(folder=str(folder)).split is None
    assert SourceConfig(folder=str(folder), held_out=0.1).split == "train"
    assert SourceConfig(packaged="digits").split == "train"
    assert SourceConfig(idx=str(folder)).split == "train"


def test_a_split_of_a_plain_folder_is_refused(folder):
    with pytest.raises(ValidationError, match="or give 'held_out'"):
        SourceConfig(folder=str(folder), split="test")
    with pytest.raises(ValidationError, match="'idx' has a 'split: test' of its own"):
        SourceConfig(idx=str(folder), held_out=0.1)


@pytest.fixture
def masked(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(10):
        Image.fromarray(np.full((8, 8), index, np.uint8)).save(tmp_path / "images" / f"{index}.png")
        Image.fromarray(np.full((8, 8), index % 3, np.uint8)).save(tmp_path / "masks" / f"{index}.png")
    return {"images": str(tmp_path / "images"), "masks": str(tmp_path / "masks"), "classes": ("a", "b")}


def test_masks_are_split_with_their_images(masked):
    train, test = (read_masks(MaskSourceConfig(**masked, held_out=0.3, split=split)) for split in ("train", "test"))
    assert (len(train), len(test)) == (7, 3)
    assert not set(train.names) & set(test.names)


def test_masks_have_no_split_without_a_share(masked):
    with pytest.raises(ValidationError, match="or give 'held_out'"):
        MaskSourceConfig(**masked, split="test")
    with pytest.raises(ValidationError, match="makes the splits train and test, not 'val'"):
        MaskSourceConfig(**masked, held_out=0.3, split="val")
    with pytest.raises(ValidationError, match="'held_out' belongs to 'images' and 'masks'"):
        MaskSourceConfig(camvid=masked["images"], held_out=0.3)
