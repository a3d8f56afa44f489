"""Probe the encoders that a class-incremental run had after each task."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn import functional

from myosotis.continual.classification.config import ClassLearningConfig
from myosotis.continual.classification.inputs import make_scenario
from myosotis.continual.classification.job import ClassLearningJob
from myosotis.continual.classification.learner import Learner
from myosotis.continual.classification.saved import load_learner
from myosotis.continual.scenario import Scenario
from myosotis.continual.verdict import kept_since_learnt, majority
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet, to_unit
from myosotis.data.sets import read_sets, set_fingerprints
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import read_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Say
from myosotis.engine.run import Run
from myosotis.evaluation.learning import LearningVerdict, Share, above_level, learning_verdict
from myosotis.evaluation.probe import linear_probe
from myosotis.evaluation.representation import Encoding, Mode, representation_report
from myosotis.models.modes import evaluating

_CHUNK = 500


def features_of(
    learner: Learner[Any], images: Tensor, indices: Int[Tensor, " n"], device: torch.device | str = "cpu"
) -> Tensor:
    """Return the features of the learner's network for images without augmentation, in evaluation mode."""
    with evaluating(learner.net), torch.no_grad():
        parts = [learner.net(to_unit(images[chunk].to(device))).features.float() for chunk in indices.split(_CHUNK)]
    return torch.cat(parts)


def probe_run(
    run: Run,
    *,
    mode: Mode = "full",
    per_class: int = 20,
    neighbours: int = 20,
    naive: Run | None = None,
    downstream: Sequence[Path] = (),
    device: torch.device | str = "cpu",
    say: Say = print,
) -> dict[str, Any]:
    """Measure the representation that a run had after each task; see :func:`representation_report`.

    Args:
        run: Finished run of ``learn-classes`` with ``keep_learners``.
        mode: Samples of the linear probes, see :func:`~myosotis.evaluation.representation.representation_report`.
        per_class: Samples of each class, for ``mode="balanced"``.
        neighbours: Number k of the nearest-neighbour probe.
        naive: Probed run of plain fine-tuning, whose gain is subtracted.
        downstream: Directories with ``train/<class>/*`` and ``test/<class>/*`` of other data.
        device: Device of the encoders.
        say: Receives a line about the progress.

    Returns:
        Report, ready for JSON; ``unchanged`` says whether every encoder is the same after the measurement.

    Raises:
        InputError: The run has no learners, its images have changed, or something else does not fit.
    """
    paths = _learner_paths(run)
    result, config = run.result(), ClassLearningConfig(**run.settings())
    scenario = make_scenario(config, *read_sets(config.data))
    if set_fingerprints(scenario.train, _test_of(scenario), run.salt) != result["lineage"]["data"]:
        raise InputError(f"{run.path}: its images have changed since")
    base = None if naive is None else _gain_of(naive, mode)
    others = [_read_downstream(path, scenario) for path in downstream]
    train = torch.cat([task.train.indices for task in scenario]).sort().values
    test = _test_of(scenario)
    history, hashes, alignment, transfer = [], [], [], []
    with settings_as_input(str(run.path)):
        for number, path in enumerate(paths):
            say(f"measuring the encoder after task {number + 1}")
            learner, _ = load_learner(path)
            learner.net.to(device)
            before = weights_hash(learner.net)
            history.append(
                Encoding(
                    features_of(learner, scenario.train.images, train, device),
                    features_of(learner, test.images, torch.arange(len(test)), device),
                )
            )
            transfer.append([_downstream(learner, pair, device, per_class, mode) for pair in others])
            probe: Any = {"mode": mode, "per_class": per_class, "seed": config.seed}
            alignment.append(head_to_probe(learner, history[-1], scenario, train, number, **probe))
            hashes.append((before, weights_hash(learner.net)))
        report = representation_report(
            history,
            scenario.train.labels[train],
            test.labels,
            [list(task.classes) for task in scenario],
            accuracies=result["metrics"]["accuracy_curve"],
            mode=mode,
            per_class=per_class,
            neighbours=neighbours,
            seed=config.seed,
        )
    names = [path.name for path in downstream]
    return {
        **asdict(report),
        "neighbours": neighbours,
        "net_of_naive": None if base is None else report.gain - base,
        "head_to_probe": alignment,
        "downstream": {name: [row[column] for row in transfer] for column, name in enumerate(names)},
        "downstream_mean": [sum(row) / len(row) for row in transfer] if names else None,
        "verdict": _verdict(result, report.probe_all[-1], report.probe_task, config.confidence).model_dump(mode="json"),
        "unchanged": all(before == after for before, after in hashes),
        "encoders": [before for before, _ in hashes],
    }


