"""``result.json`` of ``unlearn-language``, and the samples for people to see."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

from pydantic import ConfigDict, Field

from myosotis.engine.files import write_json
from myosotis.engine.fingerprint import salted_fingerprint
from myosotis.engine.result import Cost, Lineage, Result, ResultPart
from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.membership import Membership
from myosotis.unlearning.language.audit.answers import decoded, labelled_text
from myosotis.unlearning.language.audit.audit import Audit
from myosotis.unlearning.language.audit.doses import Doses
from myosotis.unlearning.language.audit.forgotten import out_of_range
from myosotis.unlearning.language.audit.memorization import Thresholds
from myosotis.unlearning.language.audit.own_answers import masked, shared_words
from myosotis.unlearning.language.audit.sets import drawn_order, subjects_of
from myosotis.unlearning.language.audit.stress import Relearning
from myosotis.unlearning.language.audit.verdict import LanguageVerdict, judge
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.language.job.context import JobContext
from myosotis.unlearning.language.job.earlier import EarlierRecord
from myosotis.unlearning.language.job.inputs import JobInputs
from myosotis.unlearning.language.job.unlearning import Unlearned
from myosotis.unlearning.language.training.sequential import RequestOutcome


class LanguageTraining(ResultPart):
    """How the unlearning went."""

    stop_reason: str
    """``forgotten``, ``epochs``, ``came_back`` or ``diverged``."""
    divergence: str | None
    """What the guard saw, where the training diverged."""
    steps: int
    """Optimisation steps."""
    epochs: float
    """Epochs."""
    selected_epoch: int | None
    """Epoch whose weights were kept, with ``selection``."""
    came_back: list[int]
    """Requests whose records were at the level of unseen text and are not any more."""


class StressRecord(ResultPart):
    """Accuracy on facts, or on tokens where no facts are marked, of a model under stress."""

    model_config = ConfigDict(serialize_by_alias=True)

    plain: dict[str, Interval] = Field(alias="as it is")
    """By set, in the learnt wording and with the weights as they are."""
    quantized: dict[str, dict[str, Interval]]
    """By bits of a weight and set."""
    reworded: dict[str, Interval] = Field(default_factory=dict)
    """Of the records to forget, by what was changed about the question."""
    relearning: Relearning | None = None
    """How fast it relearns them."""


class Suites(ResultPart):
    """Figures of the suites by model; null where a suite was not asked for."""

    membership: dict[str, dict[str, Membership]] | None = None
    """Membership inference, by score."""
    stress: dict[str, StressRecord] | None = None
    """Stress tests."""
    tofu: dict[str, dict[str, Any]] | None = None
    """TOFU."""
    muse: dict[str, dict[str, float]] | None = None
    """MUSE."""
    harness: dict[str, dict[str, Any]] | None = None
    """lm-eval, by task."""


class AnswerForm(ResultPart):
    """The form of an answer before and after, without what it says: words that few subjects share are masked."""

    split: str
    """Set of the record that was asked about."""
    before: str
    """Answer of the model before unlearning."""
    after: str
    """Answer of the model after it."""


class LanguageCost(Cost):
    """What the job cost."""

    trainable_parameters: int
    """Parameters that were trained."""


class LanguageLineage(Lineage):
    """What came in and went out."""

    base: str
    """The model of the configuration, before it was taught."""
    model_in: str
    """The model that came in."""
    model_out: str
    """The model that went out."""


class LanguageResult(Result):
    """Result of ``unlearn-language``."""

    kind: Literal["unlearn-language"]
    method: str
    """Name of the method."""
    verdict: LanguageVerdict
    """The answers to the questions, with criteria, controls and reasons."""
    metrics: dict[str, dict[str, Any]]
    """By model (``before``, ``after``, ``reference``) and set (``forget``, ``retain``, ``held_retain``, ``unseen``,
    ``general``): each measure with mean, interval, records and subjects."""
    thresholds: dict[str, Any] | None
    """Level of unseen records: means, standard errors and lengths."""
    answers: list[AnswerForm] = Field(default_factory=list)
    """Form of a few answers."""
    prefixes: dict[str, int | None]
    """By set, how many prefixes of a record extraction likelihood was measured from at most; null for all."""
    training: LanguageTraining
    """How the unlearning went."""
    baseline: str | None
    """Run that the audits of the model before and of the reference were taken over from."""
    requests: list[RequestOutcome]
    """Outcome of each of several requests."""
    earlier: list[EarlierRecord]
    """What earlier runs erased."""
    records: dict[str, int]
    """Records of each set."""
    shared: dict[str, Any]
    """What sets share, where ``data.allow_shared`` permits it."""
    suites: Suites | None
    """Measurements beyond the audit."""
    meter: Doses | None = None
    """How far the criteria tell who was seen, by a run of ``meter``; null where none was given."""
    lineage: LanguageLineage
    cost: LanguageCost
    """What the job cost."""


def result_of(
    context: JobContext,
    audits: Mapping[str, Audit],
    suites: Mapping[str, Mapping[str, Any]],
    thresholds: Thresholds | None,
    unlearned: Unlearned,
) -> dict[str, Any]:
    """Return the part of ``result.json`` that says what the models showed and how the training went.

    Args:
        context: The context of the job.
        audits: Audits ``before`` and ``after``, and of the ``reference`` if there is one.
        suites: Measurements of the suites, of the same models.
        thresholds: Level of unseen records.
        unlearned: Outcome of the unlearning.
    """
    inputs = context.inputs
    verdict = verdict_of(inputs, context.config, audits, thresholds, suites, context.run.salt)
    return {
        "request": context.config.request.model_dump(mode="json"),
        "verdict": verdict.model_dump(mode="json"),
        "metrics": {name: audit.metrics for name, audit in audits.items()},
        "answers": [row.model_dump() for row in _forms(context, audits)],
        "thresholds": None if thresholds is None else asdict(thresholds),
        "prefixes": dict(inputs.prefixes),
        "training": {
            "stop_reason": unlearned.stop_reason,
            "divergence": unlearned.divergence,
            "steps": unlearned.steps,
            "epochs": unlearned.epochs,
            "selected_epoch": unlearned.selected_epoch,
            "came_back": list(unlearned.came_back),
        },
        "requests": list(unlearned.requests),
        "records": {name: len(rows) for name, rows in vars(inputs.records).items()},
        "shared": {name: asdict(counts) for name, counts in inputs.shared.items()},
    }


def verdict_of(
    inputs: JobInputs,
    config: LanguageUnlearningConfig,
    audits: Mapping[str, Audit],
    thresholds: Thresholds | None,
    suites: Mapping[str, Mapping[str, Any]],
    salt: str,
) -> LanguageVerdict:
    """Return the verdict on a model.

    Args:
        inputs: Everything that the job has read.
        config: The configuration of the job.
        audits: Audits ``before`` and ``after``, and of the ``reference`` if there is one.
        thresholds: Level of unseen records.
        suites: Measurements of the suites, of the same models.
        salt: Salt of the run's fingerprints.
    """
    return judge(
        audits["before"],
        audits["after"],
        inputs.audited,
        config.audit.verdict,
        reference=audits.get("reference"),
        out_of_range=None if thresholds is None else out_of_range(inputs.sets.forget, thresholds),
        stressed=inputs.suites.stressed(suites),
        name_of=lambda subject: salted_fingerprint(subject, salt),
        reference_of="invented names" if config.reference == "names" else "the reference",
    )


_SHOWN = 3
"""Answers of a set whose form is shown."""


def _forms(context: JobContext, audits: Mapping[str, Audit]) -> list[AnswerForm]:
    """The form of some answers of each set, drawn by the records; none from an audit that a resumed run had stored."""
    sets, tokenizer = context.inputs.audited, context.inputs.tokenizer
    before, after = audits["before"].answers, audits["after"].answers
    kept = [*sets.retain, *sets.held_retain]
    texts = [labelled_text(tokenizer, example) for example in kept]
    shared = shared_words(list(zip(subjects_of(kept), texts, strict=True)))
    rows = []
    for split in ("forget", "held_retain" if sets.held_retain else "retain"):
        if split not in before or split not in after:
            continue
        order = drawn_order(getattr(sets, split))
        rows += [
            AnswerForm(
                split=split,
                before=masked(decoded(tokenizer, before[split][index]), shared),
                after=masked(decoded(tokenizer, after[split][index]), shared),
            )
            for index in order[:_SHOWN]
        ]
    return rows


def write_samples(context: JobContext, audits: Mapping[str, Audit]) -> None:
    """Write prompt, truth and the answer of every model for each forget record, readable by their owner alone."""
    rows = [
        {
            "prompt": record.prompt or "\n".join(message["content"] for message in record.messages[:-1]),
            "truth": record.response or record.text or record.messages[-1]["content"],
            **{
                name: decoded(context.inputs.tokenizer, audit.answers["forget"][index])
                for name, audit in audits.items()
                if "forget" in audit.answers
            },
        }
        for index, record in enumerate(context.inputs.records.forget)
    ]
    write_json(context.run.path / "samples.json", rows, private=True)
