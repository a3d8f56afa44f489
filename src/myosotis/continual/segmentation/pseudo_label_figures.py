"""How well a network labels old classes in the images of the next task."""

from typing import Any

import torch

from myosotis.continual.segmentation.batches import plain_batches
from myosotis.continual.segmentation.learner import SegmentationLearner
from myosotis.continual.segmentation.result import ImageGroup, PseudoLabels
from myosotis.continual.segmentation.scenario import SegmentationStream
from myosotis.data.masks import IGNORE
from myosotis.models.modes import evaluating

_CHUNK = 32  # images per forward pass


def pseudo_label_figures(
    learner: SegmentationLearner[Any], stream: SegmentationStream, number: int, device: torch.device | str
) -> PseudoLabels:
    """Return how well a network labels old classes in the images of the next task, by whether it was trained on them.

    The true masks are read for these figures only, never for training.

    Args:
        learner: Learner before the task.
        stream: Stream of tasks.
        number: Index of the task, at least 1.
        device: Device of the network.
    """
    old = stream.known_classes(number - 1)
    known = 1 + len(old)
    table = torch.full((256,), known, dtype=torch.uint8)  # classes that are not old
    for label, channel in stream.channel_of.items():
        if label in old:
            table[label] = channel
    table[0], table[IGNORE] = 0, IGNORE
    earlier = {index for task in stream.tasks[:number] for index in task.train.tolist()}
    current = stream.tasks[number].train.tolist()
    groups = {}
    with evaluating(learner.net), torch.no_grad():
        for name, indices in (
            ("seen", [index for index in current if index in earlier]),
            ("unseen", [index for index in current if index not in earlier]),
        ):
            correct = count = false = others = 0
            for images, target in plain_batches(stream.train, indices, table, _CHUNK, torch.device(device)):
                predicted = learner.scores(images).argmax(dim=1)
                of_old = (target > 0) & (target < known)
                other = target == known
                count, correct = count + int(of_old.sum()), correct + int((predicted == target)[of_old].sum())
                others, false = others + int(other.sum()), false + int((predicted > 0)[other].sum())
            groups[name] = ImageGroup(
                images=len(indices),
                old_pixels=count,
                right=correct / count if count else None,
                other_pixels=others,
                taken_for_old=false / others if others else None,
            )
    return PseudoLabels(**groups)
