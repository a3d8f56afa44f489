"""First configurations of the jobs that learn from images."""

from collections.abc import Sequence
from pathlib import Path

from myosotis.data.image_files import visible_entries
from myosotis.engine.errors import InputError
from myosotis.init.draft import HELD_OUT, Draft, quoted, run_name, shown_path, task_sizes
from myosotis.init.look import (
    ImageFolder,
    batch_size,
    find_splits,
    look_at_images,
    look_at_masks,
)

_WIDTHS = (16, 32, 64)
_FEW_TO_PRETRAIN = 10_000
_FEWEST = 3
"""Images of a class without which training, probes and a test set have too little to work with."""
_FEW = 2000
"""Training images below which a network sees each of them more often."""


def _one_folder(paths: Sequence[Path], job: str) -> Path:
    if len(paths) > 1:
        raise InputError(f"{paths[1]}: '{job}' starts from one folder; it may hold train and test")
    return paths[0]


class DraftImages:
    """Training and test images of a draft, and how a configuration names them."""

    def __init__(self, paths: Sequence[Path], job: str, folder: Path, *, labelled: bool = True) -> None:
        self.remarks: list[str] = []
        if not paths:
            self.name, self.side, self.grey, self.count = "digits", 8, True, 1438
            self.classes: tuple[str, ...] = tuple(map(str, range(10)))
            self.smallest = 139
            self.train, self.test = "{packaged: digits}", "{packaged: digits, split: test}"
            self.remarks.append("Without a folder the images are the handwritten digits that come with scikit-learn.")
            return
        top = _one_folder(paths, job)
        train, test = find_splits(top)
        images = look_at_images(train)
        self.name, self.side, self.grey, self.count = top.resolve().name, images.side, images.grey, images.count
        self.classes = tuple(images.classes)
        if labelled and len(self.classes) < 2:
            raise InputError(
                f"{train}: '{job}' needs one folder per class, at least 2, got {len(self.classes)}{_hint(train)}"
            )
        self.smallest = min(images.classes.values(), default=0)
        rare = next((name for name, count in images.classes.items() if count < _FEWEST), None)
        if labelled and rare is not None:
            raise InputError(
                f"{train / rare}: holds {images.classes[rare]} images; '{job}' needs {_FEWEST} of each class"
            )
        self.remarks += _remarks(images)
        kind = "folder" if self.classes else "images"
        size = {} if images.size is None else {"size": images.size}
        source = {kind: shown_path(train, folder), **size}
        if test is None:
            self.train = quoted({**source, "held_out": HELD_OUT})
            self.test = quoted({**source, "held_out": HELD_OUT, "split": "test"})
            self.remarks.append(f"There is no test set: {HELD_OUT:.0%} of each class are held out for it.")
            self.count = round(self.count * (1 - HELD_OUT))
            self.smallest -= max(1, round(self.smallest * HELD_OUT))
        else:
            missing = next((name for name in self.classes if name not in look_at_images(test).classes), None)
            if missing is not None:
                raise InputError(f"{test}: has no folder of the class '{missing}', which {train} has")
            self.train, self.test = quoted(source), quoted({**source, kind: shown_path(test, folder)})

    @property
    def batch(self) -> int:
        """Images of a training step."""
        return batch_size(self.count, self.side, _WIDTHS[-1])

    @property
    def epochs(self) -> int:
        """Training epochs."""
        return 20 if self.count < _FEW else 10

    @property
    def model(self) -> str:
        """The lines of a small network for images of this size."""
        # A first layer that halves small images would leave too little of them.
        stride = 1 if self.side < 24 else 2
        options = {"widths": list(_WIDTHS), "blocks": [1, 1, 1], "stem_stride": stride}
        return (
            "model:\n"
            "  architecture: small-resnet  # or a name that timm knows, e.g. resnet18\n"
            f"  options: {quoted(options)}"
        )


def _hint(folder: Path) -> str:
    """What was meant, where the folders of the classes lie one level deeper."""
    inner = [entry for entry in visible_entries(folder) if entry.is_dir()]
    deeper = len(inner) == 1 and sum(entry.is_dir() for entry in visible_entries(inner[0])) > 1
    return f"; did you mean {inner[0]}?" if deeper else ""


def _remarks(images: ImageFolder) -> list[str]:
    classes = f" of {len(images.classes)} classes" if images.classes else ""
    colours = "grey" if images.grey else "colour"
    (width, height), _ = images.sizes.most_common(1)[0]
    sizes = f"{width} x {height} pixels" if len(images.sizes) == 1 else f"{len(images.sizes)} sizes"
    remarks = [f"Found: {images.count:,} {colours} images{classes}, {sizes}."]
    counts = images.classes.values()
    if counts and max(counts) > 10 * min(counts):
        rare = min(images.classes, key=lambda name: images.classes[name])
        remarks.append(f"The classes are unequal: '{rare}' has {min(counts)} images, another has {max(counts):,}.")
    return remarks


