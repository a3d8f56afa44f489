"""How long a job of ``unlearn-classifier`` would take."""

import copy
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from myosotis.data.images import to_unit
from myosotis.engine.forecast import Phase, inference_step, steps_of, training_step
from myosotis.engine.processes import device
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.image_sets import ImageSets
from myosotis.unlearning.classifier.job.inputs import Inputs
from myosotis.unlearning.classifier.job.models import Models
from myosotis.unlearning.classifier.methods import build_method

_CHUNK = 500


def classifier_phases(
    config: ClassifierUnlearningConfig, inputs: Inputs, sets: ImageSets, models: Models
) -> list[Phase]:
    """Return the parts of a job.

    Args:
        config: Job.
        inputs: Images to forget and others.
        sets: Images of the audits.
        models: Models of the job.
    """
    model = copy.deepcopy(models.base).to(device())
    largest = max((inputs.forget, inputs.remaining or inputs.forget), key=len)

    def batch(size: int) -> Tensor:
        return to_unit(largest.images[:size].to(device()))

    def loss(images: Tensor) -> Callable[[], Tensor]:
        return lambda: functional.cross_entropy(model(images), largest.labels[: len(images)].to(device()))

    phases = []
    models_audited = 2 + (config.reference is not None) + len(config.compare)
    if config.train is not None:
        size = min(config.train.batch_size, len(largest))
        learnt = [len(inputs.forget) + len(inputs.remaining or ())]
        learnt += [len(inputs.remaining or ())] if config.reference == "retrain" else []
        step = training_step(model, loss(batch(size)))
        phases.append(Phase("teaching", steps_of(learnt, size, config.train.epochs), step))
    wanted = [(config.method, config.training)]
    wanted += [(variant.method, variant.training or config.training) for variant in config.compare]
    beginning, whole, capped = 0, 0, 0
    for method, each in wanted:
        built = build_method(method.name, method.settings)
        beginning += built.steps_to_begin(len(inputs.forget), each.batch_size)
        steps = each.max_steps or each.epochs * -(-len(inputs.forget) // each.forget_batch_size)
        if built.stops_at_goal:
            capped += steps
        else:
            whole += steps
    size = min(len(largest), config.training.batch_size + config.training.forget_batch_size)
    step = training_step(model, loss(batch(size)))
    if beginning:
        phases.append(Phase("attack or teacher before the unlearning", beginning, step))
    if whole:
        phases.append(Phase("unlearning", whole, step))
    if capped:
        phases.append(Phase("unlearning, up to its cap", capped, step, may_stop=True))
    copied = sum(len(sets.audited[name]) for name in ("forget", "test") if name in sets.audited)
    passes = models_audited * sum(map(len, sets.audited.values())) + (models_audited - len(config.compare)) * copied
    chunks = -(-passes // _CHUNK)
    phases.append(Phase("audits", chunks, inference_step(model, batch(min(_CHUNK, len(largest)))), "passes"))
    return phases
