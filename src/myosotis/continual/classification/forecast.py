"""How long learning a stream of classes would take."""

from typing import Any

from torch.nn import functional

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.methods.joint import Joint
from myosotis.continual.classification.saved import make_learner
from myosotis.continual.scenario import Scenario
from myosotis.engine.forecast import Phase, steps_of, training_step
from myosotis.engine.processes import device, processes


def class_phase(config: ClassLearningConfig, spec: Any, scenario: Scenario, learnt: int = 0) -> Phase:
    """Return the training of the tasks: cross-entropy on batches of the first of them.

    Args:
        config: Job.
        spec: Description of the learner.
        scenario: Stream.
        learnt: Tasks of an earlier run, which are not learnt again.
    """
    training = config.training
    learner = make_learner(spec)
    learner.grow(0, len(scenario[0].classes))
    net = learner.net.to(device()).train()
    share = max(1, training.batch_size // processes())
    task = scenario[learnt].train
    rows = [int(index) for index in task.indices[:share]]
    images = task.dataset.subset(rows).pixels(device())
    labels = task.dataset.labels[rows].to(device()) * 0
    step = training_step(net, lambda: functional.cross_entropy(net(images).logits, labels))
    return Phase("training", _steps(config, learner, [len(each.train) for each in scenario], learnt), step)


def _steps(config: ClassLearningConfig, learner: Any, sizes: list[int], learnt: int) -> int:
    training, memory = config.training, config.memory
    current = training.batch_size
    if isinstance(learner, Joint):
        sizes = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    elif training.memory_batch_size is not None:
        current -= training.memory_batch_size
    elif not learner.own_memory:
        stored = memory.total or (memory.per_class or 0) * config.scenario.first
        sizes = [size + (stored if number else 0) for number, size in enumerate(sizes)]
    return steps_of(sizes[learnt:], current, training.epochs)
