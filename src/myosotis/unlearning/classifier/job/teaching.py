"""The teaching phase: a classifier is trained on images, as the model that is to forget or as its reference."""

from myosotis.data.images import ImageSet
from myosotis.engine.checkpoint import is_complete, newest_complete
from myosotis.engine.errors import DivergedError
from myosotis.engine.processes import device, wait_for_everyone
from myosotis.engine.seeding import derive_seed
from myosotis.models.image_classifier import load_classifier
from myosotis.models.normalization import NormalizedClassifier
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.training import TrainSettings, train_classifier


def train_settings(context: JobContext) -> TrainSettings:
    """Return the settings of a job that trains its models itself."""
    settings = context.config.train
    assert settings is not None  # noqa: S101 - the configuration has been checked
    return settings


def taught(context: JobContext, name: str, images: ImageSet | None) -> NormalizedClassifier:
    """Return a model trained on images from the job's fresh weights; taken from the run if it was done before.

    Args:
        context: The context of the job.
        name: ``"target"`` or ``"reference"``.
        images: The images to learn.

    Raises:
        DivergedError: A weight became infinite or NaN.
    """
    assert images is not None  # noqa: S101 - the configuration has been checked
    checkpoints = context.run.checkpoints
    done = is_complete(checkpoints / name)
    wait_for_everyone()
    if not done:
        context.say(f"training the {name} model on {len(images)} images")
        model = context.fresh(context.config.seed).to(device())
        if newest_complete(checkpoints / f"train-{name}") is not None:
            context.run.keep("training-resumed.json", True)
        with context.run.timed(f"train_{name}"):
            train_classifier(
                model,
                images.images,
                images.labels,
                train_settings(context),
                seed=derive_seed(context.config.seed, "training"),
                checkpoints=checkpoints / f"train-{name}",
                description=f"training the {name} model",
            )
        if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
            raise DivergedError(f"training the {name} model diverged; lower train.learning_rate")
        context.save(model, f"checkpoints/{name}")
    # Loaded again even when just made, so that a resumed run goes on from the same bytes.
    return load_classifier(checkpoints / name)[0]
