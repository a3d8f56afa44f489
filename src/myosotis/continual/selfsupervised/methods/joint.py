"""Joint training: all tasks at once."""

from myosotis.continual.selfsupervised.methods.finetune import Finetune
from myosotis.engine.method import MethodCard


class Joint(Finetune):
    """The base's loss on the samples of all tasks, shuffled; as many epochs as a task has, so as many steps in all."""

    card = MethodCard("joint", "Joint training", "-", "all tasks", "-", "The upper bound: all tasks at once.")
    sees_all = True
