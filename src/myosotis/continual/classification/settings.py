"""Settings of the training of a class-incremental stream."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from myosotis.continual.stream import TaskTraining


class TrainSettings(TaskTraining):
    """Training of each task by SGD with momentum.

    Attributes:
        epochs: Epochs per task.
        learning_rate: Largest learning rate.
        momentum: Momentum of SGD.
        nesterov: Whether the momentum has Nesterov's form.
        weight_decay: Weight decay of SGD.
        batch_size: Samples per step, over all processes, remembered samples included.
        memory_batch_size: Remembered samples among them; None shuffles all together.
        drops: Drops of ``schedule: step``, see :func:`~myosotis.engine.schedule.make_schedule`.
        drop_factor: Factor of each drop.
        padding: Largest shift of an image in pixels, see
            :class:`~myosotis.continual.classification.batches.Augmentation`.
        flip: Whether images are mirrored at random.
    """

    epochs: PositiveInt = 10
    learning_rate: PositiveFloat = 0.1
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    nesterov: bool = False
    weight_decay: NonNegativeFloat = 5e-4
    batch_size: PositiveInt = 64
    memory_batch_size: PositiveInt | None = None
    drops: PositiveInt = 3
    drop_factor: Annotated[float, Field(gt=0, le=1)] = 0.1
    padding: NonNegativeInt = 0
    flip: bool = False
