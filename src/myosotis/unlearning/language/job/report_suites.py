"""Sections and figures of a language unlearning report on requests in sequence and on the suites."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from myosotis.evaluation.intervals import Interval
from myosotis.evaluation.membership import Membership
from myosotis.report.document import Figure, Row, Section, Table
from myosotis.report.figures import Line, curves
from myosotis.report.groups import interval_text
from myosotis.report.requests import listed, requests_table
from myosotis.report.sections import count_text
from myosotis.unlearning.language.job.earlier import EarlierRecord
from myosotis.unlearning.language.job.result import LanguageResult, StressRecord, Suites
from myosotis.unlearning.language.training.sequential import RequestOutcome

_MODELS = {"before": "Before", "after": "After", "reference": "Reference"}
_COLOURS = {"before": "neutral", "after": "forget", "reference": "unseen"}
SCORE_NAMES = {
    "loss": "loss",
    "zlib": "loss over zlib size",
    "reference": "loss minus the reference's",
    "grad_norm": "gradient norm",
    "min_k": "Min-K%",
    "min_k_plus_plus": "Min-K%++",
}
"""Scores of membership inference."""


def suite_sections(result: LanguageResult) -> list[Section]:
    """Return a section for every suite that a run measured, and for its requests, if there were several."""
    suites = result.suites or Suites()
    sections = [] if not result.earlier else [_earlier_section(result.earlier)]
    if result.requests:
        sections.append(_requests_section(result.requests))
    if suites.stress:
        sections.append(_stress_section(suites.stress))
    if suites.membership:
        sections.append(_membership_section(suites.membership))
    further = {"TOFU": suites.tofu, "MUSE": suites.muse, "lm-eval": suites.harness}
    return sections + [_figures_section(title, results) for title, results in further.items() if results]


def suite_figures(result: LanguageResult) -> list[Figure]:
    """Return the relearning curves, if they were measured."""
    stress = (result.suites or Suites()).stress or {}
    measured = {name: row.relearning for name, row in stress.items() if row.relearning is not None}
    if not measured:
        return []
    lines = [
        Line(_MODELS[name].lower(), curve.steps, curve.accuracy, _COLOURS[name]) for name, curve in measured.items()
    ]
    first = next(iter(measured.values()))
    return [
        curves(
            lines,
            f"Relearning: {first.shown} of the forget records are shown again; the curve shows the {first.held} "
            "others. A model that only hid them relearns faster than one that never knew them.",
            x_label="relearning step",
            y_label="accuracy on records not shown",
            share=True,
            name="relearning",
        )
    ]


def stress_sentence(result: LanguageResult) -> str:
    """Return what the stress suite adds to the verdict, or nothing where it was not run."""
    stress = (result.suites or Suites()).stress or {}
    after = stress.get("after")
    if after is None:
        return ""
    asked = {
        **{f"asked {name}": row.mean for name, row in after.reworded.items()},
        **{f"in {bits} bits": row["forget"].mean for bits, row in after.quantized.items()},
    }
    parts = []
    if asked:
        worst = max(asked, key=lambda name: asked[name])
        parts.append(
            f"the highest accuracy with other wordings, formats and quantised weights is {asked[worst]:.3f} ({worst})"
        )
    if (curve := after.relearning) is not None:
        reference = stress["reference"].relearning if "reference" in stress else None
        beside = "" if reference is None else f", the reference {reference.accuracy[-1]:.3f}"
        parts.append(
            f"after {count_text(curve.steps[-1], 'step')} of relearning from {count_text(curve.shown, 'record')} "
            f"the model gets {curve.accuracy[-1]:.3f} of the others right{beside}"
            + ("; relearning diverged after that" if curve.diverged is not None else "")
        )
    return f"Under stress: {'; '.join(parts)}. " if parts else ""


def tried_under_stress(result: LanguageResult) -> set[str]:
    """Return which stress tests the model after unlearning went through."""
    after = ((result.suites or Suites()).stress or {}).get("after")
    return {name for name in ("reworded", "quantized", "relearning") if getattr(after, name, None)}


def _present(results: Mapping[str, Any]) -> list[str]:
    return [name for name in _MODELS if name in results]


def _cell(value: Interval | None) -> str:
    return "-" if value is None else interval_text(value.mean, value.low, value.high)


def _stress_section(results: Mapping[str, StressRecord]) -> Section:
    models = _present(results)
    measured = [results[name] for name in models]

    def row(label: str, values: Iterable[Interval | None]) -> Row:
        return Row(label, [_cell(value) for value in values])

    rows = [row("forget, in the learnt wording", [one.plain.get("forget") for one in measured])]
    rows += [row(f"forget, {name}", [one.reworded.get(name) for one in measured]) for name in measured[0].reworded]
    for split in ("forget", "retain"):
        if split == "retain":
            rows.append(row("retain, in the learnt wording", [one.plain.get(split) for one in measured]))
        for bits in measured[0].quantized:
            values = [one.quantized.get(bits, {}).get(split) for one in measured]
            rows.append(row(f"{split}, weights in {bits} bits", values))
    tables = [
        Table("Accuracy on facts, or on tokens where no facts are marked", [_MODELS[name] for name in models], rows)
    ]
    curves = {name: curve for name in models if (curve := results[name].relearning) is not None}
    if curves:
        first = next(iter(curves.values()))
        by_step = [dict(zip(curve.steps, curve.accuracy, strict=True)) for curve in curves.values()]
        steps = [
            Row(f"after {step} steps", [f"{row[step]:.3f}" if step in row else "diverged" for row in by_step])
            for step in max((curve.steps for curve in curves.values()), key=len)
        ]
        caption = f"Relearning from {first.shown} records: accuracy on the {first.held} others"
        tables.append(Table(caption, [_MODELS[name] for name in curves], steps))
    paragraph = (
        "What may recover the records: the question in another format or wording, weights rounded to fewer bits, and a "
        "few steps of training on some of the forgotten records. The reference, where there is one, shows the same for "
        "a model that never knew them."
    )
    return Section("Stress", [paragraph], tables)


def _membership_section(results: Mapping[str, Mapping[str, Membership]]) -> Section:
    models = _present(results)
    rows = []
    for score, label in SCORE_NAMES.items():
        if not any(score in results[name] for name in models):
            continue
        values = [results[name].get(score) for name in models]
        rows.append(Row(f"{label}: AUC", [_auc(value) for value in values]))
        for rate in next(value for value in values if value is not None).tpr_at_fpr:
            cells = ["-" if value is None else f"{value.tpr_at_fpr[rate]:.3f}" for value in values]
            rows.append(Row(f"{label}: found at a false-alarm rate of {float(rate):.0%}", cells))
    after = results["after"]
    over = [label for score, label in SCORE_NAMES.items() if score in after and after[score].over_unlearned]
    paragraphs = [
        "Can an observer tell which records the model was trained on? AUC of forget against unseen records: 1 is full "
        "memorisation, 0.5 no trace; below 0.5 the forget records stand out as less likely than unseen ones."
    ]
    if over:
        paragraphs.append(
            f"Over-unlearned by {', '.join(over)}: the forget records are significantly less likely than unseen ones, "
            "so an observer who looks for unusually unlikely records finds them."
        )
    return Section("Membership inference", paragraphs, [Table("Scores", [_MODELS[name] for name in models], rows)])


def _auc(value: Membership | None) -> str:
    if value is None:
        return "-"
    remark = " (over-unlearned)" if value.over_unlearned else "" if value.decidable else " (too few subjects)"
    return f"{interval_text(value.auc, value.low, value.high)}{remark}"


def _figures_section(title: str, results: Mapping[str, Mapping[str, Any]]) -> Section:
    models = _present(results)
    flat = {model: _flat(results[model]) for model in models}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    rows = [
        Row(key.replace("_", " "), [f"{flat[model][key]:.4g}" if key in flat[model] else "-" for model in models])
        for key in keys
    ]
    return Section(title, [], [Table("Figures", [_MODELS[model] for model in models], rows)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}: "))
        else:
            flat[prefix + key] = value
    return flat


def _earlier_section(earlier: Sequence[EarlierRecord]) -> Section:
    """What earlier runs erased, and whether this one brings it back."""
    rows = [
        Row(
            f"{row.run}, {row.finished[:10]}",
            [
                str(row.records),
                "-" if row.reported is None else f"{row.reported:.3f}",
                _cell(row.before),
                _cell(row.after),
            ],
            "" if row.missing is None else "not measured",
        )
        for row in earlier
    ]
    columns = ["Records", "When it was erased", "Before this run", "After this run"]
    return Section(
        "Earlier requests",
        [
            "Unlearning one record may bring another back. Accuracy on the tokens of what earlier runs erased, with "
            "its interval; a figure above the one of its own run means that it is coming back.",
            *(f"What {row.run} erased was not measured: {row.missing}." for row in earlier if row.missing is not None),
        ],
        [Table("What earlier runs erased", columns, rows, "Run")],
    )


def _requests_section(requests: Sequence[RequestOutcome]) -> Section:
    measures = list(dict.fromkeys(name for row in requests[-1].measures for name in row))
    tables = [
        requests_table(
            f"{measure.replace('_', ' ').capitalize()} of each request after each",
            [[one.get(measure) for one in row.measures] for row in requests],
        )
        for measure in measures
    ]
    ends = [Row(f"request {row.request}", [row.stop_reason, f"{row.epochs:g}"]) for row in requests]
    tables.append(Table("How each ended", ["Stop reason", "Epochs"], ends))
    first = next(name for name in measures if all(name in row for row in requests[-1].measures))
    back = [
        f"request {number} ({requests[number - 1].measures[number - 1][first]:.3f} to "
        f"{requests[-1].measures[number - 1][first]:.3f})"
        for number in range(1, len(requests))
        if requests[-1].measures[number - 1][first] > requests[number - 1].measures[number - 1][first] + 1e-9
    ]
    text = (
        f"Of the earlier requests, {first.replace('_', ' ')} is higher at the end than right after their own turn for: "
        f"{listed(back)}."
        if back
        else f"No earlier request has a higher {first.replace('_', ' ')} at the end than right after its own turn."
    )
    return Section("Requests in sequence", [text], tables)
