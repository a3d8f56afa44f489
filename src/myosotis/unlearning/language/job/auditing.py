"""The auditing phase: every model of a job is measured by the audit and its suites."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from myosotis.engine.loop import Precision
from myosotis.engine.processes import device, wait_for_everyone
from myosotis.unlearning.language.audit.audit import Audit, audit_model, judged_by
from myosotis.unlearning.language.audit.memorization import Thresholds, measured_lengths, thresholds_of
from myosotis.unlearning.language.audit.precision import audit_autocast, cached_casts
from myosotis.unlearning.language.audit.sets import AuditSets, measurable
from myosotis.unlearning.language.job.config import AuditConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.inputs import JobInputs

_ORDER = ("before", "after", "reference")


def audit_of(model: Any, inputs: JobInputs, settings: AuditConfig, sets: AuditSets | None = None) -> Audit:
    """Measure a model on the records of a job, as its configuration says.

    Args:
        model: A causal language model, without adapters.
        inputs: Everything that the job has read.
        settings: The configuration of the audit.
        sets: Other records than those of the job.
    """
    with audit_autocast(settings.precision):
        return audit_model(
            model,
            inputs.tokenizer,
            sets or inputs.audited,
            n=settings.n,
            further_n=settings.further_n,
            prefixes=inputs.prefixes,
            confidence=settings.confidence,
            max_new_tokens=settings.max_new_tokens,
            samples=settings.samples,
            batch_size=settings.batch_size,
        )


def precision_of(suite: str, settings: AuditConfig) -> Precision:
    """Return the precision that a suite is measured in: relearning trains, and lm-eval has settings of its own."""
    return "no" if suite in ("stress", "harness") else settings.precision


class Auditing:
    """Measures the models of a job, one after another; results that the run holds are not measured again.

    Args:
        context: The context of the job.
    """

    def __init__(self, context: JobContext) -> None:
        self._context = context
        self._audits: dict[str, Audit] = {}
        self._suites: dict[str, dict[str, Any]] = {}
        self._reference_nll: list[list[float]] | None = None

    @property
    def audits(self) -> dict[str, Audit]:
        """The audits of the models that were measured, by name."""
        return {name: self._audits[name] for name in _ORDER if name in self._audits}

    @property
    def measured_suites(self) -> dict[str, dict[str, Any]]:
        """The measurements of the suites by model, as they were made."""
        return {name: self._suites[name] for name in _ORDER if name in self._suites}

    def suites(self) -> dict[str, dict[str, Any]]:
        """Return the figures of the suites, by suite and model."""
        return self._context.inputs.suites.summary(self.measured_suites)

    def measure(self, name: str, model: nn.Module, original: Callable[[], nn.Module] | None = None) -> Audit:
        """Measure a model by the audit and the suites.

        Args:
            name: ``"reference"``, which comes first if there is one, ``"before"`` or ``"after"``.
            model: The model, without adapters.
            original: Loads the model before unlearning, which judges the answers of the one after.
        """
        with cached_casts(model):
            return self._measure(name, model, original)

    def _measure(self, name: str, model: nn.Module, original: Callable[[], nn.Module] | None) -> Audit:
        context = self._context
        audit = self._audits[name] = self._audit(name, model, original)
        is_reference = name == "reference"
        suites = context.inputs.suites
        if is_reference and context.config.audit.membership is not None:
            self._reference_nll = context.run.stored_or("reference-nll", lambda: self._reference_likelihoods(model))

        def stored(suite: str, measure: Callable[[], Any]) -> Any:
            def timed() -> Any:
                context.say(f"{suite}: {_title(name)}")
                with context.run.timed(suite), audit_autocast(precision_of(suite, context.config.audit)):
                    return measure()

            return context.run.stored_or(f"{suite}-{name}", timed)

        # A reference compared with itself would say nothing.
        reference_nll = None if is_reference else self._reference_nll
        self._suites[name] = suites.measure(model, stored, reference_nll=reference_nll)
        return audit

    def measure_otherwise(self, name: str, measure: Callable[[], Audit]) -> None:
        """Take an audit that is not of the records themselves; the suites are not measured.

        Args:
            name: ``"reference"``.
            measure: Returns the audit; not called where the run holds it already.
        """
        self._audits[name] = self._kept_or(name, "the records under invented names", measure)

    def _reference_likelihoods(self, model: Any) -> list[list[float]]:
        with audit_autocast(self._context.config.audit.precision):
            return self._context.inputs.suites.reference_nll(model)

    def _audit(self, name: str, model: nn.Module, original: Callable[[], nn.Module] | None) -> Audit:
        def measure() -> Audit:
            audit = audit_of(model, self._context.inputs, self._context.config.audit)
            if name == "before":
                return self._judged(audit, model)
            if original is None:
                return audit
            with self._set_aside(model):
                return self._judged(audit, original())

        return self._kept_or(name, _title(name), measure)

    def _kept_or(self, name: str, title: str, measure: Callable[[], Audit]) -> Audit:
        """The audit that the run holds, or one that is measured now and kept."""
        context = self._context
        stored = context.run.kept(f"audit-{name}.json")
        # Every process reads before the first one writes, as they share the records of what is measured.
        wait_for_everyone()
        if stored is not None and not context.show_samples:
            return Audit.read(stored)
        context.say(f"auditing {title}")
        with context.run.timed("audit"):
            audit = measure()
        context.run.keep(f"audit-{name}.json", audit.as_json())
        return audit

    def _judged(self, audit: Audit, judge: nn.Module) -> Audit:
        settings = self._context.config.audit
        with audit_autocast(settings.precision):
            return judged_by(
                judge,
                audit,
                self._context.inputs.audited,
                confidence=settings.confidence,
                batch_size=settings.batch_size,
            )

    @contextmanager
    def _set_aside(self, model: nn.Module) -> Iterator[None]:
        """Leave an accelerator to another model; packed weights stay, and are small."""
        if device().type == "cpu" or self._context.config.model.quantization is not None:
            yield
            return
        model.to("cpu")
        try:
            yield
        finally:
            model.to(device())

    def thresholds(self) -> Thresholds | None:
        """Return the level of unseen records under the model before; None where none of them is long enough."""
        context, settings = self._context, self._context.config.audit
        unseen = measurable(context.inputs.audited.unseen, settings.n)
        if not unseen.indices:
            return None
        values = self._audits["before"].values["unseen"]
        return thresholds_of(
            values["memorization_accuracy"][unseen.indices],
            values["extraction_likelihood"][unseen.indices],
            measured_lengths(unseen.sequences, unseen.starts),
            settings.n,
            length_tolerance=settings.length_tolerance,
            prefixes=context.inputs.prefixes["unseen"],
        )


def _title(name: str) -> str:
    return "the reference model" if name == "reference" else f"the model {name}"
