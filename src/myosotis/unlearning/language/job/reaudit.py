"""A second audit: the model of a finished run, or another one on the same records, without training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from myosotis.engine.fingerprint import weights_hash
from myosotis.engine.job import Say
from myosotis.engine.processes import device
from myosotis.engine.run import Run
from myosotis.models.causal_lm import load_causal_lm
from myosotis.models.four_bit import stored_quantization
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.memorization import Thresholds
from myosotis.unlearning.language.audit.own_answers import OF_ORIGINAL
from myosotis.unlearning.language.audit.precision import audit_autocast
from myosotis.unlearning.language.job.auditing import audit_of, precision_of
from myosotis.unlearning.language.job.checks import check_positions, check_token_ids, check_tokenizer
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.inputs import JobInputs, encode_inputs, fingerprints_of, read_records
from myosotis.unlearning.language.job.result import verdict_of

_TOLERANCE = 1e-3
"""Difference of a mean up to which it counts as reproduced: another machine rounds otherwise, and ties fall."""


def audit_again(run: Run, config: LanguageUnlearningConfig, name: str | None, say: Say) -> dict[str, Any]:
    """Measure a model on the records of a finished run.

    Args:
        run: A finished run.
        config: Its configuration.
        name: Directory or name of a model; None for the run's own.
        say: Takes one line at a time about what is going on.

    Returns:
        ``model``, the name that was given; ``model_hash`` and ``model_matches``, whether it is the model that the run
        reported; ``data_matches``, whether the records are those of the run; ``metrics``, ``suites`` and ``verdict`` of
        the model, the verdict None where the records differ or the run has no audit from before unlearning any more;
        ``reproduced``, whether every figure is the reported one, None for another model.

    Raises:
        InputError: Records are missing or faulty, or the model does not suit them.
    """
    result = run.result()
    transformers.utils.logging.disable_progress_bar()
    records, shared = read_records(config)
    dtype = getattr(torch, config.model.dtype)
    own = run.path / "model"
    say(f"loading {own if name is None else name}")
    packed = config.model.quantization if name is None and stored_quantization(own) is not None else None
    model, tokenizer = load_causal_lm(
        str(own) if name is None else name, dtype, packed, with_adapter=packed is not None
    )
    if name is not None and (own / "config.json").is_file():
        check_tokenizer(load_tokenizer(own), tokenizer, f"model {name}")
    inputs = encode_inputs(config, records, shared, tokenizer)
    examples = inputs.sets.examples
    check_positions(model, examples)
    check_token_ids(model, tokenizer, examples, inputs.suites.texts())
    inputs.suites.check()
    model.to(device())
    say("auditing")
    audit = audit_of(model, inputs, config.audit)

    def measured(suite: str, measure: Callable[[], Any]) -> Any:
        say(suite)
        with audit_autocast(precision_of(suite, config.audit)):
            return measure()

    again = {"again": inputs.suites.measure(model, measured, reference_nll=run.kept("reference-nll.json"))}
    reference = {suite: kept for suite in again["again"] if (kept := run.kept(f"{suite}-reference.json")) is not None}
    suites = inputs.suites.summary(
        {**again, "reference": reference} if set(reference) == set(again["again"]) else again
    )
    model_hash = weights_hash(model)
    data_matches = fingerprints_of(inputs.records, run.salt) == result["lineage"]["data"]
    measured_suites = {
        "before": _kept_suites(run, "before"),
        "after": again["again"],
        **({} if run.kept("audit-reference.json") is None else {"reference": _kept_suites(run, "reference")}),
    }
    return {
        "model": name,
        "model_hash": model_hash,
        "model_matches": model_hash == result["lineage"]["model_out"],
        "data_matches": data_matches,
        "metrics": audit.metrics,
        "suites": {suite: values["again"] for suite, values in suites.items()},
        "verdict": _verdict(run, config, inputs, audit, measured_suites) if data_matches else None,
        "reproduced": None if name is not None else _reproduced(audit.metrics, result["metrics"]["after"]),
    }


def load_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a model directory."""
    return transformers.AutoTokenizer.from_pretrained(path, local_files_only=True)


def _kept_suites(run: Run, name: str) -> dict[str, Any]:
    """What a run keeps of the stress tests of a model."""
    stored = run.kept(f"stress-{name}.json")
    return {} if stored is None else {"stress": stored}


def _verdict(
    run: Run, config: LanguageUnlearningConfig, inputs: JobInputs, audit: Audit, suites: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any] | None:
    before, reference = run.kept("audit-before.json"), run.kept("audit-reference.json")
    if before is None:
        return None
    audits = {"before": Audit.read(before), "after": audit}
    if reference is not None:
        audits["reference"] = Audit.read(reference)
    stored = run.result()["thresholds"]
    thresholds = None if stored is None else Thresholds(**{**stored, "lengths": tuple(stored["lengths"])})
    if any("stress" not in measured for measured in suites.values()):
        suites = {}  # the run no longer keeps what its stress tests gave
    return verdict_of(inputs, config, audits, thresholds, suites, run.salt).model_dump(mode="json")


def _reproduced(metrics: Mapping[str, Any], reported: Mapping[str, Any]) -> bool:
    """Whether every measure that was reported has the same mean, but those that take the model before unlearning."""
    return set(metrics) == set(reported) and all(
        measure in metrics[split]
        and abs(_mean(metrics[split][measure]) - _mean(value)) <= _TOLERANCE * max(1.0, abs(_mean(value)))
        for split, values in reported.items()
        for measure, value in values.items()
        if measure not in OF_ORIGINAL
    )


def _mean(value: Any) -> float:
    return float(value["mean"] if isinstance(value, Mapping) else value)
