"""Sources of images with masks in a configuration."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from myosotis.data.holding_out import HeldOut
from myosotis.data.image_archives import read_idx
from myosotis.data.image_files import WHITE
from myosotis.data.masks import (
    CAMVID_CLASSES,
    IGNORE,
    MAX_CLASSES,
    VOC_CLASSES,
    MaskedImages,
    pair_folders,
    read_pairs,
    voc_pairs,
)
from myosotis.data.scenes import make_scenes
from myosotis.data.sources import BackgroundColour
from myosotis.engine.config import Config, LocalPath
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.method import Fraction

_KINDS = ("images", "voc", "ade20k", "camvid", "scenes")
_ADE_CLASSES = 150
_VALUES = 256  # of a mask file


class ScenesConfig(Config):
    """Scenes composed of the pictures in idx files, see :func:`~myosotis.data.scenes.make_scenes`.

    Attributes:
        idx: Folder with the idx files of the pictures.
        count: Number of scenes.
        side: Side of a scene in pixels.
        seed: Seed of the composition.
        classes: Names of the numbered classes.
    """

    idx: LocalPath
    count: PositiveInt = 1000
    side: Annotated[int, Field(ge=16)] = 48
    seed: NonNegativeInt = 0
    classes: tuple[str, ...] | None = None


class MaskSourceConfig(Config):
    """A set of images with masks.

    Exactly one of its kinds is given. Images and masks are turned upright by their orientation tags.

    Attributes:
        images: Folder of images, with ``masks``.
        masks: Folder of masks with the names of the images.
        listed: File with the names to use, one per line, of ``images`` and ``masks``; all unless given.
        voc: Folder ``VOC2012``.
        ade20k: Folder ``ADEChallengeData2016``.
        camvid: Folder with ``train``, ``train_labels`` and so on, as CamVid has.
        scenes: Scenes composed of single pictures.
        split: Split of a source that has several, e.g. ``train_aug``, or that ``held_out`` splits.
        held_out: Share of ``images`` and ``masks`` that is their ``test`` split, drawn by names.
        classes: Names of the numbers in the masks, from ``first`` on.
        first: Number of the first class in the masks.
        background: Number of the background in the masks; null where there is none.
        ignore: Numbers in the masks that are ignored.
        size: Height and width that images are scaled to.
        grey: Whether images are made grey.
        image_background: Colour behind transparent pixels: a grey value, or red, green and blue.
    """

    images: LocalPath | None = None
    masks: LocalPath | None = None
    listed: LocalPath | None = None
    voc: LocalPath | None = None
    ade20k: LocalPath | None = None
    camvid: LocalPath | None = None
    scenes: ScenesConfig | None = None
    split: str = "train"
    held_out: Fraction | None = None
    classes: tuple[str, ...] | None = None
    first: NonNegativeInt = 1
    background: NonNegativeInt | None = 0
    ignore: tuple[NonNegativeInt, ...] = (IGNORE,)
    size: tuple[PositiveInt, PositiveInt] | None = None
    grey: bool = False
    image_background: BackgroundColour = WHITE

    @model_validator(mode="after")
    def _one_kind(self) -> "MaskSourceConfig":
        kinds = [name for name in _KINDS if getattr(self, name) is not None]
        if len(kinds) != 1:
            raise ValueError(f"give exactly one of {', '.join(repr(name) for name in _KINDS)}")
        folder = kinds[0] == "images"
        if folder != (self.masks is not None):
            raise ValueError("'images' and 'masks' go together")
        if folder and not self.classes:
            raise ValueError("a folder of masks needs 'classes', the names of its numbers")
        plain = type(self).model_fields
        given = next(
            (
                key
                for key in ("listed", "classes", "first", "background", "ignore", "held_out")
                if not folder and getattr(self, key) != plain[key].default
            ),
            None,
        )
        if given is not None:
            raise ValueError(f"'{given}' belongs to 'images' and 'masks'")
        if folder and self.held_out is None and self.split != plain["split"].default:
            raise ValueError(
                "folders of images and masks have no 'split'; name other folders, or a list in 'listed', or give "
                "'held_out', the share to draw as test images"
            )
        if self.held_out is not None and self.split not in ("train", "test"):
            raise ValueError(f"'held_out' makes the splits train and test, not '{self.split}'")
        if kinds[0] == "scenes" and (self.size is not None or self.grey):
            raise ValueError("scenes have their own 'side', and are grey")
        if kinds[0] == "scenes" and self.image_background != WHITE:
            raise ValueError("scenes have no transparent pixels: leave 'image_background' out")
        if folder and len(set(self.classes or ())) < len(self.classes or ()):
            raise ValueError("'classes' contains duplicates")
        if folder and len(self._numbers()) > MAX_CLASSES:
            raise ValueError(f"'classes' names {len(self._numbers())}; a mask of bytes has room for {MAX_CLASSES}")
        if folder and self._numbers().stop > _VALUES:
            raise ValueError(
                f"'first' {self.first} gives the last class the number {self._numbers().stop - 1}; mask files hold "
                f"numbers up to {_VALUES - 1}"
            )
        both = next((number for number in self.ignore if folder and number in self._numbers()), None)
        if both is not None:
            raise ValueError(f"'ignore' {both} is the number of a class; give other numbers, or another 'first'")
        outside = next((number for number in (*self.ignore, self.background or 0) if number >= _VALUES), None)
        if folder and outside is not None:
            raise ValueError(
                f"{outside} is not a value of a mask file, which holds bytes; give a number below {_VALUES}"
            )
        if folder and self.background is not None and self.background in self._numbers():
            raise ValueError(
                f"'background' {self.background} is the number of a class; 'first' is the number of the first one"
            )
        return self

    def _numbers(self) -> range:
        return range(self.first, self.first + len(self.classes or ()))

    @property
    def values(self) -> dict[int, int]:
        """Mapping from the numbers in mask files of a folder to classes from 1."""
        values = {number: index for index, number in enumerate(self._numbers(), start=1)}
        if self.background is not None:
            values[self.background] = 0
        return {**values, **dict.fromkeys(self.ignore, IGNORE)}


def read_masks(source: MaskSourceConfig) -> MaskedImages:
    """Read a source.

    Raises:
        InputError: The source is missing or damaged.
    """
    if source.scenes is not None:
        return _read_scenes(source.scenes, source.split)
    if source.voc is not None:
        pairs = voc_pairs(Path(source.voc), source.split)
        values = {number: number for number in (*range(len(VOC_CLASSES) + 1), IGNORE)}
        return _read(pairs, tuple(VOC_CLASSES), values, source)
    if source.ade20k is not None:
        return _read_ade(Path(source.ade20k), source)
    if source.camvid is not None:
        folder = Path(source.camvid)
        pairs = pair_folders(folder / source.split, folder / f"{source.split}_labels")
        values = {number: number + 1 for number in range(len(CAMVID_CLASSES))}
        return _read(pairs, tuple(CAMVID_CLASSES), {**values, len(CAMVID_CLASSES): IGNORE, IGNORE: IGNORE}, source)
    listed = None
    if source.listed is not None:
        path = Path(source.listed)
        if not path.is_file():
            raise InputError(f"{path}: no such list of names")
        listed = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    pairs = pair_folders(Path(str(source.images)), Path(str(source.masks)), listed)
    if source.held_out is not None:
        part = HeldOut(source.held_out, "test" if source.split == "test" else "train")
        names = [image.name for image, _ in pairs]
        pairs = [pairs[index] for index in part.indices(names, [0] * len(pairs), str(source.images))]
    return _read(pairs, tuple(source.classes or ()), source.values, source)


def _read(
    pairs: list[tuple[Path, Path]], classes: tuple[str, ...], values: dict[int, int], source: MaskSourceConfig
) -> MaskedImages:
    names = [image.stem for image, _ in pairs]
    return read_pairs(pairs, names, classes, values, source.size, source.grey, background=source.image_background)


def _read_ade(root: Path, source: MaskSourceConfig) -> MaskedImages:
    folder = {"train": "training", "val": "validation"}.get(source.split, source.split)
    pairs = pair_folders(root / "images" / folder, root / "annotations" / folder)
    listing = root / "objectInfo150.txt"
    classes = [str(number) for number in range(1, _ADE_CLASSES + 1)]
    if listing.is_file():
        rows = [line.split("\t") for line in listing.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
        named = [row[-1].split(",")[0].strip() for row in rows]
        # Numbers are used where names are not unique.
        if len(named) == _ADE_CLASSES == len(set(named)):
            classes = named
    return _read(pairs, tuple(classes), {number: number for number in range(_ADE_CLASSES + 1)}, source)


def _read_scenes(config: ScenesConfig, split: str) -> MaskedImages:
    if split not in ("train", "test"):
        raise InputError(f"scenes: 'split' must be 'train' or 'test', got {split!r}")
    items = read_idx(Path(config.idx), split, config.classes)
    with settings_as_input("scenes"):
        return make_scenes(items, config.count, side=config.side, seed=config.seed, purpose=split)
