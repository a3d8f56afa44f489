"""The report of a language unlearning run, and of several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from myosotis.engine.files import read_json
from myosotis.engine.run import Run
from myosotis.report.comparison import side_by_side
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, curves
from myosotis.report.groups import interval_text, run_names
from myosotis.report.person import person_page
from myosotis.report.sections import (
    count_text,
    environment_section,
    fingerprints_text,
    request_tables,
    run_facts,
    setting_rows,
    without_folders,
)
from myosotis.unlearning.language.audit.verdict import LanguageVerdict
from myosotis.unlearning.language.job.report_next import next_steps
from myosotis.unlearning.language.job.report_suites import suite_figures, suite_sections, tried_under_stress
from myosotis.unlearning.language.job.report_verdict import (
    by_names,
    criteria_figures,
    criteria_tables,
    doses_section,
    headline_of,
    verdicts_of,
)
from myosotis.unlearning.language.job.result import LanguageResult
from myosotis.unlearning.language.methods import METHODS, build_method

_SPLIT_NAMES = {
    "forget": "Forget",
    "retain": "Retain (trained on)",
    "held_retain": "Retain (held out)",
    "unseen": "Unseen",
}
_RECORD_NAMES = {**_SPLIT_NAMES, "selection": "Selection", "general": "General"}
METRIC_NAMES = {
    "fact_accuracy": ("fact accuracy", "share of fact tokens that are the greedy choice"),
    "fact_probability": ("fact probability", "mean probability of the fact tokens"),
    "fact_top5": ("facts in the top five", "share of fact tokens among the five likeliest"),
    "answer_recall": ("recall of the answer", "facts, or words where none are marked, in the greedy answer"),
    "top5_recall": (
        "top-five recall",
        "share of fact tokens among the five likeliest, over the question in all wordings",
    ),
    "greedy_recall": ("recall of greedy answers", "most that an answer to the question in any wording gives away"),
    "sampled_recall": ("recall of sampled answers", "mean over samples at temperature 1"),
    "probability": ("answer probability", "exp of minus the mean negative log-likelihood"),
    "rouge_l_recall": ("ROUGE-L recall", "of the greedy answer"),
    "memorization_accuracy": ("memorisation accuracy", "share of answer tokens that are the greedy choice"),
    "extraction_likelihood": ("extraction likelihood", "share of the answer's n-grams that its prefixes give back"),
    "extraction_strength": ("extraction strength", "share of the answer that follows from its beginning"),
    "answer_repetition": ("repetition", "share of token pairs that stood in the answer before"),
    "answer_length": ("length of the answer", "in tokens"),
    "answer_runs_on": ("answers without an end", "share that the limit of tokens cut off"),
    "answer_silence": ("silence", "share of answers that say nothing"),
    "answer_surprise": ("surprising tokens", "share that the model before does not have among its 100 likeliest"),
    "answer_nll": ("surprise of the answer (nats)", "of a token, under the model before"),
    "entropy": ("entropy (nats)", "of the predictions; low means certain, right or wrong"),
    "top_probability": ("top probability", "mean of the largest probability"),
}
"""Measures of single records, and what they are."""
_MAIN_METRICS = (
    "fact_accuracy",
    "fact_probability",
    "greedy_recall",
    "sampled_recall",
    "memorization_accuracy",
    "extraction_likelihood",
)
_MODEL_NAMES = {"before": "Before", "after": "After", "reference": "Reference"}
_STOP_REASONS = {
    "forgotten": "the forget set would have been called forgotten, by the unseen records",
    "came_back": "more of an earlier request was known after a later one was erased",
    "epochs": "all epochs were done",
    "diverged": "the divergence guard stopped it and went back to the last sound weights",
}


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``unlearn-language``.
    """
    result, config = run.result_as(LanguageResult), without_folders(run.settings())
    return Document(
        title=f"Unlearning report: {result.name}",
        subtitle=_subtitle(result, config),
        facts=run_facts(
            run,
            METHODS.card(result.method).title,
            model=config["model"]["name"],
            hashes=[result.lineage.model_in, result.lineage.model_out],
        ),
        headline=headline_of(result),
        verdicts=verdicts_of(result, run.attempts()),
        next_steps=next_steps(result, config),
        limits=_limits(result),
        overview=criteria_tables(result),
        table=_metrics_table(result, _MAIN_METRICS),
        figures=[*criteria_figures(result), *_figures(run, result), *suite_figures(result)],
        sections=[
            *_answer_sections(result),
            *_sample_sections(run),
            *suite_sections(result),
            *doses_section(result),
            Section("All measures", ["Every measure on every set."], [_metrics_table(result, None)]),
            _method_section(result, config),
            _lineage_section(result),
            environment_section(run),
        ],
    )


