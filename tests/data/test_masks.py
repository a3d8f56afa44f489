"""Images with masks from folders in the shapes that they come in."""

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError

from myosotis.data.images import ImageSet
from myosotis.data.mask_sources import MaskSourceConfig, read_masks
from myosotis.data.masks import VOC_CLASSES, Decoded, pair_folders, read_pairs, resident, voc_pairs
from myosotis.data.scenes import make_scenes
from myosotis.engine.errors import InputError, SettingsError


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def write_palette(path, array):
    """As VOC has its masks: numbers with a colour for each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(array, np.uint8), mode="P")
    image.putpalette([value for number in range(256) for value in (number, 255 - number, 90)])
    image.save(path)


def picture(height=6, width=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3))


@pytest.fixture
def pairs(tmp_path):
    """Three images; the second has another size."""
    for number, (height, width) in enumerate([(6, 8), (4, 4), (6, 8)]):
        write(tmp_path / "images" / f"{number}.png", picture(height, width, number))
        mask = np.zeros((height, width))
        mask[0], mask[1, 0] = number % 2 + 1, 255
        write(tmp_path / "masks" / f"{number}.png", mask)
    return tmp_path


def folders(place, **options):
    given = {"images": str(place / "images"), "masks": str(place / "masks"), "classes": ("cup", "hat"), **options}
    return MaskSourceConfig(**given)


def test_a_pair_of_folders(pairs):
    found = read_masks(folders(pairs))
    assert found.names == ("0", "1", "2")
    assert found.sizes == ((6, 8), (4, 4), (6, 8))
    assert found.label_sets() == [frozenset({1}), frozenset({2}), frozenset({1})]
    assert found.label_sets(5) == [frozenset({1}), frozenset(), frozenset({1})]
    assert found.areas[0, [0, 1, 2, 255]].tolist() == [6 * 8 - 9, 8, 0, 1]
    assert torch.equal(found.images[1], torch.from_numpy(picture(4, 4, 1)).byte().permute(2, 0, 1))
    assert [tuple(image.shape) for image in found.images[0:2]] == [(3, 6, 8), (3, 4, 4)]
    assert found.subset([2, 1]).names == ("2", "1")
    assert found.digests[0] != found.digests[1]
    small = read_masks(folders(pairs, size=(3, 4), grey=True))
    assert small.channels == 1
    assert small.images[1].shape == (1, 3, 4)
    assert set(small.masks[0].unique().tolist()) <= {0, 1, 255}
    (pairs / "names.txt").write_text("2\n0\n\n")
    assert read_masks(folders(pairs, listed=str(pairs / "names.txt"))).names == ("0", "2")


def test_numbers_that_begin_elsewhere(tmp_path):
    write(tmp_path / "images" / "a.png", picture(1, 4))
    write(tmp_path / "masks" / "a.png", [[0, 1, 2, 9]])
    found = read_masks(folders(tmp_path, first=0, background=2, ignore=(9,)))
    assert found.masks[0].tolist() == [[1, 2, 0, 255]]
    none = read_masks(folders(tmp_path, first=0, background=None, ignore=(2, 9)))
    assert none.masks[0].tolist() == [[1, 2, 255, 255]]


def test_the_shape_of_voc(tmp_path):
    place = tmp_path / "VOC2012"
    lists = place / "ImageSets" / "Segmentation"
    for name, label in (("2007_000032", 1), ("2007_000039", 20), ("2011_000003", 15)):
        (place / "JPEGImages").mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture().astype(np.uint8)).save(place / "JPEGImages" / f"{name}.jpg")
        mask = np.full((6, 8), 255)
        mask[2:4], mask[4:] = label, 0
        write_palette(place / "SegmentationClassAug" / f"{name}.png", mask)
    lists.mkdir(parents=True)
    (lists / "train_aug.txt").write_text("2011_000003\n2007_000032\n")
    (lists / "val.txt").write_text("/JPEGImages/2007_000039.jpg /SegmentationClassAug/2007_000039.png\n")
    train = read_masks(MaskSourceConfig(voc=str(place), split="train_aug"))
    assert train.names == ("2007_000032", "2011_000003")
    assert [sorted(labels) for labels in train.label_sets()] == [[1], [15]]
    assert train.classes == tuple(VOC_CLASSES)
    assert train.masks[0][:, 0].tolist() == [255, 255, 1, 1, 0, 0]
    assert read_masks(MaskSourceConfig(voc=str(place), split="val")).label_sets() == [frozenset({20})]
    with pytest.raises(InputError, match="trainval.txt: no such list"):
        voc_pairs(place, "trainval")
    (lists / "bad.txt").write_text("a b c\n")
    with pytest.raises(InputError, match=r"bad.txt, line 1: expected a name"):
        voc_pairs(place, "bad")
    # Without the augmented masks those of the challenge.
    (place / "SegmentationClassAug").rename(place / "SegmentationClass")
    assert voc_pairs(place, "train_aug")[0][1].parent.name == "SegmentationClass"


def test_the_shapes_of_ade20k_and_camvid(tmp_path):
    ade = tmp_path / "ade"
    write(ade / "images" / "training" / "a.png", picture(1, 3))
    write(ade / "annotations" / "training" / "a.png", [[0, 1, 150]])
    found = read_masks(MaskSourceConfig(ade20k=str(ade)))
    assert found.label_sets() == [frozenset({1, 150})]
    assert found.classes[0] == "1"
    rows = ["Idx\tRatio\tTrain\tVal\tStuff\tName", *(f"{n}\t0\t1\t1\t0\tthing {n}, other" for n in range(1, 151))]
    (ade / "objectInfo150.txt").write_text("\n".join(rows) + "\n")
    assert read_masks(MaskSourceConfig(ade20k=str(ade))).classes[149] == "thing 150"
    camvid = tmp_path / "camvid"
    write(camvid / "val" / "a.png", picture(1, 3))
    write(camvid / "val_labels" / "a.png", [[0, 10, 11]])
    found = read_masks(MaskSourceConfig(camvid=str(camvid), split="val"))
    assert found.masks[0].tolist() == [[1, 11, 255]]
    assert found.classes[0] == "sky"


def broken(kind, place):
    """Spoil a pair of folders in one way."""
    if kind == "no mask":
        (place / "masks" / "1.png").unlink()
    elif kind == "other size":
        write(place / "masks" / "1.png", np.zeros((4, 5)))
    elif kind == "value":
        write(place / "masks" / "1.png", np.full((4, 4), 7))
    elif kind == "colours":
        write(place / "masks" / "1.png", picture(4, 4))
    elif kind == "torn":
        (place / "masks" / "1.png").write_bytes((place / "masks" / "0.png").read_bytes()[:50])
    elif kind == "wide":
        Image.fromarray(np.full((4, 4), 300, np.uint16)).save(place / "masks" / "1.png")
    elif kind == "empty":
        for path in (place / "images").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("no mask", r"images/1.png: has no mask in .*masks"),
        ("other size", r"masks/1.png: is 5x4, its image 4x4"),
        ("value", r"masks/1.png: holds the value 7, which is not a class; known: 0, 1, 2, 255"),
        ("colours", r"masks/1.png: has the image mode RGB; expected one number per pixel"),
        ("torn", r"masks/1.png: is not a readable image"),
        ("wide", r"masks/1.png: holds the value 300; values go up to 255"),
        ("empty", r"no images given"),
    ],
)
def test_a_broken_pair_is_named(kind, message, pairs):
    broken(kind, pairs)
    with pytest.raises(InputError, match=message):
        read_masks(folders(pairs))


def test_what_is_missing_is_named(pairs):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_masks(folders(pairs, images=str(pairs / "nowhere")))
    with pytest.raises(InputError, match="holds no image 'x'"):
        pair_folders(pairs / "images", pairs / "masks", ["x"])
    with pytest.raises(InputError, match="no such list of names"):
        read_masks(folders(pairs, listed=str(pairs / "names.txt")))
    with pytest.raises(InputError, match="gone.png: no such image"):
        read_pairs([(pairs / "gone.png", pairs / "masks" / "0.png")], ["gone"], ["cup"], {0: 0, 1: 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give exactly one of"),
        ({"voc": "a", "camvid": "b"}, "give exactly one of"),
        ({"images": "a"}, "go together"),
        ({"images": "a", "masks": "b"}, "needs 'classes'"),
        ({"images": "a", "masks": "b", "classes": ("c",), "split": "test"}, "have no 'split'"),
        ({"voc": "a", "first": 0}, "'first' belongs to"),
        ({"images": "a", "masks": "b", "classes": ("c", "c")}, "duplicates"),
        ({"images": "a", "masks": "b", "classes": ("c",), "first": 0}, "'background' 0 is the number of a class"),
        ({"scenes": {"idx": "a"}, "grey": True}, "scenes have their own"),
    ],
)
def test_sources_that_say_too_little_or_too_much(options, message):
    with pytest.raises(ValueError, match=message):
        MaskSourceConfig(**options)


def test_two_files_of_one_name(pairs):
    (pairs / "images" / "0.jpg").write_bytes((pairs / "images" / "0.png").read_bytes())
    with pytest.raises(InputError, match=r"holds 0.jpg and 0.png, which differ only in the suffix"):
        read_masks(folders(pairs))


def test_a_part_is_decoded_when_it_is_needed(pairs):
    part = read_masks(folders(pairs)).subset([1])
    assert isinstance(part.images, Decoded)
    assert torch.equal(part.images[0], read_masks(folders(pairs)).images[1])
    assert part.digests == read_masks(folders(pairs)).digests[1:2]


def test_decoded_files_are_kept_as_long_as_they_fit(pairs):
    read = []

    def one(path):
        read.append(path.name)
        return torch.zeros(10, dtype=torch.uint8)

    some = Decoded([pairs / "images" / f"{number}.png" for number in range(3)], one, keep=20)
    for _ in range(2):
        assert len(list(some)) == 3
    assert read == ["0.png", "1.png", "2.png", "2.png"]


def test_what_is_in_memory_already():
    image, mask = torch.zeros(1, 2, 2).byte(), torch.zeros(2, 2).byte()
    with pytest.raises(ValueError, match="do not match"):
        resident([image], [mask], [], ["cup"])
    with pytest.raises(ValueError, match="unique"):
        resident([image] * 2, [mask] * 2, ["a", "a"], ["cup"])
    with pytest.raises(ValueError, match="a: the mask is 3x2, the image 2x2"):
        resident([image], [torch.zeros(2, 3).byte()], ["a"], ["cup"])
    with pytest.raises(ValueError, match="a: holds the value 4; there are 1 classes"):
        resident([image], [mask + 4], ["a"], ["cup"])


# Scenes ---------------------------------------------------------------------------------------------------------------


def items(count=20):
    """Bright squares, each class with a brightness of its own."""
    pictures = torch.zeros(count, 1, 8, 8, dtype=torch.uint8)
    labels = torch.arange(count) % 4
    pictures[:, :, 1:7, 1:7] = (150 + 25 * labels).byte().view(-1, 1, 1, 1)
    return ImageSet(pictures, labels, tuple(map(str, range(count))), ("a", "b", "c", "d"))


def test_masks_of_scenes_are_exact():
    scenes = make_scenes(items(), 200, side=24, seed=1)
    counts = []
    for image, mask in zip(scenes.images, scenes.masks, strict=True):
        shown = sorted(set(mask.unique().tolist()) - {0})
        counts.append(len(shown))
        assert 1 <= len(shown) <= 4
        for label in shown:
            inner = image[0][mask == label].float()
            assert (inner == 150 + 25 * (label - 1)).float().mean() > 0.4  # edges are mixed
        assert image[0][mask == 0].max() < 0.66 * 255
    assert len(set(counts)) > 2
    assert scenes.areas[:, 1:5].sum(0).min() > 0


def test_a_scene_depends_on_seed_purpose_and_number():
    few, more = make_scenes(items(), 3, seed=1), make_scenes(items(), 6, seed=1)
    assert all(torch.equal(one, other) for one, other in zip(few.images, more.images, strict=False))
    other = make_scenes(items(), 3, seed=2)
    test = make_scenes(items(), 3, seed=1, purpose="test")
    assert not torch.equal(few.images[0], other.images[0])
    assert not torch.equal(few.images[0], test.images[0])
    assert not set(few.names) & set(test.names)
    colour = ImageSet(torch.zeros(1, 3, 8, 8).byte(), torch.zeros(1).long(), ("x",), ("a",))
    for given, count, side in ((colour, 1, 48), (items(), 0, 48), (items(), 1, 8)):
        with pytest.raises(ValueError, match=r"one channel|at least one scene"):
            make_scenes(given, count, side=side)


def test_an_image_and_its_mask_are_turned_alike(tmp_path):
    """The image of a camera held upside down used to lie opposite to the mask that was drawn on it."""
    upright = np.zeros((32, 24, 3), np.uint8)
    upright[:16] = 255
    for orientation, quarter_turns in ((3, 2), (6, 1), (8, 3)):
        stored = Image.fromarray(np.rot90(upright, quarter_turns).copy())
        exif = stored.getexif()
        exif[274] = orientation
        (tmp_path / "images").mkdir(exist_ok=True)
        stored.save(tmp_path / "images" / f"{orientation}.jpg", exif=exif, quality=100)
        write(tmp_path / "masks" / f"{orientation}.png", upright[..., 0] > 0)
    found = read_masks(folders(tmp_path, grey=True))
    assert found.sizes == ((32, 24),) * 3
    for image, mask in zip(found.images, found.masks, strict=True):
        assert (image[0][mask == 1] > 250).all()
        assert (image[0][mask == 0] < 5).all()


def test_transparent_pixels_of_an_image_are_laid_on_the_background(tmp_path):
    write(tmp_path / "images" / "a.png", np.dstack([picture(), np.zeros((6, 8))]))
    write(tmp_path / "masks" / "a.png", np.ones((6, 8)))
    assert read_masks(folders(tmp_path)).images[0].unique().tolist() == [255]
    found = read_masks(folders(tmp_path, image_background=(1, 2, 3)))
    assert found.images[0].flatten(1).unique(dim=1).flatten().tolist() == [1, 2, 3]


def test_hidden_files_are_no_masks(pairs):
    (pairs / "images" / "._0.png").write_bytes(b"\0\5\26\7")
    (pairs / "masks" / ".1.png").write_bytes(b"")
    assert read_masks(folders(pairs)).names == ("0", "1", "2")


@pytest.mark.parametrize(
    ("count", "first", "ignore", "message"),
    [
        (256, 0, (), "'classes' names 256; a mask of bytes has room for 254"),
        (254, 3, (), "'first' 3 gives the last class the number 256; mask files hold numbers up to 255"),
        (254, 2, (255,), "'ignore' 255 is the number of a class"),
        (2, 1, (1, 7), "'ignore' 1 is the number of a class"),
        (2, 1, (300,), "300 is not a value of a mask file"),
    ],
)
def test_more_classes_than_a_byte_can_hold(count, first, ignore, message):
    """Class 255 used to become pixels that do not count, class 256 the background."""
    names = tuple(f"c{number}" for number in range(count))
    with pytest.raises(ValidationError, match=message):
        MaskSourceConfig(images="i", masks="m", classes=names, first=first, background=None, ignore=ignore)


def test_as_many_classes_as_a_byte_can_hold(tmp_path):
    numbers = np.arange(256).reshape(16, 16)
    write(tmp_path / "images" / "a.png", np.zeros((16, 16)))
    write(tmp_path / "masks" / "a.png", numbers)
    names = tuple(f"c{number}" for number in range(254))
    found = read_masks(folders(tmp_path, classes=names, first=0, background=254, ignore=(255,)))
    assert found.label_sets() == [frozenset(range(1, 255))]
    assert found.masks[0].flatten().tolist() == [*range(1, 255), 0, 255]
    for read in (
        lambda: resident([torch.zeros(1, 2, 2).byte()], [torch.zeros(2, 2).byte()], ["a"], [*names, "more"]),
        lambda: read_pairs([(tmp_path, tmp_path)], ["a"], [*names, "more"], {}),
    ):
        with pytest.raises(SettingsError, match="255 classes; a mask of bytes has room for 254"):
            read()
