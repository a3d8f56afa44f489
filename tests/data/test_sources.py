"""Where labelled images come from."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from myosotis.data.image_folders import read_image_folder
from myosotis.data.sources import SourceConfig, read_arrays, read_cifar, read_datasets, read_images
from myosotis.engine.errors import InputError

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)


def cifar(place, kind):
    place.mkdir()
    if kind == "cifar-10":
        rows = [
            np.concatenate([[label], image.ravel()]).astype(np.uint8)
            for label, image in zip([1, 0, 1, 0], PIXELS, strict=True)
        ]
        for number in range(1, 6):
            (place / f"data_batch_{number}.bin").write_bytes(rows[number % 4].tobytes())
        (place / "test_batch.bin").write_bytes(b"".join(row.tobytes() for row in rows))
        (place / "batches.meta.txt").write_text("cat\ndog\n\n")
    else:
        rows = [
            np.concatenate([[7, label], image.ravel()]).astype(np.uint8)
            for label, image in zip([1, 0, 1, 0], PIXELS, strict=True)
        ]
        (place / "train.bin").write_bytes(b"".join(row.tobytes() for row in rows))
        (place / "test.bin").write_bytes(rows[0].tobytes())
        (place / "fine_label_names.txt").write_text("apple\nbear\n")


@pytest.mark.parametrize("kind", ["cifar-10", "cifar-100"])
def test_binary_cifar(kind, tmp_path):
    cifar(tmp_path / kind, kind)
    split, other = ("test", "train") if kind == "cifar-10" else ("train", "test")
    found = read_images(SourceConfig(cifar=str(tmp_path / kind), split=split))
    assert found.images.numpy().tolist() == PIXELS.tolist()
    assert found.labels.tolist() == [1, 0, 1, 0]
    assert found.classes == (("cat", "dog") if kind == "cifar-10" else ("apple", "bear"))
    assert len(read_cifar(tmp_path / kind, other)) == (5 if kind == "cifar-10" else 1)


def test_damaged_cifar(tmp_path):
    with pytest.raises(InputError, match="it is not a binary CIFAR"):
        read_cifar(tmp_path, "train")
    cifar(tmp_path / "c", "cifar-100")
    (tmp_path / "c" / "train.bin").write_bytes(b"123")
    with pytest.raises(InputError, match="is damaged"):
        read_cifar(tmp_path / "c", "train")
    (tmp_path / "c" / "train.bin").unlink()
    with pytest.raises(InputError, match="no such file"):
        read_cifar(tmp_path / "c", "train")


def test_arrays(tmp_path):
    grey, colour = tmp_path / "grey.npz", tmp_path / "colour.npz"
    np.savez(grey, images=PIXELS[:, 0], labels=np.array([0, 2, 1, 0]))
    np.savez(colour, images=PIXELS.transpose(0, 2, 3, 1), labels=np.array([0, 2, 1, 0], np.uint8))
    assert read_arrays(grey).images.numpy().tolist() == PIXELS[:, :1].tolist()
    found = read_images(SourceConfig(arrays=str(colour), classes=("a", "b", "c")))
    assert found.images.numpy().tolist() == PIXELS.tolist()
    assert (found.classes, found.names[0]) == (("a", "b", "c"), "colour-00000")
    for content, message in (
        ({"images": PIXELS[:, 0]}, "holds no 'labels'"),
        ({"images": PIXELS[:, 0].astype(float), "labels": np.zeros(4, int)}, "must be bytes"),
        ({"images": PIXELS[:, 0], "labels": np.zeros(3, int)}, "must be 4 integers"),
        ({"images": PIXELS[:, 0], "labels": np.array([0, -1, 0, 0])}, "image 1 has the label -1"),
    ):
        np.savez(grey, **content)
        with pytest.raises(InputError, match=message):
            read_arrays(grey)
    (tmp_path / "text.npz").write_text("no arrays")
    with pytest.raises(InputError, match="cannot be read"):
        read_arrays(tmp_path / "text.npz")
    whole = colour.read_bytes()
    (tmp_path / "torn.npz").write_bytes(whole[: len(whole) // 2])
    np.save(tmp_path / "single.npy", PIXELS)
    (tmp_path / "single.npy").rename(tmp_path / "single.npz")
    for name in ("torn", "single"):
        with pytest.raises(InputError, match="cannot be read"):
            read_arrays(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "first.npz", images=PIXELS, labels=np.zeros(4, int))
    with pytest.raises(InputError, match="1 or 3 channels, in the last dimension"):
        read_arrays(tmp_path / "first.npz")
    np.savez(tmp_path / "object.npz", images=PIXELS[:, 0], labels=np.array([{}, 1, 2, 3], dtype=object))
    with pytest.raises(InputError, match="cannot be read"):
        read_arrays(tmp_path / "object.npz")
    with pytest.raises(InputError, match="no such file of arrays"):
        read_arrays(tmp_path / "none.npz")


def test_an_image_set_of_datasets(tmp_path):
    import datasets

    pictures = [Image.fromarray(image.transpose(1, 2, 0)) for image in PIXELS]
    features = datasets.Features({"img": datasets.Image(), "y": datasets.ClassLabel(names=["x", "y"])})
    table = datasets.Dataset.from_dict({"img": pictures, "y": [1, 0, 1, 1]}, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    found = read_images(SourceConfig(datasets=str(tmp_path / "saved")))
    assert found.images.numpy().tolist() == PIXELS.tolist()
    assert (found.labels.tolist(), found.classes) == ([1, 0, 1, 1], ("x", "y"))
    datasets.DatasetDict({"train": table}).save_to_disk(str(tmp_path / "dict"))
    assert len(read_datasets(tmp_path / "dict", "train")) == 4
    with pytest.raises(InputError, match="no split 'test'; it has train"):
        read_datasets(tmp_path / "dict", "test")
    with pytest.raises(InputError, match="without splits, so there is no 'test'"):
        read_datasets(tmp_path / "saved", "test")
    (tmp_path / "parquet").mkdir()
    table.to_parquet(str(tmp_path / "parquet" / "train-0.parquet"))
    small = read_datasets(tmp_path / "parquet", "train", size=16)
    assert small.images.shape == (4, 3, 16, 16)
    with pytest.raises(InputError, match="no column 'picture'; it has img, y"):
        read_datasets(tmp_path / "saved", "train", image_column="picture")
    with pytest.raises(InputError, match="no such directory"):
        read_datasets(tmp_path / "none", "train")
    with pytest.raises(InputError, match="cannot be read"):
        read_datasets(tmp_path, "validation")
    words = datasets.Dataset.from_dict({"img": pictures, "kind": ["b", "a", "b", "c"]})
    words = words.cast_column("img", datasets.Image())
    words.save_to_disk(str(tmp_path / "words"))
    with pytest.raises(InputError, match="give 'label_column'"):
        read_datasets(tmp_path / "words", "train")
    assert read_datasets(tmp_path / "words", "train", label_column="kind").labels.tolist() == [1, 0, 1, 2]


def folder(place, sides=(8, 8, 8)):
    for number, side in enumerate(sides):
        (place / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("L", (side, side), 40 * number).save(place / "ab"[number % 2] / f"{number}.png")


def test_decoded_images_are_kept_and_mapped(tmp_path):
    folder(tmp_path / "images")
    plain = read_image_folder(tmp_path / "images")
    first = read_image_folder(tmp_path / "images", cache=tmp_path / "cache")
    files = sorted((tmp_path / "cache").iterdir())
    times = [path.stat().st_mtime_ns for path in files]
    again = read_image_folder(tmp_path / "images", cache=tmp_path / "cache")
    assert [path.stat().st_mtime_ns for path in sorted((tmp_path / "cache").iterdir())] == times
    for found in (first, again):
        assert found.images.equal(plain.images)
        assert found.names == plain.names
        assert found.labels.equal(plain.labels)
    Image.new("L", (8, 8), 250).save(tmp_path / "images" / "a" / "9.png")
    assert len(read_image_folder(tmp_path / "images", cache=tmp_path / "cache")) == 4
    scaled = read_image_folder(tmp_path / "images", 4, cache=tmp_path / "cache")
    assert scaled.images.shape == (4, 1, 4, 4)
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 3


@pytest.mark.parametrize("cached", [True, False])
def test_unreadable_files_are_left_out_on_the_users_word(cached, tmp_path):
    folder(tmp_path / "images", (8,) * 6)
    (tmp_path / "images" / "a" / "1x.png").write_bytes(b"nothing")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8))
    noise.save(tmp_path / "images" / "b" / "0x.png")
    whole = (tmp_path / "images" / "b" / "0x.png").read_bytes()
    # The header is whole, the body is torn.
    (tmp_path / "images" / "b" / "0x.png").write_bytes(whole[:-30])
    cache = tmp_path / "cache" if cached else None
    for _ in range(2):
        found = read_image_folder(tmp_path / "images", on_error="skip", cache=cache)
        assert set(found.skipped) == {"a/1x.png", "b/0x.png"}
        assert len(found) == len(found.images) == 6
        values = {name: int(image[0, 0, 0]) for name, image in zip(found.names, found.images, strict=True)}
        assert values == {"a/0.png": 0, "a/2.png": 80, "a/4.png": 160, "b/1.png": 40, "b/3.png": 120, "b/5.png": 200}
        with pytest.raises(InputError, match="is not a readable image"):
            read_image_folder(tmp_path / "images", cache=cache)
    for path in (tmp_path / "images" / "b").iterdir():
        path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="b: none of its images can be read"):
        read_image_folder(tmp_path / "images", on_error="skip", cache=cache)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give exactly one of"),
        ({"idx": "x", "on_error": "skip"}, "belong to 'folder'"),
        ({"idx": "x", "cache": "c"}, "belong to 'folder'"),
        ({"folder": "x", "image_column": "i"}, "belong to 'datasets'"),
        ({"cifar": "x", "size": 8}, "'size' scales"),
        ({"folder": "x", "split": "test"}, "has no 'split'"),
        ({"arrays": "x", "split": "test"}, "has no 'split'"),
        ({"cifar": "x", "classes": ["a"]}, "'classes' names"),
    ],
)
def test_settings_that_do_not_go_together(values, message):
    with pytest.raises(ValidationError, match=message):
        SourceConfig(**values)


def test_order_does_not_depend_on_threads(tmp_path):
    for number in range(40):
        (tmp_path / "a").mkdir(exist_ok=True)
        Image.new("L", (6, 6), number).save(tmp_path / "a" / f"{number:02d}.png")
    found = read_image_folder(tmp_path)
    assert found.images[:, 0, 0, 0].equal(torch.arange(40, dtype=torch.uint8))


def test_names_of_arrays_are_used(tmp_path):
    """They were documented, and ignored: choices by name depended on the order of the rows."""
    path = tmp_path / "a.npz"
    np.savez(path, images=PIXELS[:2, 0], labels=np.array([0, 1]), names=np.array(["x", "y"]))
    assert read_arrays(path).names == ("x", "y")
    for names, message in (
        (np.array(["x", "x"]), "names must be unique"),
        (np.array(["x"]), "names must be 2 words"),
        (np.array([1, 2]), "names must be 2 words"),
    ):
        np.savez(path, images=PIXELS[:2, 0], labels=np.array([0, 1]), names=names)
        with pytest.raises(InputError, match=message):
            read_arrays(path)


def test_labels_that_are_no_numbers_of_classes(tmp_path):
    """An id as a label used to make as many names of classes, and to take the machine down."""
    path = tmp_path / "a.npz"
    for largest, dtype in ((2**63, np.uint64), (3_000_000, np.int64), (2**16, np.int32)):
        np.savez(path, images=PIXELS[:2, 0], labels=np.array([0, largest], dtype))
        with pytest.raises(InputError, match=f"has the label {largest}; labels number classes from 0, at most 65,536"):
            read_arrays(path)
        with pytest.raises(InputError, match=f"image 1 has the label {largest}, but there are 2 classes"):
            read_arrays(path, ("a", "b"))
    np.savez(path, images=PIXELS[:2, 0], labels=np.array([0, 2**16 - 1]))
    assert len(read_arrays(path).classes) == 2**16
    np.savez(path, images=PIXELS[:0, 0], labels=np.zeros(0, int))
    with pytest.raises(InputError, match="a.npz: holds no image"):
        read_arrays(path)


def parquet(path, labels, kind):
    import datasets

    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.new("L", (8, 8), 10 * number) for number in range(len(labels))]
    features = datasets.Features({"image": datasets.Image(), "label": kind})
    datasets.Dataset.from_dict({"image": pictures, "label": labels}, features=features).to_parquet(str(path))


def test_parquet_files_of_several_directories_are_not_mixed(tmp_path):
    import datasets

    kind = datasets.ClassLabel(names=["a", "b"])
    parquet(tmp_path / "fine" / "train-0.parquet", [0, 1], kind)
    parquet(tmp_path / "fine" / "train-1.parquet", [1, 1], kind)
    assert read_datasets(tmp_path, "train").labels.tolist() == [0, 1, 1, 1]
    parquet(tmp_path / "coarse" / "train-0.parquet", [1, 0], kind)
    with pytest.raises(InputError, match=r"has train\*.parquet in .*coarse and in .*fine"):
        read_datasets(tmp_path, "train")
    assert read_datasets(tmp_path / "coarse", "train").labels.tolist() == [1, 0]


def test_a_row_without_a_label_is_named(tmp_path):
    import datasets

    for folder, kind, labels in (
        ("words", datasets.Value("string"), ["x", "y", None]),
        ("classes", datasets.ClassLabel(names=["a", "b"]), [0, 1, None]),
    ):
        parquet(tmp_path / folder / "train-0.parquet", labels, kind)
        with pytest.raises(InputError, match="row 2: has no label in the column 'label'"):
            read_datasets(tmp_path / folder, "train", label_column="label")


def test_transparent_pixels_of_a_data_set_are_laid_on_the_background(tmp_path):
    import datasets

    picture = Image.fromarray(np.zeros((8, 8, 4), np.uint8))
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["a"])})
    table = datasets.Dataset.from_dict({"image": [picture], "label": [0]}, features=features)
    table.save_to_disk(str(tmp_path / "saved"))
    for background, seen in ((255, [255]), ([1, 2, 3], [1, 2, 3])):
        source = SourceConfig(datasets=str(tmp_path / "saved"), background=background)
        assert read_images(source).images.flatten(1).unique(dim=0)[0].unique().tolist() == seen
    with pytest.raises(ValidationError, match="'background' belongs to"):
        SourceConfig(idx="x", background=0)
    with pytest.raises(ValidationError, match="less than or equal to 255"):
        SourceConfig(folder="x", background=256)