def describe_audit(run: Run, audit: Mapping[str, Any]) -> Document:
    """Return the report of a second audit.

    Args:
        run: A finished run.
        audit: Return value of :meth:`~myosotis.unlearning.language.job.job.LanguageUnlearningJob.audit_again`.
    """
    result = run.result_as(LanguageResult)
    reported = result.metrics["after"]
    own = audit["model"] is None
    verdicts = [Verdict("Are the records those of the run?", "By their fingerprints.", audit["data_matches"])]
    if own:
        verdicts = [
            Verdict("Is it the model that was reported?", "By the hash of its weights.", audit["model_matches"]),
            *verdicts,
            Verdict("Are its figures reproduced?", "Every mean, within 0.001 of itself or of 1.", audit["reproduced"]),
        ]
    if audit["verdict"] is not None:
        verdict = LanguageVerdict.model_validate(audit["verdict"])
        verdicts += verdicts_of(result.model_copy(update={"verdict": verdict}))
    rows = [
        Row(label, [_cell(_value(values, split, metric)) for values in (reported, audit["metrics"])], note)
        for split, metric, label, note in _metric_rows([reported, audit["metrics"]])
    ]
    name = "its own model" if own else str(audit["model"])
    return Document(
        title=f"Audit: {result.name}",
        subtitle=f"The records of the run, measured again on {name}. Nothing was trained.",
        verdicts=verdicts,
        limits=_limits(result),
        table=Table("Reported after unlearning, and measured now", ["Reported", "Now"], rows, "Measure"),
    )


def for_person(run: Run) -> str:
    """Return half a page about a finished run in plain words.

    Args:
        run: A run of the kind ``unlearn-language``.
    """
    result = run.result_as(LanguageResult)
    verdict = result.verdict
    return person_page(
        result,
        verdict,
        noun="record",
        count=result.records["forget"],
        noticeable=verdict.as_unseen is not True,
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs, all of the kind ``unlearn-language``.
    """
    results = [run.result_as(LanguageResult) for run in runs]
    names = run_names(runs)
    verdicts = [verdicts_of(result) for result in results]
    methods = [METHODS.card(result.method).title for result in results]
    rows = [
        Row(label, [_cell(_value(result.metrics["after"], split, metric)) for result in results], note)
        for split, metric, label, note in _metric_rows([result.metrics["after"] for result in results])
    ]
    rows += [
        Row("Steps", [str(result.training.steps) for result in results]),
        Row("Stop reason", [_STOP_REASONS[result.training.stop_reason] for result in results]),
        Row("Seconds of unlearning", [f"{result.cost.seconds.get('unlearn', 0):.0f}" for result in results]),
    ]
    return side_by_side(
        runs,
        methods,
        verdicts,
        title="Unlearning runs side by side",
        subtitle=f"{len(runs)} runs, the model after unlearning in each",
        limits=list(dict.fromkeys(limit for result in results for limit in _limits(result))),
        table=Table("After unlearning, mean and interval", names, rows, "Measure"),
        figures=_comparison_figures(runs, names),
    )


def _subtitle(result: LanguageResult, config: Mapping[str, Any]) -> str:
    counts = result.records
    held = f" and {counts['held_retain']} held out" if counts["held_retain"] else ""
    return (
        f"{config['model']['name']}: {count_text(counts['forget'], 'record')} to forget, {counts['retain']} to "
        f"retain{held}, "
        f"{counts['unseen']} never seen. Method: {METHODS.card(result.method).title}. Seed {result.seed}."
    )


def _metric_rows(audits: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Split, metric, label and note of every row that any audit has."""
    names = {**METRIC_NAMES, **_further_likelihoods(audits)}
    rows = [
        (split, metric, f"{_SPLIT_NAMES[split]}: {label}", note)
        for split in _SPLIT_NAMES
        for metric, (label, note) in names.items()
        if any(metric in audit.get(split, {}) for audit in audits)
    ]
    if any("general" in audit for audit in audits):
        rows.append(("general", "perplexity", "General text: perplexity", "of text unrelated to the records"))
    return rows


def _further_likelihoods(audits: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, str]]:
    """Labels of the extraction likelihoods for further n."""
    keys = {key for audit in audits for split in _SPLIT_NAMES for key in audit.get(split, {})}
    prefix = "extraction_likelihood_"
    further = sorted(int(key.removeprefix(prefix)) for key in keys if key.startswith(prefix))
    return {f"{prefix}{n}": (f"extraction likelihood, n = {n}", "n-grams that prefixes give back") for n in further}


