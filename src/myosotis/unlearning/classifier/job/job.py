"""The whole job: read, train if asked to, audit, unlearn, compare, audit again, report the result."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from myosotis.engine.errors import settings_as_input
from myosotis.engine.forecast import Phase
from myosotis.engine.job import Job
from myosotis.engine.processes import check_unsharded, device, is_main_process
from myosotis.engine.run import Run
from myosotis.unlearning.classifier.job.auditing import audit, distances, measure, similarity, stress
from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
from myosotis.unlearning.classifier.job.context import JobContext
from myosotis.unlearning.classifier.job.forecast import classifier_phases
from myosotis.unlearning.classifier.job.image_sets import ImageSets
from myosotis.unlearning.classifier.job.inputs import read_inputs, read_new_labels
from myosotis.unlearning.classifier.job.models import Models, known_classes, read_models
from myosotis.unlearning.classifier.job.overlap import overlap_lines
from myosotis.unlearning.classifier.job.result import ClassifierResult, result_of, verdict_of, write_samples
from myosotis.unlearning.classifier.job.shadow_auditing import ShadowAuditing
from myosotis.unlearning.classifier.job.teaching import taught
from myosotis.unlearning.classifier.job.unlearning import Unlearning


class ClassifierUnlearningJob(Job[ClassifierUnlearningConfig]):
    """One run of ``unlearn-classifier``; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-classifier"
    Result: ClassVar[type[ClassifierResult]] = ClassifierResult
    private = True  # its checkpoints know what is forgotten

    def prepare(self) -> None:
        with settings_as_input():
            check_unsharded()
        self._check_available()
        self._read()

    def _read(self) -> None:
        config = self._config
        classes, saved = known_classes(config.model)
        self._inputs = read_inputs(config, classes)
        self._say(
            f"images: {len(self._inputs.forget)} to forget, {len(self._inputs.remaining or ())} remaining, "
            f"{len(self._inputs.test or ())} for the test, {len(self._inputs.classes)} classes"
        )
        if self._inputs.same:
            self._say(f"left out {self._inputs.same} further training images that equal one to forget")
        self._sets = ImageSets(config, self._inputs)
        self._new_labels = self._read_labels()
        self._models: Models = read_models(config, self._inputs, saved)

    def _read_labels(self) -> Any:
        """The new labels of the instances, or the rule that finds them."""
        rule = self._config.new_labels
        return rule if rule in ("runner_up", "random") else read_new_labels(Path(rule), self._inputs.forget)

    def _context(self) -> JobContext:
        return JobContext(
            self._config,
            self._inputs,
            self._sets,
            self._models,
            self._new_labels,
            self._run,
            self._say,
            self.log,
        )

    def phases(self) -> Sequence[Phase]:
        """Return the steps of teaching, those of unlearning up to its cap, and the passes of the audits."""
        return classifier_phases(self._config, self._inputs, self._sets, self._models)

    def overlap(self) -> Sequence[str]:
        """Return lines about the classes of the images to forget, and about remaining images that are like them."""
        return overlap_lines(self._config, self._inputs, self._models)

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the hashes of the models, and the fingerprints of the images."""
        models = {"the model": self._models.hash(self._models.base)}
        if self._models.reference is not None:
            models["the reference"] = self._models.hash(self._models.reference)
        return {**models, **self._sets.fingerprints(salt)}

    def produce(self) -> Mapping[str, Any]:
        """Teach, audit, unlearn, audit again, compare and judge."""
        config, context = self._config, self._context()
        original = self._models.base if config.train is None else taught(context, "target", self._sets.learned)
        reference: nn.Module | None = self._models.reference
        if config.reference == "retrain":
            reference = taught(context, "reference", self._inputs.remaining)
        others: dict[str, nn.Module] = {"before": original.to(device()).eval()}
        if reference is not None:
            others["reference"] = reference.to(device()).eval()
        audits = {name: audit(context, name, model) for name, model in others.items()}
        unlearning = Unlearning(context, audits)
        model, outcome = unlearning.unlearn(original)
        audits["after"] = audit(context, "after", model)
        variants = [unlearning.variant(number, original) for number in range(len(config.compare))]
        result = result_of(context, audits, outcome, variants)
        result["distances"] = distances(context, model, others)
        result["stress"] = stress(context, {"before": original, "after": model, **others})
        if config.audit.cka:
            result["cka"] = similarity(context, original, model)
        if config.audit.shadow:
            result["shadow"] = ShadowAuditing(context).audit(config.audit.shadow, {"before": original, "after": model})
        result["verdict"] = verdict_of(context, audits, outcome, result.get("shadow")).model_dump(mode="json")
        if self._show_samples and is_main_process():
            write_samples(context, outcome)
        context.save(model)
        lineage = {
            "base": None if config.train is not None else self._models.hash(self._models.base),
            "data": context.fingerprints,
            "model_in": self._models.hash(original),
            "model_out": self._models.hash(model),
        }
        return {**result, "lineage": lineage, "cost": self._cost(model, outcome)}

    def _cost(self, model: nn.Module, outcome: Mapping[str, Any]) -> dict[str, Any]:
        seconds = self._run.seconds()
        training = seconds.get("train_reference", seconds.get("train_target"))
        if self._run.kept("training-resumed.json"):
            training = None  # what an interrupted session spent on it is not known
        return self.cost(
            share_of_retraining=None if not training else outcome["seconds"] / training,
            parameters=sum(value.numel() for value in model.parameters()),
        )

    def clean_up(self) -> None:
        """Remove the checkpoints, and unless the configuration keeps them the models from before."""
        for name in ("unlearned", *(() if self._config.keep_original else ("target", "reference"))):
            shutil.rmtree(self._run.checkpoints / name, ignore_errors=True)
        for path in self._run.checkpoints.glob("train-*"):
            shutil.rmtree(path, ignore_errors=True)

    def audit_again(self, shadow: int | None = None) -> dict[str, Any]:
        """Measure the model of a finished run again: is it the reported one, and are its figures reproduced?

        Args:
            shadow: Pairs of shadow models to train, instead of as many as the configuration says; pairs of an earlier
                call are reused.

        Returns:
            ``model_matches`` and ``data_matches``, whether the fingerprints are those of the run; ``metrics`` and, with
            shadow models, ``shadow``; ``reproduced``, whether every accuracy equals the reported one.

        Raises:
            InputError: The run is not finished, or its inputs have gone.
        """
        run = self._run = Run.read(self._path)
        result = run.result()
        self._read()
        context = self._context()
        model = self._models.load(run.path / "model").to(device()).eval()
        metrics = measure(context, model).metrics
        reported = result["metrics"]["after"]
        audited = self._sets.audited
        results: dict[str, Any] = {
            "model_matches": self._models.hash(model) == result["lineage"]["model_out"],
            "data_matches": context.fingerprints == result["lineage"]["data"],
            "metrics": metrics,
            "reproduced": all(metrics[name]["accuracy"] == reported[name]["accuracy"] for name in audited),
        }
        pairs = self._config.audit.shadow if shadow is None else shadow
        if pairs:
            results["shadow"] = ShadowAuditing(context).audit(pairs, {"after": model})
        return results
