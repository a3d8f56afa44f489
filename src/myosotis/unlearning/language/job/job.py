"""The whole job: load, teach if asked to, audit, unlearn, export, audit again, report the result."""

import shutil
import time
from typing import Any

import torch

from myosotis.engine.environment import peak_memory
from myosotis.engine.errors import settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.job import Job
from myosotis.engine.processes import check_unsharded, device, is_main_process, processes
from myosotis.engine.run import Run
from myosotis.engine.tracking import check_trackers
from myosotis.models.causal_lm import load_causal_lm
from myosotis.unlearning.language.job.auditing import Auditing
from myosotis.unlearning.language.job.checks import check_inputs, check_target_modules
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.inputs import encode_inputs, read_records
from myosotis.unlearning.language.job.result import result_of, write_samples
from myosotis.unlearning.language.job.sources import location
from myosotis.unlearning.language.job.teaching import taught
from myosotis.unlearning.language.job.unlearning import Unlearning


class LanguageUnlearningJob(Job[LanguageUnlearningConfig]):
    """One run of ``myosotis unlearn language``; see :class:`~myosotis.engine.job.Job`.

    The paths of its configuration are absolute, see :func:`~myosotis.unlearning.language.job.config.resolve_paths`.
    """

    def prepare(self) -> None:
        """Read and check everything that the user gave.

        Raises:
            InputError: Something is wrong with it.
        """
        config = self._config
        with settings_as_input():
            check_unsharded()
        check_trackers(config.training.trackers)
        self._check_available(self._inputs_given())
        records, shared = read_records(config)
        self._say(
            f"records: {len(records.forget)} to forget, {len(records.retain)} to retain and "
            f"{len(records.held_retain)} held out of the training, {len(records.unseen)} unseen, "
            f"{len(records.general)} of general text"
        )
        dtype = getattr(torch, config.model.dtype)
        self._say(f"loading {config.model.name}")
        self._model, tokenizer = load_causal_lm(config.model.name, dtype)
        if config.reference not in (None, "retrain"):
            self._reference, _ = load_causal_lm(str(config.reference), dtype)
        if config.lora is not None:
            check_target_modules(self._model, config.lora)
        self._inputs = encode_inputs(config, records, shared, tokenizer)
        check_inputs(config, self._inputs, self._model, self._path)
        self._model.to(device())
        if config.reference not in (None, "retrain"):
            self._reference.to(device())

    def _inputs_given(self) -> list[str | None]:
        """Every file and directory that the job reads."""
        config = self._config
        sources = [getattr(config.data, name) for name in ("forget", "retain", "unseen", "general")]
        sources += config.audit.sources.values()
        return [config.model.name, config.reference, *map(location, sources)]

    def work(self) -> Run:
        """Do the work that is not done yet, and return the finished run.

        Raises:
            InputError: What the user gave does not go together, seen only now.
        """
        config = self._config
        started = time.monotonic()
        run = self._open(config.seed, private=True)  # its checkpoints know what is forgotten
        lineage = self._lineage(run)
        run.check_inputs({"the model": lineage["base"], **self._fingerprints(run)})
        if self._finished_already(sealed_model=True):
            return run
        context = JobContext(
            config, self._inputs, run, self._say, self._timed, self._kept_or, show_samples=self._show_samples
        )
        auditing = Auditing(context)
        model = self._model
        if config.fine_tune is not None:
            self._model = None  # free memory
            known = [*self._inputs.sets.forget, *self._inputs.all_retained]
            model = taught(context, config.fine_tune, "target", known)
        model_in = weights_hash(model)
        if config.fine_tune is not None and config.reference == "retrain":
            self._reference = taught(context, config.fine_tune, "reference", self._inputs.all_retained)
        if config.reference is not None:
            auditing.measure("reference", self._reference)
            self._reference = None  # free memory
        before = auditing.measure("before", model)
        thresholds = auditing.thresholds(model)
        unlearned = Unlearning(context, before, thresholds).unlearn(model)
        model = unlearned.model
        auditing.measure("after", model)
        result = result_of(context, auditing.audits, thresholds, unlearned)
        result["suites"] = auditing.suites()
        result["lineage"] = {**lineage, "model_in": model_in, "model_out": weights_hash(model)}
        if self._show_samples and is_main_process():
            write_samples(context, auditing.audits)
        result["cost"] = {
            "seconds": self._seconds(),
            "last_session_seconds": time.monotonic() - started,
            "peak_memory_bytes": peak_memory(),
            "trainable_parameters": unlearned.trainable,
        }
        run.finish(result)
        self._clean_up(run)
        return run

    def _lineage(self, run: Run) -> dict[str, Any]:
        """The model and the records that came in, by hash and fingerprint."""
        data = {
            name: sorted(salted_fingerprint(record.content, run.salt) for record in rows)
            for name in ("forget", "retain", "held_retain", "unseen", "selection")
            if (rows := getattr(self._inputs.records, name)) or name in ("forget", "retain", "unseen")
        }
        return {"base": weights_hash(self._model), "data": data}

    def _fingerprints(self, run: Run) -> dict[str, Any]:
        """Everything beside the model that a resumed run must find unchanged: whole records, not their words alone."""
        inputs: dict[str, Any] = {
            f"the {name} set": sorted(salted_fingerprint(repr(record), run.salt) for record in rows)
            for name, rows in vars(self._inputs.records).items()
        }
        inputs["the rows of a suite"] = salted_fingerprint(repr(self._inputs.suites.inputs), run.salt)
        if self._config.reference not in (None, "retrain"):
            inputs["the reference"] = weights_hash(self._reference)
        if not run.finished:
            # Epochs and steps of a checkpoint count batches of all processes.
            inputs["the number of processes"] = processes()
        return inputs

    def _clean_up(self, run: Run) -> None:
        """Remove the models that only a resumed run would need."""
        if not is_main_process():
            return
        unneeded = list(run.checkpoints.glob("after-*"))
        if not self._config.keep_fine_tuned:
            unneeded += [run.checkpoints / "target", run.checkpoints / "reference"]
        for path in unneeded:
            shutil.rmtree(path, ignore_errors=True)
