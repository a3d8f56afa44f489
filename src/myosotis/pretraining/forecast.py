"""How long pre-training would take."""

from collections.abc import Callable

import torch
from torch import Tensor

from myosotis.data.images import to_unit
from myosotis.engine.forecast import Phase, steps_of, training_step
from myosotis.engine.processes import device, processes
from myosotis.pretraining.config import PretrainConfig
from myosotis.pretraining.image_sets import PretrainSets
from myosotis.pretraining.masked_model import MaskedModel


def pretrain_phase(config: PretrainConfig, sets: PretrainSets, model: MaskedModel, runs: int = 1) -> Phase:
    """Return the training: the objective on the first images, at the ratio of the job.

    Args:
        config: Job.
        sets: Images.
        model: Network, by its architecture.
        runs: Number of trainings.
    """
    training = config.training
    images = to_unit(sets.train.images[: max(1, training.batch_size // processes())].to(device()))
    step = training_step(model.to(device()).train(), _loss(model, images, config.ratio))
    return Phase("pre-training", runs * steps_of([len(sets.train)], training.batch_size, training.epochs), step)


def _loss(model: MaskedModel, images: Tensor, ratio: float) -> Callable[[], Tensor]:
    stream = torch.Generator().manual_seed(0)

    def loss() -> Tensor:
        terms = model(images, ratio=ratio, generator=stream).terms
        return torch.stack(list(terms.values())).sum()

    return loss
