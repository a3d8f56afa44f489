"""Whether a continual learner has improved its representation, or only keeps a good head on an old one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from myosotis.evaluation.cka import linear_cka
from myosotis.evaluation.probe import PENALTIES, knn_probe, linear_probe

Mode = Literal["full", "balanced"]


@dataclass(frozen=True)
class Encoding:
    """What one encoder makes of the samples of all tasks.

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
        probe_seen: LP_t, accuracy of a linear probe of f_t on the classes seen so far.
        probe_all: The same on the classes of all tasks, those to come among them.
        probe_task: Row t: accuracy of a probe of f_t on the classes of each single task; 1 for a task of one class.
        knn_seen: As ``probe_seen``, by nearest neighbours.
        head_gap: LP_t less the learner's own accuracy: what a better head could gain without new features. None where
            the accuracies were not given.
        gain: ``probe_all`` at the end less that after the first task: what the later tasks have added.
        stability: Similarity (linear CKA) of the first and the last encoder on test samples of the first task; None
            for a single task.
        plasticity: For each task but the first, its own probe accuracy after it was learnt less that before.
        mode: Of the probes.
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
    alone, never on what a learner has kept in its memory.

    Args:
        history: After each task, in order; what all encoders make of the same samples.
        train_labels: Of the training samples.
        test_labels: Of the test samples.
        tasks: Classes of each task.
        accuracies: A_t, the learner's own accuracy on all classes so far, after each task.
        mode: See above.
        per_class: For ``"balanced"``.
        penalties: Of the linear probes.
        neighbours: k of the nearest-neighbour probe.
        seed: Of draws and splits.

    Raises:
        ValueError: Lengths do not match, or a class has too few samples.
    """
    if len(history) != len(tasks) or (accuracies is not None and len(accuracies) != len(tasks)):
        raise ValueError(f"needs an encoding, and an accuracy if any, for each of {len(tasks)} tasks")
    if not history:
        raise ValueError("there is no task")

    def places(classes: Sequence[int]) -> tuple[Tensor, Tensor]:
        wanted = torch.tensor(list(classes))
        return torch.isin(train_labels, wanted), torch.isin(test_labels, wanted)

    def linear(encoding: Encoding, classes: Sequence[int]) -> float:
        learnt, measured = places(classes)
        if len(classes) == 1:
            return 1.0  # nothing to tell apart
        return linear_probe(
            encoding.train[learnt],
            train_labels[learnt],
            encoding.test[measured],
            test_labels[measured],
            mode=mode,
            per_class=per_class,
            penalties=penalties,
            seed=seed,
        ).accuracy

    def nearest(encoding: Encoding, classes: Sequence[int]) -> float:
        learnt, measured = places(classes)
        return knn_probe(
            encoding.train[learnt],
            train_labels[learnt],
            encoding.test[measured],
            test_labels[measured],
            k=neighbours,
        )

    every = [label for classes in tasks for label in classes]
    seen = [[label for classes in tasks[: number + 1] for label in classes] for number in range(len(tasks))]
    probe_seen = [linear(encoding, classes) for encoding, classes in zip(history, seen, strict=True)]
    # At the end all classes have been seen.
    probe_all = [*(linear(encoding, every) for encoding in history[:-1]), probe_seen[-1]]
    probe_task = [[linear(encoding, classes) for classes in tasks] for encoding in history]
    first = places(tasks[0])[1]
    gaps = None
    if accuracies is not None:
        gaps = [probe - own for probe, own in zip(probe_seen, accuracies, strict=True)]
    return RepresentationReport(
        probe_seen=probe_seen,
        probe_all=probe_all,
        probe_task=probe_task,
        knn_seen=[nearest(encoding, classes) for encoding, classes in zip(history, seen, strict=True)],
        head_gap=gaps,
        gain=probe_all[-1] - probe_all[0],
        stability=linear_cka(history[0].test[first], history[-1].test[first]) if len(history) > 1 else None,
        plasticity=[probe_task[task][task] - probe_task[task - 1][task] for task in range(1, len(tasks))],
        mode=mode,
        per_class=per_class if mode == "balanced" else None,
    )
