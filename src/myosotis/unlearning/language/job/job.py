"""The whole job: load, teach if asked to, audit, unlearn, export, audit again, report the result."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from myosotis.data.encoding import Encoder
from myosotis.engine.errors import settings_as_input
from myosotis.engine.fingerprint import salted_fingerprint, weights_hash
from myosotis.engine.forecast import Phase
from myosotis.engine.job import Job
from myosotis.engine.processes import check_sharding, device, is_main_process, processes
from myosotis.engine.run import Run
from myosotis.models.causal_lm import check_quantizable, load_causal_lm, tokenizer_hash
from myosotis.unlearning.language.audit.doses import CRITERIA, doses_of_run
from myosotis.unlearning.language.audit.precision import audit_autocast
from myosotis.unlearning.language.audit.prospects import prospect_lines
from myosotis.unlearning.language.job.auditing import Auditing
from myosotis.unlearning.language.job.baseline import Baseline
from myosotis.unlearning.language.job.checks import (
    check_inputs,
    check_quantized_launch,
    check_target_modules,
    check_tokenizer,
)
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.earlier import EarlierRequest, measured, read_earlier, run_of_model, summary
from myosotis.unlearning.language.job.forecast import language_phases
from myosotis.unlearning.language.job.inputs import encode_inputs, fingerprints_of, read_records
from myosotis.unlearning.language.job.names import NamedCopies
from myosotis.unlearning.language.job.overlap import overlap_lines
from myosotis.unlearning.language.job.reaudit import audit_again
from myosotis.unlearning.language.job.result import LanguageResult, result_of, write_samples
from myosotis.unlearning.language.job.teaching import taught
from myosotis.unlearning.language.job.unlearning import Unlearning


class LanguageUnlearningJob(Job[LanguageUnlearningConfig]):
    """One run of ``unlearn-language``; see :class:`~myosotis.engine.job.Job`."""

    kind = "unlearn-language"
    Result = LanguageResult
    private = True  # its checkpoints know what is forgotten

    def prepare(self) -> None:
        config = self._config
        # Bars of loading and saving would run into the lines of the job.
        transformers.utils.logging.disable_progress_bar()
        with settings_as_input():
            check_sharding()
        self._check_available()
        if config.model.quantization is not None:
            check_quantized_launch()
            check_quantizable(config.model.name)
        records, shared = read_records(config)
        self._say(
            f"records: {len(records.forget)} to forget, {len(records.retain)} to retain and "
            f"{len(records.held_retain)} held out of the training, {len(records.unseen)} unseen, "
            f"{len(records.general)} of general text"
        )
        dtype = getattr(torch, config.model.dtype)
        self._say(f"loading {config.model.name}")
        self._model, tokenizer = load_causal_lm(config.model.name, dtype, config.model.quantization)
        if config.reference_model is not None:
            self._reference, other = load_causal_lm(config.reference_model, dtype, config.model.quantization)
            check_tokenizer(tokenizer, other, f"reference {config.reference}")
        self._teacher_base: str | None = None
        if config.teacher is not None and config.teacher.base is not None:
            base, other = load_causal_lm(config.teacher.base, dtype)
            check_tokenizer(tokenizer, other, f"teacher.base {config.teacher.base}")
            self._teacher_base = weights_hash(base)
        if config.lora is not None:
            check_target_modules(self._model, config.lora)
        self._inputs = encode_inputs(config, records, shared, tokenizer)
        check_inputs(config, self._inputs, self._model, self._path)
        self._earlier = self._read_earlier(tokenizer)
        self._baseline = None if config.audit.baseline is None else Baseline(Path(config.audit.baseline))
        if self._baseline is not None:
            self._baseline.check(config, self._identity)
        meter = config.audit.meter
        self._doses = None if meter is None else doses_of_run(Path(meter), self._model)
        self._model.to(device())
        self._named = NamedCopies.build(config, self._inputs) if config.reference == "names" else None
        if config.reference_model is not None:
            self._reference.to(device())

    def phases(self) -> Sequence[Phase]:
        """Return the steps of teaching and of unlearning, all epochs, and the generation of answers in the audits."""
        return language_phases(self._config, self._inputs, self._model)

    def overlap(self) -> Sequence[str]:
        """Return lines about what the subjects can decide, and about forms and activations that sets share."""
        config, sets = self._config, self._inputs.audited
        return [
            *prospect_lines(sets, config.audit.verdict, reference=config.reference),
            *overlap_lines(config, self._inputs.tokenizer, self._model),
        ]

    def inputs(self, salt: str) -> Mapping[str, Any]:
        """Return the hash of the model, and fingerprints of whole records, not of their words alone."""
        inputs = self._identity(salt)
        if self._earlier:
            inputs["what earlier runs erased"] = [len(request.examples) for request in self._earlier]
        if not self._run.finished:
            # Epochs and steps of a checkpoint count batches of all processes.
            inputs["the number of processes"] = processes()
        return inputs

    def _read_earlier(self, tokenizer: Any) -> list[EarlierRequest]:
        """What earlier runs have erased: those of the configuration, and the one that the model comes from."""
        config, data = self._config, self._config.data
        parent = run_of_model(config.model.name)
        paths = [*([] if parent is None else [parent]), *map(Path, config.audit.earlier)]
        encoder = Encoder(tokenizer, data.template, data.max_length, data.append_eos)
        earlier = read_earlier(paths, encoder)
        for request in earlier:
            fate = "measured again" if request.missing is None else f"not measured, as {request.missing}"
            self._say(f"earlier run {request.name}: {request.records} records, {fate}")
        return earlier

    def _identity(self, salt: str) -> dict[str, Any]:
        inputs: dict[str, Any] = {
            "the model": weights_hash(self._model),
            "the tokenizer": tokenizer_hash(self._inputs.tokenizer),
        }
        for name, rows in vars(self._inputs.records).items():
            inputs[f"the {name} set"] = sorted(salted_fingerprint(repr(record), salt) for record in rows)
        inputs["the rows of a suite"] = salted_fingerprint(repr(self._inputs.suites.inputs), salt)
        if self._config.reference_model is not None:
            inputs["the reference"] = weights_hash(self._reference)
        if self._teacher_base is not None:
            inputs["the base of the teacher"] = self._teacher_base
        return inputs

    def produce(self) -> Mapping[str, Any]:
        """Teach, audit, unlearn, export, audit again and judge."""
        config, run = self._config, self._run
        if self._baseline is not None:
            self._say(f"taking over the audits before unlearning of {self._baseline.name}")
            self._baseline.copy_audits(run)
        lineage = self._lineage(run)
        context = JobContext(config, self._inputs, run, self._say, self._show_samples)
        auditing = Auditing(context)
        model = self._model
        if config.fine_tune is not None:
            self._model = None  # free memory
            known = [*self._inputs.sets.forget, *self._inputs.all_retained]
            model = taught(context, config.fine_tune, "target", known)
        model_in = weights_hash(model)
        if config.fine_tune is not None and config.reference == "retrain":
            self._reference = taught(context, config.fine_tune, "reference", self._inputs.all_retained)
        if config.reference not in (None, "names"):
            auditing.measure("reference", self._reference)
            self._reference = None  # free memory
        before = auditing.measure("before", model)
        if self._named is not None:
            copies = self._named
            auditing.measure_otherwise("reference", lambda: copies.audit(model, config, self._inputs))
        thresholds = auditing.thresholds()
        earlier_before = context.run.stored_or("earlier-before", lambda: self._measure_earlier(model))
        unlearned = Unlearning(context, before, thresholds).unlearn(model)
        model = unlearned.model
        auditing.measure("after", model, lambda: self._original(context))
        earlier_after = context.run.stored_or("earlier-after", lambda: self._measure_earlier(model))
        result = result_of(context, auditing.audits, auditing.measured_suites, thresholds, unlearned)
        if self._show_samples and is_main_process():
            write_samples(context, auditing.audits)
        return {
            **result,
            "meter": None if self._doses is None else self._doses.only(CRITERIA).model_dump(mode="json"),
            "baseline": None if self._baseline is None else self._baseline.name,
            "earlier": summary(self._earlier, earlier_before, earlier_after),
            "suites": auditing.suites(),
            "lineage": {**lineage, "model_in": model_in, "model_out": weights_hash(model)},
            "cost": self.cost(trainable_parameters=unlearned.trainable),
        }

    def _original(self, context: JobContext) -> nn.Module:
        """The model before unlearning, which was changed in place, loaded again."""
        config = self._config
        if config.fine_tune is None:
            dtype = getattr(torch, config.model.dtype)
            original: nn.Module = load_causal_lm(config.model.name, dtype, config.model.quantization)[0].to(device())
        else:
            original = context.load(context.run.checkpoints / "target")
        return original

    def _measure_earlier(self, model: Any) -> list[dict[str, Any]]:
        audit = self._config.audit
        with audit_autocast(audit.precision):
            return measured(self._earlier, model, audit.batch_size, audit.confidence)

    def audit_again(self, model: str | None = None) -> dict[str, Any]:
        """Measure the model of a finished run again, or another one on the same records; nothing is trained.

        Args:
            model: Directory or name of another model, e.g. what became of the run's own later.

        Returns:
            See :func:`~myosotis.unlearning.language.job.reaudit.audit_again`.

        Raises:
            InputError: The run is not finished, its records have gone, or the model does not suit them.
        """
        return audit_again(Run.read(self._path), self._config, model, self._say)

    def clean_up(self) -> None:
        """Remove the models that only a resumed run would need."""
        unneeded = [*self._run.checkpoints.glob("after-*"), self._run.checkpoints / "teacher"]
        if not self._config.keep_fine_tuned:
            unneeded += [self._run.checkpoints / "target", self._run.checkpoints / "reference"]
        for path in unneeded:
            shutil.rmtree(path, ignore_errors=True)

    def _lineage(self, run: Run) -> dict[str, Any]:
        """The model and the records that came in, by hash and fingerprint."""
        return {"base": weights_hash(self._model), "data": fingerprints_of(self._inputs.records, run.salt)}
