"""The job of ``learn-representations``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from myosotis.continual.job import StreamJob
from myosotis.continual.memory import ExemplarMemory
from myosotis.continual.selfsupervised.config import RepresentationConfig
from myosotis.continual.selfsupervised.inputs import describe_ssl_learner, make_stream, read_domains, read_transfer
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.measuring import Measuring, stream_figures
from myosotis.continual.selfsupervised.network import encoder_width
from myosotis.continual.selfsupervised.result import RepresentationResult
from myosotis.continual.selfsupervised.saved import make_ssl_learner, save_ssl_learner
from myosotis.continual.selfsupervised.training import SslOutcome, check_ssl, learn_representations
from myosotis.continual.stream import StreamOptions
from myosotis.continual.verdict import kept_since_learnt
from myosotis.data.sets import (
    input_fingerprints,
    pixels_fingerprint,
    repeated_images,
    repeated_warning,
    set_fingerprints,
)
from myosotis.data.views import two_views
from myosotis.engine.errors import settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.forecast import Phase, steps_of, training_step
from myosotis.engine.processes import device, is_main_process, processes
from myosotis.evaluation.intervals import clopper_pearson
from myosotis.evaluation.learning import LearningVerdict, Share, above_level, above_share, learning_verdict
from myosotis.models.weight_files import weights_inputs

_MIN_SHOWN = 8


class RepresentationJob(StreamJob[RepresentationConfig, SslLearner[Any], SslOutcome]):
    """One run of ``learn-representations``; see :class:`~myosotis.engine.job.Job`."""

    kind = "learn-representations"
    Result = RepresentationResult

    def prepare(self) -> None:
        config = self._config
        self._check_available()
        domains = read_domains(config.data)
        for number, pair in enumerate(domains, start=1):
            for name, images in zip(("training", "test"), pair, strict=True):
                if images.skipped:
                    where = f" of domain {number}" if len(domains) > 1 else ""
                    self._say(f"skipped {len(images.skipped)} unreadable {name} images{where}")
        self._scenario = scenario = make_stream(config, domains)
        assert scenario.test is not None  # noqa: S101 - it has just been given
        self._test = scenario.test
        self._repeated = repeated_images(scenario.train, self._test)
        if self._repeated:
            self._say(repeated_warning(self._repeated, len(self._test)))
        sizes = ", ".join(str(len(task.train)) for task in scenario)
        counts = f"{len(scenario.train)} training and {len(self._test)} test images"
        self._say(f"{counts}, {len(scenario)} tasks: {sizes} images")
        self._spec = describe_ssl_learner(config, scenario)
        # Pre-trained weights are loaded here, since that may fail.
        learner = make_ssl_learner(self._spec, pretrained=config.model.source)
        self._prepare_probes(learner)
        with settings_as_input():
            check_ssl(learner, scenario, self._memory(), config.training)

    def _prepare_probes(self, learner: SslLearner[Any]) -> None:
        """Read the other data sets, and check that every probe can be fitted."""
        self._transfer = read_transfer(self._config, self._scenario)
        with settings_as_input("probes"):
            Measuring(self._scenario, self._config.probes, "cpu", transfer=self._transfer)
        for other in self._transfer:
            key = f"probes.transfer.{other.name}"
            if repeated := repeated_images(other.train, other.test, key):
                self._say(repeated_warning(repeated, len(other.test), f"test images of {key}"))
            with settings_as_input(key):
                for images in (other.train, other.test):
                    encoder_width(learner.net.encoder, torch.zeros(images.images.shape[1:]))

    def _memory(self) -> ExemplarMemory:
        return ExemplarMemory(total=self._config.memory.total, selection="reservoir", seed=self._config.seed)

    def phases(self) -> Sequence[Phase]:
        """Return the steps of all tasks: two views of the first images, and both through encoder and projector."""
        training, scenario = self._config.training, self._scenario
        net = make_ssl_learner(self._spec).net.to(device()).train()
        images = scenario.train.images[: max(2, training.batch_size // processes())]
        stream = torch.Generator().manual_seed(0)

        def loss() -> torch.Tensor:
            views = two_views(images.to(device()), training.views, stream)
            embeddings: torch.Tensor = net.projector(net.encoder(torch.cat(views)))
            return embeddings.square().mean()

        count = steps_of([len(task.train) for task in scenario], training.batch_size, training.epochs)
        return [Phase("training", count, training_step(net, loss))]

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return fingerprints of all sets, those of the transfer probes included, and the hash of a file of weights."""
        model, sets = self._config.model, {"train": self._scenario.train, "test": self._test}
        for other in self._transfer:
            sets |= {f"{other.name} train": other.train, f"{other.name} test": other.test}
        return {**input_fingerprints(sets, salt), **weights_inputs(model.architecture, model.source)}

    def learn(self, **options: Unpack[StreamOptions]) -> SslOutcome:
        outcome = learn_representations(
            make_ssl_learner(self._spec, pretrained=self._config.model.source),
            self._scenario,
            self._memory(),
            self._config.training,
            self._config.probes,
            transfer=self._transfer,
            shown=self._config.shown,
            **options,
        )
        if is_main_process():
            with self._run.timed("map"):
                write_json(self._run.path / "map.json", self._map(outcome))
        return outcome

    def save(self, learner: SslLearner[Any], tasks: int, path: Path) -> None:  # noqa: ARG002 - it does not grow
        save_ssl_learner(learner, self._spec, path)

    def _map(self, outcome: SslOutcome) -> dict[str, Any] | None:
        """Positions of test samples on a plane, before the first and after the last task."""
        maps = outcome.maps
        if not maps or len(maps["classes"]) < _MIN_SHOWN:
            return None

        from sklearn.manifold import TSNE  # two seconds, which jobs without a map need not wait for

        def positions(features: torch.Tensor) -> list[list[float]]:
            unit = torch.nn.functional.normalize(features.double(), dim=1).numpy()
            perplexity = min(30.0, (len(unit) - 1) / 3)
            tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=self._config.seed % 2**32)
            rounded: list[list[float]] = np.round(tsne.fit_transform(unit), 2).tolist()
            return rounded

        return {
            "classes": maps["classes"].tolist(),
            "before": positions(maps["before"]),
            "after": positions(maps["after"]),
        }

    def result(self, outcome: SslOutcome) -> dict[str, Any]:
        config, stream, records = self._config, self._scenario, outcome.records
        history = [record.measured for record in records]
        total, learner = len(self._test), outcome.learner
        low, high = clopper_pearson(round(history[-1].linear_all * total), total, config.confidence)
        return {
            "base": config.base.name,
            "scenario": stream.kind,
            "classes": list(stream.classes),
            "tasks": [[stream.classes[label] for label in task.classes] for task in stream],
            "samples": {
                "train": [len(task.train) for task in stream],
                "test": [len(task.test) for task in stream],
                "repeated": self._repeated,
            },
            "probe": self._probe_text(),
            "metrics": {kind: stream_figures(outcome.before, history, kind) for kind in ("linear", "knn")},
            "final_interval": {"low": low, "high": high, "count": total},
            "verdict": self._verdict(outcome),
            "before": outcome.before,
            "history": history,
            "few_labels": outcome.few_labels,
            "losses": [record.loss for record in records],
            "lineage": {
                "data": set_fingerprints(stream.train, self._test, self._run.salt),
                "learned": pixels_fingerprint((pixels for pixels, _ in stream.train.hashes), self._run.salt),
                "model_out": weights_hash(learner.net),
                "encoder_out": weights_hash(learner.net.encoder),
            },
            "cost": self.stream_cost(
                records,
                exemplars=records[-1].exemplars,
                parameters_encoder=sum(weight.numel() for weight in learner.net.encoder.parameters()),
                parameters_training=sum(weight.numel() for weight in learner.net.parameters()),
            ),
        }

    def _verdict(self, outcome: SslOutcome) -> LearningVerdict:
        """The final probe against the untrained network and chance, and against probes when tasks were learnt."""
        history, confidence = [record.measured for record in outcome.records], self._config.confidence
        final, start = (
            Share.of([measured.linear_all], [len(self._test)]) for measured in (history[-1], outcome.before)
        )
        chance = 1 / len(self._scenario.classes)
        options: Any = {"measure": "linear probe on the test samples of all tasks", "confidence": confidence}
        learnt = [
            above_share(final, start, against_of="features of the untrained network", **options),
            above_level(final, chance, against_of="chance", **options),
        ]
        kept = kept_since_learnt(
            [measured.linear for measured in history],
            [len(task.test) for task in self._scenario],
            measure="linear probe on all tasks but the last",
            confidence=confidence,
        )
        return learning_verdict(learnt, kept)

    def _probe_text(self) -> str:
        probes = self._config.probes
        amount = (
            "all labelled training samples" if probes.mode == "full" else f"{probes.per_class} samples of each class"
        )
        scope = "of its domain" if self._scenario.kind == "domain" else "of all tasks, one classifier over all classes"
        return f"offline, L-BFGS, on frozen features of {amount} {scope}"
