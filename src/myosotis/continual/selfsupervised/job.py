"""The whole job: read, split into tasks, learn from them without labels, measure, keep the result."""

import shutil
import time
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from sklearn.manifold import TSNE

from myosotis.continual.selfsupervised.config import RepresentationConfig
from myosotis.continual.selfsupervised.inputs import (
    describe_ssl_learner,
    make_stream,
    probe_settings,
    read_domains,
    ssl_memory,
    ssl_settings,
)
from myosotis.continual.selfsupervised.learner import SslLearner
from myosotis.continual.selfsupervised.measuring import Measuring, stream_figures
from myosotis.continual.selfsupervised.network import encoder_width
from myosotis.continual.selfsupervised.report import KIND
from myosotis.continual.selfsupervised.saved import make_ssl_learner, save_ssl_learner
from myosotis.continual.selfsupervised.training import SslOutcome, check_ssl, learn_representations
from myosotis.data.sets import input_fingerprints, repeated_images, repeated_warning, set_fingerprints
from myosotis.engine.checkpoint import seal
from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import settings_as_input
from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import device, is_main_process
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import clopper_pearson

_FEWEST_SHOWN = 8


class RepresentationJob(Job[RepresentationConfig]):
    """One run of ``myosotis learn representations``; see :class:`~myosotis.engine.job.Job`.

    The paths of its configuration are absolute, see :func:`~myosotis.continual.selfsupervised.config.resolve_paths`.
    """

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        transfer = [path for one in config.probes.transfer.values() for path in (*one.train.paths, *one.test.paths)]
        self._check_available([*config.data.paths, *transfer])
        domains = read_domains(config.data)
        for number, pair in enumerate(domains):
            for name, images in zip(("training", "test"), pair, strict=True):
                if images.skipped:
                    where = f" of domain {number + 1}" if len(domains) > 1 else ""
                    self._say(f"{len(images.skipped)} {name} images{where} cannot be read and are left out")
        self._scenario = make_stream(config, domains)
        found = self._scenario
        assert found.test is not None  # noqa: S101 - it has just been given
        self._repeated = repeated_images(found.train, found.test)
        if self._repeated:
            self._say(repeated_warning(self._repeated, len(found.test)))
        sizes = ", ".join(str(len(task.train)) for task in found)
        self._say(f"{len(found.train)} training and {len(found.test)} test images, {len(found)} tasks: {sizes} images")
        self._spec = describe_ssl_learner(config, found)
        # Pre-trained weights are asked for here, since asking may fail.
        learner = make_ssl_learner(self._spec, pretrained=config.model.pretrained)
        self._probes = probe_settings(config, found)
        for other in self._probes.transfer:
            key = f"probes.transfer.{other.name}"
            if repeated := repeated_images(other.train, other.test, key):
                self._say(repeated_warning(repeated, len(other.test), f"test images of {key}"))
        with settings_as_input():
            check_ssl(learner, found, ssl_memory(config), ssl_settings(config))
        with settings_as_input("probes"):
            Measuring(found, self._probes, "cpu")
        for other in self._probes.transfer:
            with settings_as_input(f"probes.transfer.{other.name}"):
                for images in (other.train, other.test):
                    encoder_width(learner.net.encoder, torch.zeros(images.images.shape[1:]))

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
            DivergedError: Training diverged.
        """
        config, started = self._config, time.monotonic()
        assert self._scenario.test is not None  # noqa: S101 - it has been read
        run = self._open(config.seed)
        data = set_fingerprints(self._scenario.train, self._scenario.test, run.salt)
        sets = {"train": self._scenario.train, "test": self._scenario.test}
        for other in self._probes.transfer:
            sets |= {f"{other.name} train": other.train, f"{other.name} test": other.test}
        run.check_inputs(input_fingerprints(sets, run.salt))
        if self._finished_already():
            return run
        learner = make_ssl_learner(self._spec, pretrained=config.model.pretrained)
        with self._timed("learn"), settings_as_input():
            outcome = learn_representations(
                learner,
                self._scenario,
                ssl_memory(config),
                ssl_settings(config),
                self._probes,
                seed=config.seed,
                device=device(),
                shown=config.shown,
                checkpoints=run.checkpoints,
                log=run.log,
                say=self._say,
                on_task=self._keep_learner if config.keep_learners else None,
            )
        if is_main_process():
            staged = run.path / ".model.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_ssl_learner(outcome.learner, self._spec, staged)
            seal(staged, run.path / "model")
            with self._timed("map"):
                write_json(run.path / "map.json", self._map(outcome))
        run.finish(self._result(outcome, data, started))
        if is_main_process():
            for place in (*run.checkpoints.glob("after-*"), *run.checkpoints.glob("task-*")):
                shutil.rmtree(place, ignore_errors=True)
        return run

    def _keep_learner(self, number: int, learner: SslLearner[Any]) -> None:
        if is_main_process():
            staged = self._run.path / ".learner.partial"
            shutil.rmtree(staged, ignore_errors=True)
            save_ssl_learner(learner, self._spec, staged)
            self._run.learners.mkdir(exist_ok=True)
            seal(staged, self._run.learners / f"task-{number + 1}")

    def _map(self, outcome: SslOutcome) -> dict[str, Any] | None:
        """Places of test samples on a plane, before the first and after the last task."""
        maps = outcome.maps
        if not maps or len(maps["classes"]) < _FEWEST_SHOWN:
            return None

        def places(features: torch.Tensor) -> list[list[float]]:
            unit = torch.nn.functional.normalize(features.double(), dim=1).numpy()
            perplexity = min(30.0, (len(unit) - 1) / 3)
            plane = TSNE(2, perplexity=perplexity, init="pca", random_state=self._config.seed % 2**32).fit_transform(
                unit
            )
            found: list[list[float]] = np.round(plane, 2).tolist()
            return found

        return {
            "classes": maps["classes"].tolist(),
            "before": places(maps["before"]),
            "after": places(maps["after"]),
        }

    def _result(self, outcome: SslOutcome, data: dict[str, str], started: float) -> dict[str, Any]:
        config, stream, records = self._config, self._scenario, outcome.records
        history = [record.measured for record in records]
        assert stream.test is not None  # noqa: S101 - it has been read
        counts = [len(task.test) for task in stream]
        total = len(stream.test)
        low, high = clopper_pearson(round(history[-1].linear_all * total), total, config.confidence)
        seconds = [record.seconds for record in records]
        return {
            "kind": KIND,
            "name": config.name,
            "method": config.method.name,
            "base": config.base.name,
            "seed": config.seed,
            "scenario": stream.kind,
            "classes": list(stream.classes),
            "tasks": [[stream.classes[label] for label in task.classes] for task in stream],
            "samples": {"train": [len(task.train) for task in stream], "test": counts, "repeated": self._repeated},
            "probe": self._told_probe(),
            "metrics": {kind: stream_figures(outcome.before, history, kind) for kind in ("linear", "knn")},
            "final_interval": {"low": low, "high": high, "count": total},
            "before": asdict(outcome.before),
            "history": [asdict(one) for one in history],
            "few_labels": outcome.few_labels,
            "losses": [record.loss for record in records],
            "lineage": {
                "data": data,
                "model_out": weights_hash(outcome.learner.net),
                "encoder_out": weights_hash(outcome.learner.net.encoder),
            },
            "cost": {
                "seconds": seconds,
                "job_seconds": self._seconds(),
                "last_session_seconds": time.monotonic() - started,
                "steps": sum(record.steps for record in records),
                "images": sum(record.images for record in records),
                "exemplars": records[-1].exemplars,
                "parameters_encoder": sum(one.numel() for one in outcome.learner.net.encoder.parameters()),
                "parameters_training": sum(one.numel() for one in outcome.learner.net.parameters()),
                "peak_memory_bytes": peak_memory(),
            },
        }

    def _told_probe(self) -> str:
        probes = self._config.probes
        amount = (
            "all labelled training samples" if probes.mode == "full" else f"{probes.per_class} samples of each class"
        )
        scope = "of its domain" if self._scenario.kind == "domain" else "of all tasks, one classifier over all classes"
        return f"offline, L-BFGS, on frozen features of {amount} {scope}"