def _value(audit: Mapping[str, Any], split: str, metric: str) -> Any:
    return audit.get(split, {}).get(metric)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return interval_text(value["mean"], value["low"], value["high"])
    return f"{value:.2f}"


def _metrics_table(result: LanguageResult, metrics: Sequence[str] | None) -> Table:
    titles = _MODEL_NAMES | ({"reference": "Invented names"} if by_names(result.verdict) else {})
    models = [name for name in _MODEL_NAMES if name in result.metrics]
    audits = [result.metrics[name] for name in models]
    rows = [
        Row(label, [_cell(_value(audit, split, metric)) for audit in audits], note)
        for split, metric, label, note in _metric_rows(audits)
        if metrics is None or metric in metrics or metric == "perplexity"
    ]
    about_reference = "; the reference never saw the forget records" if "reference" in models else ""
    if by_names(result.verdict):
        about_reference = "; invented names: the same records, their subject called otherwise, asked before unlearning"
    return Table(
        f"Mean and {result.verdict.confidence:.0%} interval{about_reference}",
        [titles[name] for name in models],
        rows,
        "Measure",
    )


def _curve(events: Sequence[Mapping[str, Any]], key: str, axis: str = "epoch") -> tuple[list[float], list[float]]:
    points = [(event[axis], event[key]) for event in events if key in event]
    return [x for x, _ in points], [y for _, y in points]