def draft_class_learning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``learn-classes``.

    Args:
        paths: A folder with a folder for each class, or with ``train`` and ``test`` of this form; none for the digits.
        folder: Folder of the configuration.

    Raises:
        InputError: The folder is not of this form.
    """
    sets = DraftImages(paths, "learn-classes", folder)
    first, per_task = task_sizes(len(sets.classes))
    exemplars = max(len(sets.classes), min(2000, 20 * len(sets.classes), sets.count // 4))
    body = f"""
data:
  train: {sets.train}
  test: {sets.test}

# Classes of the first task and of each later one; `class_order` gives an order, else the seed draws it.
scenario: {{first: {first}, per_task: {per_task}}}

{sets.model}

method: icarl  # others: myosotis methods learn-classes
memory: {{total: {exemplars}}}  # old images that are kept; 0 for a method without memory, e.g. lwf

training:
  epochs: {sets.epochs}  # of each task
  learning_rate: 0.05
  batch_size: {sets.batch}
"""
    return Draft("learn-classes", run_name("learn", sets.name), body, tuple(sets.remarks))


def draft_representation_learning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``learn-representations``.

    Args:
        paths: As for :func:`draft_class_learning`; labels are read by the probes alone.
        folder: Folder of the configuration.

    Raises:
        InputError: The folder is not of this form.
    """
    sets = DraftImages(paths, "learn-representations", folder)
    first, per_task = task_sizes(len(sets.classes))
    # No task may have fewer images than a batch.
    batch = 1 << (min(sets.batch, sets.smallest * min(first, per_task)).bit_length() - 1)
    crop = "  views: {hue: 0, saturation: 0, grey: 0}  # the images are grey\n" if sets.grey else ""
    body = f"""
data:
  train: {sets.train}
  test: {sets.test}

scenario: {{kind: class, first: {first}, per_task: {per_task}}}

{sets.model}

base: {{name: moco, queue: {_power_below(sets.count)}, hidden: 256, dim: 64}}
method: pnr  # others: myosotis methods learn-representations

training:
  epochs: {sets.epochs}  # of each task
  learning_rate: 0.1
  batch_size: {batch}
{crop}
"""
    return Draft("learn-representations", run_name("represent", sets.name), body, tuple(sets.remarks))


