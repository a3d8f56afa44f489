"""Whether a continual learner improves its representation, or only has a good head on an old one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.evaluation.cka import linear_cka
from myosotis.evaluation.probe import PENALTIES, knn_probe, linear_probe

Mode = Literal["full", "balanced"]


@dataclass(frozen=True)
class Encoding:
    """Features of the samples of all tasks by one encoder.

    Attributes:
        train: Features of the training samples.
        test: Features of the test samples.
    """

    train: Float[Tensor, "n features"]
    test: Float[Tensor, "m features"]


@dataclass(frozen=True)
class RepresentationReport:
    """Figures of a stream of encoders, one after each task (Cha et al., arXiv 2206.08101; the definitions are ours).

    Attributes:
        probe_seen: LP_t, accuracy of a linear probe of f_t on the known classes.
        probe_all: Accuracy of a linear probe of f_t on the classes of all tasks, future ones included.
        probe_task: Row t: accuracy of a probe of f_t on the classes of each single task; 1 for a task of one class.
        knn_seen: Accuracy on the known classes by nearest neighbours.
        head_gap: LP_t less the learner's own accuracy: the possible gain of a better head on the same features. None if
            the accuracies were not given.
        gain: ``probe_all`` at the end less that after the first task: the gain of the later tasks.
        stability: Similarity (linear CKA) of the first and the last encoder on test samples of the first task; None
            for a single task.
        plasticity: For each task but the first, its own probe accuracy after it was learned less that before.
        mode: Mode of the probes.
        per_class: Samples of each class that a balanced probe is fitted on; None for a full one.
    """

    probe_seen: list[float]
    probe_all: list[float]
    probe_task: list[list[float]]
    knn_seen: list[float]
    head_gap: list[float] | None
    gain: float
    stability: float | None
    plasticity: list[float]
    mode: Mode
    per_class: int | None


def representation_report(
    history: Sequence[Encoding],
    train_labels: Int[Tensor, " n"],
    test_labels: Int[Tensor, " m"],
    tasks: Sequence[Sequence[int]],
    *,
    accuracies: Sequence[float] | None = None,
    mode: Mode = "full",
    per_class: int = 20,
    penalties: Sequence[float] = PENALTIES,
    neighbours: int = 20,
    seed: int = 0,
) -> RepresentationReport:
    """Measure the encoders that a continual learner had after each task.

    ``"full"`` fits probes to all training samples of the classes in question, as the paper's later versions do;
    ``"balanced"`` to a small set with as many of each class, as its first version does. The draw depends on the seed
    alone, never on a learner's memory.

    Args:
        history: Features of the same samples by the encoder after each task, in order.
        train_labels: Classes of the training samples.
        test_labels: Classes of the test samples.
        tasks: Classes of each task.
        accuracies: A_t, the learner's own accuracy on all classes so far, after each task.
        mode: Samples that probes are fitted to, see above.
        per_class: Samples per class, for ``"balanced"``.
        penalties: Penalties of the linear probes.
        neighbours: Number k of the nearest-neighbour probe.
        seed: Seed of draws and splits.

    Raises:
        ValueError: Lengths do not match, or a class has too few samples.
    """
    _check_lengths(history, tasks, accuracies)

    def selected(encoding: Encoding, classes: Sequence[int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        own = torch.tensor(list(classes))
        train, test = torch.isin(train_labels, own), torch.isin(test_labels, own)
        return encoding.train[train], train_labels[train], encoding.test[test], test_labels[test]

    def linear(encoding: Encoding, classes: Sequence[int]) -> float:
        if len(classes) == 1:
            return 1.0
        options: dict[str, Any] = {"mode": mode, "per_class": per_class, "penalties": penalties, "seed": seed}
        return linear_probe(*selected(encoding, classes), **options).accuracy

    def nearest(encoding: Encoding, classes: Sequence[int]) -> float:
        return knn_probe(*selected(encoding, classes), k=neighbours)

    all_classes = [label for classes in tasks for label in classes]
    known_classes = [[label for classes in tasks[: number + 1] for label in classes] for number in range(len(tasks))]
    probe_seen = [linear(encoding, classes) for encoding, classes in zip(history, known_classes, strict=True)]
    # At the end all classes are known.
    probe_all = [*(linear(encoding, all_classes) for encoding in history[:-1]), probe_seen[-1]]
    probe_task = [[linear(encoding, classes) for classes in tasks] for encoding in history]
    first = torch.isin(test_labels, torch.tensor(list(tasks[0])))
    gaps = None
    if accuracies is not None:
        gaps = [probe - accuracy for probe, accuracy in zip(probe_seen, accuracies, strict=True)]
    return RepresentationReport(
        probe_seen=probe_seen,
        probe_all=probe_all,
        probe_task=probe_task,
        knn_seen=[nearest(encoding, classes) for encoding, classes in zip(history, known_classes, strict=True)],
        head_gap=gaps,
        gain=probe_all[-1] - probe_all[0],
        stability=linear_cka(history[0].test[first], history[-1].test[first]) if len(history) > 1 else None,
        plasticity=[probe_task[task][task] - probe_task[task - 1][task] for task in range(1, len(tasks))],
        mode=mode,
        per_class=per_class if mode == "balanced" else None,
    )


def _check_lengths(
    history: Sequence[Encoding], tasks: Sequence[Sequence[int]], accuracies: Sequence[float] | None
) -> None:
    if len(history) != len(tasks) or (accuracies is not None and len(accuracies) != len(tasks)):
        raise ValueError(f"expected an encoding, and an accuracy if any are given, for each of {len(tasks)} tasks")
    if not history:
        raise ValueError("no tasks given")
