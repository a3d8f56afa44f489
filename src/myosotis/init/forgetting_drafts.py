"""First configurations of the jobs that make an image classifier, or a learner, forget."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from myosotis.data.forgotten import STREAM
from myosotis.engine.artifact import read_description
from myosotis.engine.errors import InputError
from myosotis.exact.classifier import DESCRIPTION
from myosotis.init.draft import Draft, quoted, run_name, shown_path
from myosotis.init.image_drafts import DraftImages
from myosotis.init.look import ImageFolder, by_role, look_at_images
from myosotis.init.weights_draft import DraftModel, model_of_weights
from myosotis.models.image_classifier import CLASSIFIER, ClassifierSpec
from myosotis.models.recognition import recognise

PHOTO_ROLES = (
    ("forget", ("forget", "delete", "erase", "request")),
    ("test", ("test", "val")),
    ("train", ("train",)),
)
"""Roles of folders of photos, by words in their names."""


def draft_classifier_unlearning(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-classifier``.

    Args:
        paths: Folder of the photos to forget, the model, which is a directory or a file of weights, and further
            folders of images: a test set and a training set, by a word in their names, else in this order. With one
            folder and no model, a small network is trained on it and 16 of its images are forgotten; without any, on
            the digits.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these, or the photos are of classes that the model does not know.
    """
    models = [path for path in paths if any((at / CLASSIFIER).is_file() for at in (path, path / "model"))]
    images = [path for path in paths if path not in models]
    files = [path for path in images if path.is_file()]
    images = [path for path in images if path not in files]
    given = [*models, *files]
    if len(given) > 1:
        raise InputError(f"{given[1]}: is a second model, expected one")
    if not given:
        return _with_own_model(images, folder)
    found = recognise(given[0]) if files else None
    roles = by_role(images, PHOTO_ROLES)
    if "forget" not in roles:
        raise InputError(f"the folder of photos to forget is missing beside the model {given[0]}")
    looks = {role: look_at_images(path) for role, path in roles.items()}
    for look in looks.values():
        if not look.classes:
            raise InputError(f"{look.path}: expected one folder per class, named as in the model")
    if found is None:
        model = _model_of_directory(given[0], looks, folder)
    else:
        model = model_of_weights(given[0], found, looks, folder)
    size = "" if model.size is None else f", size: {model.size}"
    lines = [f"  forget: {{folder: {quoted(shown_path(roles['forget'], folder))}{size}}}"]
    for role, meaning in (("test", "images that the model never saw"), ("train", "what the model was trained on")):
        if role in roles:
            lines.append(f"  {role}: {{folder: {quoted(shown_path(roles[role], folder))}{size}}}  # {meaning}")
        else:
            lines.append(f"  # {role}: {{folder: ...{size}}}  # {meaning}: the report can say more with it")
    body = f"""
{model.lines}

data:
{chr(10).join(lines)}

{_preset_line(retained="train" in roles)}

# What the report says of the request.
request: {{id: null, received: null, deadline: null}}
"""
    remarks = (f"To forget: {looks['forget'].count} images of {len(looks['forget'].classes)} classes.", *model.remarks)
    return Draft("unlearn-classifier", run_name("forget", roles["forget"].resolve().name), body, remarks)


def _model_of_directory(path: Path, looks: Mapping[str, ImageFolder], folder: Path) -> DraftModel:
    """The model of a run, or of its directory."""
    model = path if (path / CLASSIFIER).is_file() else path / "model"
    classes = read_description(ClassifierSpec, model / CLASSIFIER, "a classifier").classes
    for look in looks.values():
        unknown = next((name for name in look.classes if classes and name not in classes), None)
        if unknown is not None:
            raise InputError(f"{look.path / unknown}: the model has no class '{unknown}'; it has {', '.join(classes)}")
    return DraftModel(f"model: {{path: {quoted(shown_path(model, folder, dotted=True))}}}", looks["forget"].size)