def _power_below(count: int) -> int:
    """Length of a queue: at most half the images, so that no image meets itself for long."""
    return 1 << max(4, min(12, (count // 4).bit_length() - 1))


def draft_protocol(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``protocol``: one half of the classes to tune on, the other to evaluate on.

    Args:
        paths: As for :func:`draft_class_learning`.
        folder: Folder of the configuration.

    Raises:
        InputError: The folder is not of this form, or has fewer than four classes.
    """
    sets = DraftImages(paths, "protocol", folder)
    if len(sets.classes) < 4:
        raise InputError(f"'protocol' needs at least 4 classes, two for each stream, got {len(sets.classes)}")
    half = len(sets.classes) // 2
    exemplars = max(half, min(1000, 10 * half, sets.count // 8))
    body = f"""
# Settings of every trial, a job `learn-classes`: all but its data, method and seed.
shared:
  scenario: {{first: 1, per_task: 1}}
  {sets.model.replace(chr(10), chr(10) + "  ")}
  memory: {{total: {exemplars}}}
  training: {{epochs: {sets.epochs}, batch_size: {sets.batch}}}

# Settings are tuned on these classes ...
tuning:
  train: {sets.train}
  test: {sets.test}
  only: {quoted(sets.classes[:half])}
# ... frozen, and evaluated on these.
evaluation:
  train: {sets.train}
  test: {sets.test}
  only: {quoted(sets.classes[half : 2 * half])}

methods: [er, icarl, wa]  # others: myosotis methods learn-classes
trials: 4             # published: 30
seeds: 2              # published: 5
evaluation_seeds: 3   # published: 5
"""
    return Draft("protocol", run_name("protocol", sets.name), body, tuple(sets.remarks))


def _vit_options(side: int) -> str:
    """Options of a small vision transformer: patches that leave at least four on a side."""
    patch = next(size for size in (8, 4, 2) if (side % size == 0 and side // size >= 4) or size == 2)
    return quoted({"patch_size": patch, "embed_dim": 96, "depth": 4, "num_heads": 4})


def _pretraining_body(sets: DraftImages) -> str:
    probes = "" if sets.classes else "probes: null  # these images have no labels: name labelled ones in probes.data\n"
    test = f"  test: {sets.test}\n" if sets.classes else ""
    return f"""
data:
  train: {sets.train}
{test}
model:
  architecture: vit_tiny_patch16_224  # a vision transformer of timm, made smaller by its options
  options: {_vit_options(sets.side)}

objective: {{name: mae, decoder_dim: 64, decoder_depth: 1, decoder_heads: 4}}
masker: salience  # others: myosotis methods pretrain

training:
  epochs: {2 * sets.epochs}
  batch_size: {sets.batch}
{probes}"""


def draft_pretraining(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``pretrain``.

    Args:
        paths: A folder of images, with or without classes; none for the digits.
        folder: Folder of the configuration.

    Raises:
        InputError: The folder holds no images.
    """
    sets = _unlabelled(paths, "pretrain", folder)
    body = _pretraining_body(sets) + "ratio: 0.75  # share of hidden tokens\n"
    few = "Of so few images an encoder often learns less than the raw pixels say: judge it by its report."
    remarks = [*sets.remarks, few] if sets.count < _FEW_TO_PRETRAIN else sets.remarks
    return Draft("pretrain", run_name("pretrain", sets.name), body, tuple(remarks))


def draft_sweep(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``pretrain-sweep``.

    Args:
        paths: A folder with a folder for each class; none for the digits.
        folder: Folder of the configuration.

    Raises:
        InputError: The folder is not of this form.
    """
    sets = DraftImages(paths, "pretrain-sweep", folder)
    body = _pretraining_body(sets).replace("masker: salience  # others: myosotis methods pretrain\n", "")
    body += "ratios: [0.5, 0.75]\nseeds: 2\nmaskers: {random: random, salience: salience}\n"
    return Draft("pretrain-sweep", run_name("sweep", sets.name), body, tuple(sets.remarks))


def _unlabelled(paths: Sequence[Path], job: str, folder: Path) -> DraftImages:
    sets = DraftImages(paths, job, folder, labelled=False)
    if paths and not sets.classes:
        # A part without labels cannot be measured, so all of it is learnt from.
        sets.train = sets.train.replace(f", held_out: {HELD_OUT}", "")
        sets.remarks = [remark for remark in sets.remarks if "test set" not in remark]
    return sets


def draft_segment_learning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``learn-segments``.

    Args:
        paths: Folder of images and folder of masks with the same names; none for composed scenes.
        folder: Folder of the configuration.

    Raises:
        InputError: There is one folder alone, the masks are colour images, or they show fewer than two classes.
    """
    if len(paths) != 2:
        raise InputError("'learn-segments' starts from two folders: images, and masks of the same names")
    images, masks = look_at_images(paths[0]), paths[1]
    numbers = [number for number in look_at_masks(paths[0], masks) if number != 255]
    classes = [number for number in numbers if number]
    if len(classes) < 2:
        raise InputError(f"{masks}: the masks show {len(classes)} classes beside the background 0; expected at least 2")
    first, last = min(classes), max(classes)
    names = [f"class {number}" for number in range(first, last + 1)]
    background = "" if 0 in numbers else ", background: null"
    source = (
        f"images: {quoted(shown_path(images.path, folder))}, masks: {quoted(shown_path(masks, folder))}, "
        f"first: {first}{background}, size: {_mask_size(images)}, held_out: {HELD_OUT}"
    )
    (height, width), full = _mask_size(images), images.sizes.most_common(1)[0][0]
    start, per_task = task_sizes(len(names))
    steps = 200
    body = f"""
# The names of the numbers in the masks, from {first} on: rename them.
data:
  train: {{{source}, classes: &classes {quoted(names)}}}
  test: {{{source}, classes: *classes, split: test}}

scenario: {{kind: partitioned, first: {start}, per_task: {per_task}}}

method: mib  # others: myosotis methods learn-segments
memory: {{total: 0}}

training:
  first_iterations: {2 * steps}
  iterations: {steps}  # of each later task
  batch_size: {batch_size(images.count, 64, 64, most=16)}
  learning_rate: 0.01
  optimizer: adamw
"""
    remarks = [
        *_remarks(images),
        f"The masks show the numbers {', '.join(map(str, numbers))}; 255 is ignored"
        + (
            "."
            if background
            else ", and 0 is the background; if it is a class: 'first: 0', 'background: null' and its name."
        ),
        *(
            []
            if (width, height) == full
            else [f"Images of {full[0]} x {full[1]} are scaled to {width} x {height} (`size`)."]
        ),
        f"There is no test set: {HELD_OUT:.0%} of the images are held out for it.",
    ]
    return Draft("learn-segments", run_name("segment", images.path.resolve().name), body, tuple(remarks))


def _mask_size(images: ImageFolder) -> list[int]:
    """Height and width, multiples of 16, with the shorter side at 64 pixels, or near the images' own ratio."""
    width, height = images.sizes.most_common(1)[0][0]
    scale = 64 / min(width, height)
    return [max(64, round(side * scale / 16) * 16) for side in (height, width)]
