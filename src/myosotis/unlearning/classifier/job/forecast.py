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
    caps = [config.training, *(variant.training or config.training for variant in config.compare)]
    steps = sum(each.max_steps or each.epochs * -(-len(inputs.forget) // each.forget_batch_size) for each in caps)
    size = min(len(largest), config.training.batch_size + config.training.forget_batch_size)
    phases.append(Phase("unlearning, up to its cap", steps, training_step(model, loss(batch(size)))))
    copied = sum(len(sets.audited[name]) for name in ("forget", "test") if name in sets.audited)
    passes = models_audited * sum(map(len, sets.audited.values())) + (models_audited - len(config.compare)) * copied
    chunks = -(-passes // _CHUNK)
    phases.append(Phase("audits", chunks, inference_step(model, batch(min(_CHUNK, len(largest)))), "passes"))
    return phases