def _preset_line(*, retained: bool) -> str:
    """Return the line of the preset that the data allows: without retained images no teacher can be taught."""
    why = "answer as a model that never saw them" if retained else "without `train`: answer wrongly"
    name = "as_unseen" if retained else "recommended"
    return f"preset: {name}  # {why}; or goal, method and training, see myosotis methods unlearn-classifier"


def draft_exact_forgetting(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-exact``.

    Args:
        paths: Folder of the photos to forget, the learner or its run, and further folders: a test set and a training
            set, by a word in their names, else in this order.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these.
    """
    learners = [path for path in paths if any((at / DESCRIPTION).is_file() for at in (path, path / "model"))]
    _check_one(learners, "a run of 'learn-classes' by simplecil, ranpac or fecam")
    return _from_learner(learners[0], paths, folder, "unlearn-exact")


def draft_learner_forgetting(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``unlearn-learner``.

    Args:
        paths: Folder of the photos to forget, the run of the learner, and further folders, as for
            :func:`draft_exact_forgetting`.
        folder: Folder of the configuration.

    Raises:
        InputError: A path is none of these.
    """
    learners = [path for path in paths if (path / STREAM).is_file()]
    _check_one(learners, "a run of 'learn-classes'")
    if (learners[0] / "model" / DESCRIPTION).is_file():
        raise InputError(f"{learners[0]}: its head is made of sums; `myosotis init unlearn-exact` is for those")
    return _from_learner(learners[0], paths, folder, "unlearn-learner")


def _check_one(learners: Sequence[Path], expected: str) -> None:
    if len(learners) != 1:
        more = f"{learners[1]}: is a second learner, expected one" if learners else "the learner is missing"
        raise InputError(f"{more}: {expected}")


def _from_learner(learner: Path, paths: Sequence[Path], folder: Path, job: str) -> Draft:
    """A draft that takes photos out of a learner.

    Args:
        learner: The learner.
        paths: Folders of images, the learner among them.
        folder: Folder of the configuration.
        job: Kind of job.
    """
    roles = by_role([path for path in paths if path != learner], PHOTO_ROLES)
    if "forget" not in roles:
        raise InputError(f"the folder of photos to forget is missing beside the learner {learner}")
    looks = {role: look_at_images(path) for role, path in roles.items()}
    lines = [f"  forget: {{folder: {quoted(shown_path(roles['forget'], folder))}}}"]
    for role, meaning in (("test", "whether the rest is kept is judged by these"), ("train", "what it has learned")):
        given = f"{{folder: {quoted(shown_path(roles[role], folder))}}}" if role in roles else "{folder: ...}"
        lines.append(f"  {'' if role in roles else '# '}{role}: {given}  # {meaning}")
    # A head of sums forgets in one way.
    preset = "" if job == "unlearn-exact" else f"{_preset_line(retained='train' in roles)}\n\n"
    body = f"""
model: {{learner: {quoted(shown_path(learner, folder, dotted=True))}}}

# Images must have the size in pixels with which they were learned: `size` of a test or training set scales them.
data:
{chr(10).join(lines)}

{preset}# What the report says of the request.
request: {{id: null, received: null, deadline: null}}
"""
    remarks = [f"To forget: {looks['forget'].count} images of {len(looks['forget'].classes)} classes."]
    return Draft(job, run_name("forget", roles["forget"].resolve().name), body, tuple(remarks))


def _with_own_model(images: Sequence[Path], folder: Path) -> Draft:
    sets = DraftImages(images, "unlearn-classifier", folder)
    body = f"""
{sets.model}

data:
  train: {sets.train}
  test: {sets.test}
  forget: {{count: {max(1, min(16, sets.count // 10))}}}  # drawn; or {{list: FILE}} with the names of images

# No model was given, so one is trained first; with a model: model: {{path: DIRECTORY}}, and no `train`.
train:
  epochs: {2 * sets.epochs}
  batch_size: {sets.batch}

reference: retrain   # a second model that never saw the images, to compare with
{_preset_line(retained=True)}
"""
    return Draft("unlearn-classifier", run_name("forget", sets.name), body, tuple(sets.remarks))