def _in_sequence(events: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Events with steps and epochs counted through all requests, each of which counts from 0."""
    events_in_sequence: list[dict[str, Any]] = []
    offset, last = {"step": 0.0, "epoch": 0.0}, {"step": 0.0, "epoch": 0.0}
    request = None
    for event in events:
        if event.get("request") != request:
            request = event.get("request")
            offset = dict(last)
        moved = {axis: offset[axis] + event[axis] for axis in offset if axis in event}
        last.update(moved)
        events_in_sequence.append({**event, **moved})
    return events_in_sequence


def _figures(run: Run, result: LanguageResult) -> list[Figure]:
    events, before = _in_sequence(run.events()), result.metrics["before"]
    stops = run.settings()["stop"] is not None
    figures = []
    facts = "fact_probability" in before["forget"]
    watched = {
        "forget_probability": ("fact probability", "fact_probability")
        if facts
        else ("token probability", "token_probability"),
        "forget_memorization_accuracy": ("memorisation accuracy", "memorization_accuracy"),
        "forget_extraction_likelihood": ("extraction likelihood", "extraction_likelihood"),
    }
    if any("forget_probability" in event for event in events):
        for key, (label, metric) in watched.items():
            epochs, values = _curve(events, key)
            start = _value(before, "forget", metric)
            level = _value(before, "unseen", metric)
            if not epochs or start is None or level is None:
                continue
            line = Line("forget set", [0, *epochs], [start["mean"], *values], "forget")
            figures.append(
                curves(
                    [line],
                    f"{label.capitalize()} on the forget set"
                    + (
                        ": unlearning ends where the curve is about at the line."
                        if stops
                        else ", measured between epochs."
                    )
                    + (" A jump back to the start marks the next request." if result.requests else ""),
                    x_label="epoch",
                    y_label=label,
                    levels={"unseen records, before": (level["mean"], "unseen")},
                    share=True,
                    name=key.replace("_", "-"),
                )
            )
    method = run.settings()["method"]
    names = build_method(method["name"], {key: value for key, value in method.items() if key != "name"}).terms()
    terms = [term.name for _, term in names if any(term.name in event for event in events)]
    if terms:
        lines = [
            Line(term.replace("_", " ", 1).replace("_", " "), *_curve(events, term, "step"), term.partition("_")[0])
            for term in terms
        ]
        figures.append(
            curves(
                lines,
                "Terms of the training loss: a bounded forget term and a flat retain term are good.",
                x_label="optimisation step",
                y_label="loss term (mean)",
                name="terms",
            )
        )
        figures.append(
            curves(
                [Line("gradient norm", *_curve(events, "grad_norm", "step"))],
                "Norm of the gradient before clipping: unbounded growth means that the training diverges.",
                x_label="optimisation step",
                y_label="gradient norm",
                name="norm",
            )
        )
    return figures


def _comparison_figures(runs: Sequence[Run], names: Sequence[str]) -> list[Figure]:
    colours = ("forget", "retain", "unseen", "general")
    events = [_in_sequence(run.events()) for run in runs]

    def chart(key: str, label: str, caption: str) -> Figure | None:
        lines = [
            Line(name, *_curve(rows, key, "step"), colours[index % len(colours)])
            for index, (name, rows) in enumerate(zip(names, events, strict=True))
            if any(key in row for row in rows)
        ]
        if not lines:
            return None
        share = key.endswith("accuracy")
        name = key.replace("_", "-")
        return curves(lines, caption, x_label="optimisation step", y_label=label, share=share, name=name)

    charts = (
        ("forget_fact_accuracy", "forget: fact accuracy", "Fact accuracy on the forget set during unlearning."),
        ("retain_nll", "retain term", "The retain term: it should stay flat."),
        ("grad_norm", "gradient norm", "Norm of the gradient: it grows where a method breaks the model."),
    )
    return [figure for each in charts if (figure := chart(*each)) is not None]


def _answer_sections(result: LanguageResult) -> list[Section]:
    if not result.answers:
        return []
    number = dict.fromkeys(_SPLIT_NAMES, 0)
    rows = []
    for answer in result.answers:
        number[answer.split] += 1
        rows.append(Row(f"{_SPLIT_NAMES[answer.split]}: {number[answer.split]}", [answer.before, answer.after]))
    paragraph = (
        "Greedy answers to a few records of each set, drawn by the records. Words that less than half of the retained "
        "subjects share are masked, so that they tell no secret; what was to be forgotten is quoted with "
        "--show-samples only."
    )
    return [
        Section(
            "Form of its answers",
            [paragraph],
            [Table("Greedy answers", ["Before", "After"], rows, "Record", words=True)],
        )
    ]


def _sample_sections(run: Run) -> list[Section]:
    path = run.path / "samples.json"
    if not path.is_file():
        return []
    rows = read_json(path)
    models = [name for name in _MODEL_NAMES if name in rows[0]]
    table = Table(
        "The records and the greedy answers",
        ["Truth", *(_MODEL_NAMES[name] for name in models)],
        [Row(row["prompt"], [row["truth"], *(row[name] for name in models)]) for row in rows],
        "Prompt",
    )
    return [Section("Samples", ["Shown because --show-samples was given: this part quotes the forget set."], [table])]


def _method_section(result: LanguageResult, config: Mapping[str, Any]) -> Section:
    card, training = METHODS.card(result.method), result.training
    seconds = result.cost.seconds
    phases = ", ".join(f"{name.replace('_', ' ')} {value:.0f} s" for name, value in seconds.items())
    divergence = f" The guard saw: {training.divergence}." if training.divergence else ""
    thresholds = result.thresholds
    selected = training.selected_epoch
    chosen = (
        ""
        if selected is None
        else f" The weights of epoch {selected}, the best by the selection, were then restored: the verdict is about "
        "these, and the reason why training ended is not."
    )
    paragraphs = [
        f"{card.title}. {card.purpose} ({card.paper}.) It reads: {card.reads}.",
        f"Training ended after {count_text(training.steps, 'step')} ({count_text(training.epochs, 'epoch')}): "
        f"{_STOP_REASONS[training.stop_reason]}.{divergence}{chosen}",
        f"Wall time: {phases}. Peak memory {result.cost.peak_memory_bytes / 1e9:.1f} GB; "
        f"{result.cost.trainable_parameters:,} trainable parameters.",
    ]
    if thresholds is not None:
        paragraphs.append(
            f"Thresholds, from {thresholds['count']} unseen records before unlearning: memorisation accuracy "
            f"{thresholds['memorization_accuracy']:.4f} (standard error "
            f"{_error(thresholds['memorization_accuracy_error'])}), extraction likelihood "
            f"{thresholds['extraction_likelihood']:.4f} (standard error "
            f"{_error(thresholds['extraction_likelihood_error'])}), n = {thresholds['n']}."
        )
    counts = ", ".join(
        f"{count} ({_SPLIT_NAMES[name].lower()})"
        for name, count in result.prefixes.items()
        if count is not None and result.records[name]
    )
    if counts:
        paragraphs.append(
            "Extraction likelihood is an unbiased estimate from a sample of prefixes of each record, the same for "
            f"every model: {counts}. Its intervals hold the error of that; audit.prefixes: all measures from every one."
        )
    if result.baseline:
        paragraphs.append(
            "The model before unlearning, and the reference if there is one, were measured by the run "
            f"{result.baseline}, on the same weights and records and in the same way."
        )
    return Section("What was done", paragraphs, [Table("Every setting", ["Value"], setting_rows(config), "Setting")])


def _error(value: float | None) -> str:
    return "not known" if value is None else f"{value:.4f}"


def _lineage_section(result: LanguageResult) -> Section:
    lineage = result.lineage
    rows = [
        Row("Base model", [lineage.base]),
        Row("Model before unlearning", [lineage.model_in]),
        Row("Model after unlearning", [lineage.model_out]),
    ]
    rows += [
        Row(f"{_RECORD_NAMES[name]} records", [fingerprints_text(prints)]) for name, prints in lineage.data.items()
    ]
    paragraph = (
        "Models are identified by the SHA-256 of their weights, records by salted fingerprints. Whoever has the run's "
        "salt and a record can find it in result.json, which lists them; a record cannot be recovered from its "
        "fingerprint."
    )
    untreated, tables = request_tables(result.request)
    return Section("Lineage", [paragraph, *untreated], [*tables, Table("Hashes and fingerprints", ["Value"], rows)])


def _limits(result: LanguageResult) -> list[str]:
    tried = tried_under_stress(result)
    untried = [
        text
        for name, text in (
            ("reworded", "other formats"),
            ("relearning", "further training on a part of the records"),
            ("quantized", "quantisation"),
        )
        if name not in tried
    ]
    sampled = "sampled_recall" in result.metrics["after"]["forget"]
    sampling = " and sampling at temperature 1" if sampled else ""
    untried += [] if sampled else ["sampling"]
    wording = "the wording that they were learnt in and in a few others"
    paragraphs = [
        f"The tests query the records in {wording}, by teacher forcing, greedy decoding{sampling}. They do not try "
        f"{', '.join([*untried, 'other languages'])} or a stronger attacker, each of which may "
        "recover what these tests no longer find.",
        "A low entropy on forgotten records means that the model now gives another answer with certainty.",
    ]
    if result.records["retain"]:
        elsewhere = (
            "the model's quality on other text shows in the perplexity only"
            if result.records["general"]
            else "the model's quality on other text was not measured"
        )
        paragraphs.insert(1, f"The held-out retain records are like those that it was trained to keep; {elsewhere}.")
    paragraphs.append(
        "Copies elsewhere (the model that came in, checkpoints, backups, caches, the training set) are not checked."
    )
    return paragraphs
