"""Settings of the training of a segmentation stream."""

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from myosotis.continual.stream import TaskTraining
from myosotis.engine.schedule import Schedule


class SegmentationSettings(TaskTraining):
    """Training of each task.

    Attributes:
        iterations: Steps of each task; None counts epochs.
        first_iterations: Steps of the first task; None: as many as of the others.
        epochs: Passes over the current images.
        learning_rate: Learning rate of the first task.
        later_rate: Learning rate of the other tasks; None: the same.
        head_factor: Factor of the heads' learning rate, in later tasks.
        optimizer: ``"sgd"`` with Nesterov momentum 0.9, or ``"adamw"``.
        weight_decay: Weight decay of the optimiser.
        batch_size: Images per step, over all processes, remembered images included.
        power: Power of ``schedule: poly``, see :func:`~myosotis.engine.schedule.make_schedule`.
        scale: Range of the random scale, see :class:`~.batches.DenseAugmentation`.
        crop: Height and width of the random crop.
        flip: Whether images are mirrored at random.
    """

    iterations: PositiveInt | None = None
    first_iterations: PositiveInt | None = None
    epochs: PositiveInt = 30
    learning_rate: PositiveFloat = 0.01
    later_rate: PositiveFloat | None = None
    head_factor: PositiveFloat = 1.0
    optimizer: Literal["sgd", "adamw"] = "sgd"
    weight_decay: NonNegativeFloat = 1e-4
    batch_size: PositiveInt = 24
    schedule: Schedule = "poly"
    power: PositiveFloat = 0.9
    scale: tuple[PositiveFloat, PositiveFloat] | None = None
    crop: tuple[PositiveInt, PositiveInt] | None = None
    flip: bool = True

    @model_validator(mode="after")
    def _belongs(self) -> "SegmentationSettings":
        plain = type(self).model_fields
        if self.iterations is not None and self.epochs != plain["epochs"].default:
            raise ValueError("give either 'iterations' or 'epochs'")
        if self.first_iterations is not None and self.iterations is None:
            raise ValueError("'first_iterations' goes with 'iterations'")
        if self.schedule != "poly" and self.power != plain["power"].default:
            raise ValueError("'power' belongs to 'schedule: poly'")
        if self.scale is not None and (self.crop is None or self.scale[0] > self.scale[1]):
            raise ValueError("'scale' is a range, and needs a 'crop'")
        return self
