"""From the configuration of a job to its images, its stream and its learner."""

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.saved import FirstEncoder, LearnerSpec
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.scenario import Scenario, class_incremental
from myosotis.data.images import ImageSet, pixel_statistics
from myosotis.data.sets import limited
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.models.image_classifier import ClassifierSpec


def make_scenario(config: ClassLearningConfig, train: ImageSet, test: ImageSet) -> Scenario:
    """Split the images of a job into its tasks.

    Args:
        config: Configuration of the job.
        train: Training images, see :func:`~myosotis.data.sets.read_sets`.
        test: Test images.

    Raises:
        InputError: Sizes or classes do not fit together.
    """
    seed = config.seed
    train = limited(train, config.data.limit, seed, "data.limit")
    # Runs of several seeds are measured on the same test images.
    test = limited(test, config.data.test_limit, 0, "data.test_limit")
    stream = config.scenario
    with settings_as_input("scenario"):
        return class_incremental(
            train,
            stream.first,
            stream.per_task,
            test=test,
            validation=stream.validation,
            seed=seed,
            **stream.order_options(seed),
        )


def describe_learner(
    config: ClassLearningConfig, scenario: Scenario, encoder: FirstEncoder | None = None
) -> LearnerSpec:
    """Return the description of the learner of a job.

    Args:
        config: Configuration of the job.
        scenario: Stream of the job.
        encoder: Encoder that ``model.init_from`` names.

    Raises:
        InputError: The encoder does not fit.
    """
    images, model = scenario.train, config.model
    size = model.size()
    if encoder is not None:
        _check_encoder(config, scenario, encoder)
        mean, std, size = encoder.spec.backbone.mean, encoder.spec.backbone.std, encoder.spec.backbone.image_size
    else:
        # Of the first task only: later tasks are not available yet.
        mean, std = model.pixels() or pixel_statistics(images, scenario[0].train.indices)
    # Grey images enter a body of colour images as three equal channels.
    body = ClassifierSpec(model.architecture, 0, len(mean), mean, std, dict(model.options), images.classes, size)
    sizes = tuple(len(task.classes) for task in scenario)
    return LearnerSpec(config.method.name, config.method.settings, body, config.norm, sizes, config.seed)


def _check_encoder(config: ClassLearningConfig, scenario: Scenario, encoder: FirstEncoder) -> None:
    key, body = f"model.init_from {config.model.init_from}", encoder.spec.backbone
    model = config.model
    if (body.architecture, dict(body.options)) != (model.architecture, dict(model.options)):
        raise InputError(
            f"{key}: is a {body.architecture} with options {dict(body.options)}, 'model' is a {model.architecture} "
            f"with {dict(model.options)}"
        )
    plain = {"bn", "tbbn"}  # the same parameters, trained differently
    if encoder.spec.norm.kind != config.norm.kind and not {encoder.spec.norm.kind, config.norm.kind} <= plain:
        raise InputError(f"{key}: is normalised by '{encoder.spec.norm.kind}', 'norm' is '{config.norm.kind}'")
    known = set(body.classes[: encoder.spec.sizes[0]])
    first = {scenario.classes[label] for label in scenario[0].classes}
    if known != first:
        raise InputError(
            f"{key}: has learnt {', '.join(sorted(known))}, the first task here is {', '.join(sorted(first))}"
        )


def make_memory(config: ClassLearningConfig) -> ExemplarMemory:
    """Return the empty exemplar memory of a job."""
    return ExemplarMemory(**config.memory.model_dump(), seed=config.seed)
