"""Measurements of frozen features after each task: probes, nearest neighbours, drift."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from jaxtyping import Float, Int
from pydantic import Field, PositiveInt, model_validator
from torch import Tensor

from myosotis.continual.scenario import Scenario
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.result import Measured, ProbeFigures
from myosotis.data.images import ImageSet, to_unit
from myosotis.engine.config import Config
from myosotis.engine.errors import SettingsError
from myosotis.engine.method import Fraction
from myosotis.evaluation.cka import linear_cka
from myosotis.evaluation.probe import PENALTIES, balanced_indices, knn_probe, linear_probe, share_indices
from myosotis.evaluation.representation import Mode
from myosotis.models.modes import evaluating

_CHUNK = 500


@dataclass(frozen=True)
class Transfer:
    """Another data set, for probes only.

    Attributes:
        name: Name in the report.
        train: Samples that its probe is fitted to.
        test: Test samples of the same classes.
    """

    name: str
    train: ImageSet
    test: ImageSet


class ProbeSettings(Config):
    """Settings of the probes; every figure of a run is of this kind.

    Attributes:
        mode: ``"full"`` fits the linear probe to all labelled training samples of all tasks, ``"balanced"`` to a few of
            each class.
        per_class: Samples of each class, for ``"balanced"``.
        neighbours: Number k of the nearest-neighbour probe; never more than the smallest class has.
        shares: Shares of all labels, for the semi-supervised probes at the end.
        drift_samples: Test samples, at most, by which encoders are compared.
    """

    mode: Mode = "full"
    per_class: Annotated[int, Field(ge=2)] = 100
    neighbours: PositiveInt = 20
    shares: tuple[Fraction, ...] = (0.01, 0.1)
    drift_samples: Annotated[int, Field(ge=2)] = 1000

    @model_validator(mode="after")
    def _has_effect(self) -> "ProbeSettings":
        if self.mode == "full" and self.per_class != type(self).model_fields["per_class"].default:
            raise ValueError("'per_class' belongs to 'mode: balanced'")
        return self


def encode(
    learner: SslLearner[Any], images: Tensor, indices: Int[Tensor, " n"], device: torch.device | str
) -> Float[Tensor, "n features"]:
    """Return features of plain images, in evaluation mode."""
    with evaluating(learner.net), torch.no_grad():
        parts = [learner.features(to_unit(images[chunk].to(device))).float() for chunk in indices.split(_CHUNK)]
    return torch.cat(parts)


class Measuring:
    """Measures a learner's encoder on a stream; only here labels are read.

    Args:
        scenario: Stream with a test set.
        settings: Kind of the probes.
        device: Device of the encoder.
        transfer: Other data sets; their probes are fitted to all of their training samples.
        seed: Seed of every draw.

    Raises:
        SettingsError: There is no test set, or a class has too few samples.
    """

    def __init__(
        self,
        scenario: Scenario,
        settings: ProbeSettings,
        device: torch.device | str,
        *,
        transfer: Sequence[Transfer] = (),
        seed: int = 0,
    ) -> None:
        if scenario.test is None:
            raise SettingsError("probes need a test set")
        self._scenario, self._settings, self._device = scenario, settings, device
        self._other, self._seed = tuple(transfer), seed
        self._test = scenario.test
        self._before: Tensor | None = None
        self._train = torch.cat([task.train.indices for task in scenario]).sort().values
        self._fitted = self._balanced(self._train) if settings.mode == "balanced" else self._train

    def _balanced(self, indices: Tensor) -> Tensor:
        settings, train = self._settings, self._scenario.train
        groups = [task.train.indices for task in self._scenario] if self._scenario.kind == "domain" else [indices]
        return torch.cat(
            [rows[balanced_indices(train.labels[rows], settings.per_class, self._seed)] for rows in groups]
        )

    @property
    def before(self) -> Tensor | None:
        """Features of the previous measurement, which drift is relative to."""
        return self._before

    def restore(self, before: Tensor) -> None:
        """Restore the features that :attr:`before` returned in an earlier session."""
        self._before = before

    def measure(self, learner: SslLearner[Any]) -> Measured:
        """Return the measurements of the encoder."""
        stream, settings = self._scenario, self._settings
        train = encode(learner, stream.train.images, self._fitted, self._device)
        test = encode(learner, self._test.images, torch.arange(len(self._test)), self._device)
        labels = stream.train.labels[self._fitted].to(train.device)
        test_labels = self._test.labels.to(train.device)
        linear, near, sizes = [], [], []
        probe = None
        for task in stream:
            own_test = task.test.indices.to(train.device)
            sizes.append(len(own_test))
            if stream.kind == "domain":
                inside = torch.isin(self._fitted, task.train.indices).to(train.device)
                own, own_labels = train[inside], labels[inside]
                linear.append(
                    linear_probe(own, own_labels, test[own_test], test_labels[own_test], seed=self._seed).accuracy
                )
                near.append(knn_probe(own, own_labels, test[own_test], test_labels[own_test], k=settings.neighbours))
                continue
            if probe is None:
                probe = linear_probe(train, labels, test, test_labels, seed=self._seed)
                predicted = probe.classes[probe.scores(test).argmax(dim=1)].cpu()
                correct = (predicted == self._test.labels.cpu()).double()
            linear.append(correct[task.test.indices].mean().item())
            near.append(knn_probe(train, labels, test[own_test], test_labels[own_test], k=settings.neighbours))
        drift = self._drift(test)
        if stream.kind == "data":
            # Every task has all test samples.
            sizes = [1] * len(sizes)
        total = sum(sizes)
        return Measured(
            linear=linear,
            knn=near,
            linear_all=sum(value * size for value, size in zip(linear, sizes, strict=True)) / total,
            knn_all=sum(value * size for value, size in zip(near, sizes, strict=True)) / total,
            transfer={other.name: self._transfer(learner, other) for other in self._other},
            drift=drift,
        )

    def few_labels(self, learner: SslLearner[Any]) -> dict[str, float]:
        """Return the accuracy of linear probes that are fitted to a share of all labels, by that share.

        One classifier over all classes and all domains, whatever ``mode`` says.
        """
        stream, settings = self._scenario, self._settings
        test = encode(learner, self._test.images, torch.arange(len(self._test)), self._device)
        test_labels = self._test.labels.to(test.device)
        accuracies = {}
        for share in settings.shares:
            indices = self._train[share_indices(stream.train.labels[self._train], share, self._seed)]
            train = encode(learner, stream.train.images, indices, self._device)
            labels = stream.train.labels[indices].to(train.device)
            # A class with a single sample has none to select a penalty with.
            penalties = PENALTIES if int(labels.unique(return_counts=True)[1].min()) > 1 else (0.1,)
            accuracies[f"{share:g}"] = linear_probe(
                train, labels, test, test_labels, penalties=penalties, seed=self._seed
            ).accuracy
        return accuracies

    def shown(self, learner: SslLearner[Any], count: int) -> tuple[Float[Tensor, "n features"], Int[Tensor, " n"]]:
        """Return features and classes of some test samples, the same each time."""
        order = torch.tensor(self._test.shuffled(self._seed, "map"))[:count].sort().values
        return encode(learner, self._test.images, order, self._device).cpu(), self._test.labels[order]

    def _drift(self, test: Tensor) -> float | None:
        order = torch.tensor(self._test.shuffled(self._seed, "drift"))[: self._settings.drift_samples]
        now = test[order.to(test.device)].cpu()
        before, self._before = self._before, now
        return None if before is None else 1 - linear_cka(before, now)

    def _transfer(self, learner: SslLearner[Any], other: Transfer) -> float:
        train = encode(learner, other.train.images, torch.arange(len(other.train)), self._device)
        test = encode(learner, other.test.images, torch.arange(len(other.test)), self._device)
        labels, test_labels = other.train.labels.to(train.device), other.test.labels.to(train.device)
        return linear_probe(train, labels, test, test_labels, seed=self._seed).accuracy


def stream_figures(before: Measured, history: Sequence[Measured], kind: str = "linear") -> ProbeFigures:
    """Return the figures of the literature from the measurements of a stream.

    Args:
        before: Measurements of the untrained encoder.
        history: Measurements after each task.
        kind: ``"linear"`` or ``"knn"``.
    """
    table = [getattr(measured, kind) for measured in history]
    untrained, last, tasks = getattr(before, kind), table[-1], range(len(table))
    overall = [getattr(measured, f"{kind}_all") for measured in (before, history[-1])]
    if len(table) < 2:
        learning = None if len(last) > 1 else last[0]
        return ProbeFigures(final=overall[1], learning=learning, gain=overall[1] - overall[0])

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    return ProbeFigures(
        final=overall[1],
        learning=mean([table[i][i] for i in tasks]),
        forgetting=mean([max(row[i] for row in table) - last[i] for i in tasks[:-1]]),
        stability=mean([last[i] - table[i][i] for i in tasks[:-1]]),
        forward_transfer=mean([table[i - 1][i] - untrained[i] for i in tasks[1:]]),
        gain=overall[1] - overall[0],
    )