def _verdict(
    result: Mapping[str, Any], final: float, among_tasks: Sequence[Sequence[float]], confidence: float
) -> LearningVerdict:
    """The last probe on all classes against the most frequent class, and probes of earlier tasks since each was learnt.

    Args:
        result: Result of the run.
        final: Accuracy of the last probe on all classes.
        among_tasks: Row k: accuracy of probes among the classes of each task after task k.
        confidence: Level of confidence.
    """
    counts = result["samples"]["test"]
    learnt = above_level(
        Share.of([final], [sum(counts)]),
        majority(result["confusion"]),
        measure="linear probe on all classes at the end",
        against_of="always predicting the most frequent class",
        confidence=confidence,
    )
    kept = kept_since_learnt(
        among_tasks, counts, measure="probes among the classes of earlier tasks", confidence=confidence
    )
    return learning_verdict([learnt], kept)


def _learner_paths(run: Run) -> list[Path]:
    """The directories of the learners after each task; raises unless the run has them."""
    result = run.result()
    if result.get("kind") != ClassLearningJob.kind:
        raise InputError(f"{run.path}: is not a run of 'learn-classes'")
    paths = [run.learners / f"task-{number + 1}" for number in range(len(result["tasks"]))]
    if not all(is_complete(path) for path in paths):
        raise InputError(f"{run.path}: saved no learners; run it again with 'keep_learners: true'")
    return paths


def _test_of(scenario: Scenario) -> ImageSet:
    assert scenario.test is not None  # noqa: S101 - the run was measured on it
    return scenario.test


def _gain_of(naive: Run, mode: Mode) -> float:
    path = naive.path / "probe.json"
    probe = read_json(path) if path.is_file() else None
    if probe is None:
        raise InputError(f"{naive.path}: was not probed yet; run 'myosotis probe {naive.path}' first")
    if probe["mode"] != mode:
        raise InputError(f"{naive.path}: was probed in mode '{probe['mode']}', not '{mode}'")
    return float(probe["gain"])


def _read_downstream(path: Path, scenario: Scenario) -> tuple[ImageSet, ImageSet]:
    side = scenario.train.images.shape[-1]
    pair = read_image_folder(path / "train", side), read_image_folder(path / "test", side)
    if pair[0].classes != pair[1].classes:
        raise InputError(f"{path}: training and test images have different classes")
    channels = scenario.train.images.shape[1]
    if any(images.images.shape[1] != channels for images in pair):
        raise InputError(f"{path}: has images of {pair[0].images.shape[1]} channels, the encoders take {channels}")
    shared = sorted(set(pair[0].classes) & set(scenario.classes))
    if shared:
        raise InputError(f"{path}: shares the class {shared[0]} with the run; transfer is measured on other classes")
    return pair


def _downstream(
    learner: Learner[Any], pair: tuple[ImageSet, ImageSet], device: torch.device | str, per_class: int, mode: Mode
) -> float:
    train, test = pair
    return linear_probe(
        features_of(learner, train.images, torch.arange(len(train)), device),
        train.labels,
        features_of(learner, test.images, torch.arange(len(test)), device),
        test.labels,
        mode=mode,
        per_class=per_class,
    ).accuracy


def head_to_probe(
    learner: Learner[Any],
    encoding: Encoding,
    scenario: Scenario,
    train: Int[Tensor, " n"],
    number: int,
    *,
    mode: Mode = "full",
    per_class: int = 20,
    seed: int = 0,
) -> float | None:
    """Return the mean cosine between the rows of a learner's linear head and those of a probe of the classes so far.

    Args:
        learner: Learner after the task.
        encoding: Features of the images.
        scenario: Stream with a test set.
        train: Indices of the training images in ``encoding``.
        number: Index of the task.
        mode: Samples of the probe, see :func:`~myosotis.evaluation.probe.linear_probe`.
        per_class: Samples of each class, for ``mode="balanced"``.
        seed: Seed of the probe.

    Returns:
        Mean cosine; None without a linear head, or with a single class.
    """
    head = learner.linear_head()
    classes = scenario[number].classes.stop
    if head is None or classes < 2:
        return None
    labels = scenario.train.labels[train]
    known = labels < classes
    test = _test_of(scenario)
    known_test = test.labels < classes
    probe = linear_probe(
        encoding.train[known],
        labels[known],
        encoding.test[known_test],
        test.labels[known_test],
        mode=mode,
        per_class=per_class,
        seed=seed,
    )
    # A vector added to all rows changes no prediction, so the mean row is subtracted from both.
    own, fitted = head[0].double(), probe.weight
    return functional.cosine_similarity(own - own.mean(0), fitted - fitted.mean(0), dim=1).mean().item()
