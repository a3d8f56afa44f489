"""Probe the encoders that a class-incremental run had after each task."""

from collections.abc import Sequence
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
from myosotis.data.image_folders import read_image_folder
from myosotis.data.images import ImageSet, to_unit
from myosotis.data.sets import read_sets, set_fingerprints
from myosotis.engine.checkpoint import is_complete
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.files import read_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Say
from myosotis.engine.run import Run
from myosotis.evaluation.probe import linear_probe
from myosotis.evaluation.representation import Encoding, Mode, representation_report
from myosotis.models.modes import evaluating

_CHUNK = 500


def features_of(
    learner: Learner[Any], images: Tensor, places: Int[Tensor, " n"], device: torch.device | str = "cpu"
) -> Tensor:
    """Return what the learner's network sees in images, below its head: in evaluation mode, without augmentation."""
    with evaluating(learner.net), torch.no_grad():
        parts = [learner.net(to_unit(images[some].to(device))).features.float() for some in places.split(_CHUNK)]
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
        run: Finished, of the kind ``learn-classes``, with ``keep_learners``.
        mode: See :func:`~myosotis.evaluation.representation.representation_report`, as for the next two.
        per_class: Likewise.
        neighbours: Likewise.
        naive: A run of plain fine-tuning that was probed already, whose gain is taken away.
        downstream: Directories with ``train/<class>/*`` and ``test/<class>/*`` of other data.
        device: Of the encoders.
        say: Takes a line about what is going on.

    Returns:
        The report, ready for JSON; ``unchanged`` says that no encoder was changed by being looked at.

    Raises:
        InputError: The run kept no learners, its images have changed, or something else does not fit.
    """
    result = run.result()
    if result.get("kind") != ClassLearningJob.kind:
        raise InputError(f"{run.path}: is not a run of 'learn classes'")
    places = [run.learners / f"task-{number + 1}" for number in range(len(result["tasks"]))]
    if not all(is_complete(place) for place in places):
        raise InputError(f"{run.path}: kept no learners; 'keep_learners: true' does")
    config = ClassLearningConfig(**run.settings())
    scenario = make_scenario(config, *read_sets(config.data))
    if set_fingerprints(scenario.train, _test_of(scenario), run.salt) != result["lineage"]["data"]:
        raise InputError(f"{run.path}: its images have changed since")
    base = None if naive is None else _gain_of(naive, mode)
    others = [_read_downstream(path, scenario) for path in downstream]
    train = torch.cat([task.train.places for task in scenario]).sort().values
    test = _test_of(scenario)
    history, hashes, alignment, elsewhere = [], [], [], []
    with settings_as_input(str(run.path)):
        for number, place in enumerate(places):
            say(f"looking at the encoder after task {number + 1}")
            learner, _ = load_learner(place)
            learner.net.to(device)
            before = weights_hash(learner.net)
            history.append(
                Encoding(
                    features_of(learner, scenario.train.images, train, device),
                    features_of(learner, test.images, torch.arange(len(test)), device),
                )
            )
            elsewhere.append([_downstream(learner, one, device, per_class, mode) for one in others])
            alignment.append(
                head_to_probe(
                    learner,
                    history[-1],
                    scenario,
                    train,
                    number,
                    mode=mode,
                    per_class=per_class,
                    seed=config.seed,
                )
            )
            hashes.append((before, weights_hash(learner.net)))
        found = representation_report(
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
        **asdict(found),
        "neighbours": neighbours,
        "net_of_naive": None if base is None else found.gain - base,
        "head_to_probe": alignment,
        "downstream": {name: [row[place] for row in elsewhere] for place, name in enumerate(names)},
        "downstream_mean": [sum(row) / len(row) for row in elsewhere] if names else None,
        "unchanged": all(one == other for one, other in hashes),
        "encoders": [before for before, _ in hashes],
    }


def _test_of(scenario: Scenario) -> ImageSet:
    assert scenario.test is not None  # noqa: S101 - the run was measured with it
    return scenario.test


def _gain_of(naive: Run, mode: Mode) -> float:
    path = naive.path / "probe.json"
    found = read_json(path) if path.is_file() else None
    if found is None:
        raise InputError(f"{naive.path}: was not probed yet; run 'myosotis probe {naive.path}' first")
    if found["mode"] != mode:
        raise InputError(f"{naive.path}: was probed in mode '{found['mode']}', not '{mode}'")
    return float(found["gain"])


def _read_downstream(place: Path, scenario: Scenario) -> tuple[ImageSet, ImageSet]:
    side = scenario.train.images.shape[-1]
    pair = read_image_folder(place / "train", side), read_image_folder(place / "test", side)
    if pair[0].classes != pair[1].classes:
        raise InputError(f"{place}: training and test images have different classes")
    channels = scenario.train.images.shape[1]
    if any(one.images.shape[1] != channels for one in pair):
        raise InputError(f"{place}: has images of {pair[0].images.shape[1]} channels, the encoders take {channels}")
    shared = sorted(set(pair[0].classes) & set(scenario.classes))
    if shared:
        raise InputError(f"{place}: shares the class {shared[0]} with the run; transfer is measured on other classes")
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
        learner: As it is after a task.
        encoding: What it makes of the images.
        scenario: The stream, with its test set.
        train: Places of the training images in ``encoding``.
        number: Of the task, from 0.
        mode: Of the probe, see :func:`~myosotis.evaluation.probe.linear_probe`, as for the next two.
        per_class: Likewise.
        seed: Likewise.

    Returns:
        The cosine; None where no linear head answers, or there is one class.
    """
    head = learner.linear_head()
    classes = scenario[number].classes.stop
    if head is None or classes < 2:
        return None
    labels = scenario.train.labels[train]
    seen = labels < classes
    test = _test_of(scenario)
    of_test = test.labels < classes
    probe = linear_probe(
        encoding.train[seen],
        labels[seen],
        encoding.test[of_test],
        test.labels[of_test],
        mode=mode,
        per_class=per_class,
        seed=seed,
    )
    # A vector that is added to all rows changes no answer, so the mean row is taken away from both.
    own, other = head[0].double(), probe.weight
    return functional.cosine_similarity(own - own.mean(0), other - other.mean(0), dim=1).mean().item()
