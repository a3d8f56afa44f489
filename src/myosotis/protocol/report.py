"""The report of a protocol: scores of tuning, of evaluation, and of the conventional protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from myosotis.engine.run import Run
from myosotis.protocol.result import MethodFigures, ProtocolResult, Scores
from myosotis.protocol.summary import rank
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, Point, dot_chart, line_chart
from myosotis.report.groups import interval_text, run_names
from myosotis.report.sections import (
    count_text,
    differing_settings,
    environment_section,
    left_out_verdicts,
    repeated_verdicts,
    run_facts,
    setting_rows,
)

_METRICS = {"average_incremental_accuracy": "average incremental accuracy", "final_accuracy": "final accuracy"}


def describe(run: Run) -> Document:
    """Return the report of a finished protocol.

    Args:
        run: A run of the kind ``protocol``.
    """
    result = run.result_as(ProtocolResult)
    methods = result.methods
    sections = [_selection_section(methods), _first_task_section(methods), _sensitivity_section(methods)]
    return Document(
        title=f"Tune, then evaluate: {result.name}",
        subtitle=_subtitle(result),
        facts=run_facts(run, ", ".join(methods)),
        verdicts=_verdicts(result),
        limits=_limits(result),
        table=_table(result),
        figures=_figures(result),
        sections=[
            *sections,
            _cost_section(result),
            Section("Settings", [], [Table("Every setting", ["Value"], setting_rows(run.settings()), "Setting")]),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts protocols side by side: the evaluated scores of their methods.

    Args:
        runs: At least two runs.
    """
    results = [run.result_as(ProtocolResult) for run in runs]
    names = list(dict.fromkeys(name for result in results for name in result.methods))
    rows = [
        Row(
            name,
            [_text(result.methods[name].evaluated) if name in result.methods else "-" for result in results],
        )
        for name in names
    ]
    labels = run_names(runs)
    return Document(
        title="Protocols side by side",
        subtitle=f"{len(runs)} protocols",
        verdicts=[
            replace(verdict, subject=label)
            for label, result in zip(labels, results, strict=True)
            for verdict in _verdicts(result)
        ],
        limits=list(dict.fromkeys(limit for result in results for limit in _limits(result))),
        table=Table("Evaluated score of each method", labels, rows, "Method"),
        sections=[differing_settings(runs, labels)],
    )


def _subtitle(result: ProtocolResult) -> str:
    streams = result.streams
    return (
        f"{count_text(len(result.methods), 'method')}; {count_text(result.trials, 'trial')} by "
        f"{count_text(result.seeds, 'seed')} on the tuning stream ({', '.join(streams['tuning'].classes)}), the "
        f"best trial frozen, {count_text(result.evaluation_seeds, 'seed')} on the evaluation stream "
        f"({', '.join(streams['evaluation'].classes)}). Score: {_METRICS[result.metric]}."
    )


def _best(result: ProtocolResult) -> str:
    ranks = result.ranks["evaluation"]
    name = min(ranks, key=lambda method: ranks[method])
    evaluated = result.methods[name].evaluated
    if evaluated.failures == len(evaluated.values):
        return "no method, as every evaluation run failed"
    return f"{name} with {_text(evaluated)}"


def _failure_verdicts(methods: Mapping[str, MethodFigures]) -> list[Verdict]:
    """A verdict on failed runs, if there are any."""
    failures = []
    for name, figures in methods.items():
        entries = figures.failed_runs
        failed = sum(entry.count for entry in entries)
        if failed and failed == figures.runs:
            failures.append(f"all {failed} runs of {name} failed ({entries[0].reason})")
            continue
        failures += [f"{entry.count} {entry.phase} runs of {name} {entry.kind} ({entry.reason})" for entry in entries]
    if not failures:
        return []
    return [Verdict("Did all runs succeed?", f"No: {'; '.join(failures)}. They count with scores of 0.", False)]


def _verdicts(result: ProtocolResult) -> list[Verdict]:
    ranks, agreement = result.ranks, result.agreement
    moved = [name for name in ranks["tuning"] if ranks["tuning"][name] != ranks["evaluation"][name]]
    tau = "is not defined" if agreement.tau is None else f"is {agreement.tau:.2f}"
    ends = "" if agreement.low is None else f" [{agreement.low:.2f}, {agreement.high:.2f}] over seeds"
    verdicts = [
        Verdict("Which method is best?", f"On the evaluation stream {_best(result)}."),
        Verdict(
            "Does tuning carry over?",
            f"Kendall's tau between the methods' scores in the two phases {tau}{ends}; "
            + (f"{', '.join(moved)} change their rank." if moved else "no method changes its rank."),
        ),
    ]
    if "conventional" in ranks:
        chosen = {name: own.conventional for name, own in result.methods.items() if own.conventional is not None}
        optimism = {name: figures.optimism for name, figures in chosen.items()}
        most = max(optimism, key=lambda name: optimism[name])
        # On the same seeds: evaluation may have more of them, which changes ranks by itself.
        conventional = {name: figures.mean for name, figures in chosen.items()}
        frozen = rank({name: conventional[name] - optimism[name] for name in conventional})
        differ = [name for name, own in rank(conventional).items() if own != frozen[name]]
        verdicts.append(
            Verdict(
                "What would the conventional protocol have shown?",
                f"Trials chosen on the test images of the evaluation stream score "
                f"{sum(optimism.values()) / len(optimism):+.3f} on average, {optimism[most]:+.3f} for {most}, against "
                f"the chosen ones on the same seeds; "
                + (f"{', '.join(differ)} would have another rank." if differ else "the order would be the same."),
            )
        )
    verdicts += left_out_verdicts(result.not_run)
    verdicts += _failure_verdicts(result.methods)
    for name, stream in result.streams.items():
        verdicts += repeated_verdicts(stream.repeated, stream.test, f" of the {name} stream")
    verdicts.append(
        Verdict(
            "How sure are we?",
            f"Means over {count_text(result.evaluation_seeds, 'seed')} with intervals by Student's t. Choices were "
            "frozen before the evaluation.",
        )
    )
    return verdicts


def _table(result: ProtocolResult) -> Table:
    ranks = result.ranks
    rows = []
    for name in sorted(result.methods, key=lambda method: ranks["evaluation"][method]):
        figures = result.methods[name]
        conventional = figures.conventional
        rows.append(
            Row(
                name,
                [
                    _text(figures.tuned),
                    str(ranks["tuning"][name]),
                    _text(figures.evaluated),
                    str(ranks["evaluation"][name]),
                    _text(figures.evaluated_final),
                    "-" if conventional is None else _text(conventional),
                    "-" if conventional is None else str(ranks["conventional"][name]),
                    "-"
                    if conventional is None or conventional.tau_of_trials is None
                    else f"{conventional.tau_of_trials:.2f}",
                ],
            )
        )
    columns = [
        "Tuned",
        "Rank",
        "Evaluated",
        "Rank",
        "Final accuracy",
        "Best on the test stream (optimistic)",
        "Rank",
        "Tau of trials",
    ]
    return Table(f"Score: {_METRICS[result.metric]}, mean over seeds with interval", columns, rows, "Method")


def _figures(result: ProtocolResult) -> list[Figure]:
    ranks, methods = result.ranks, result.methods
    order = sorted(methods, key=lambda method: ranks["evaluation"][method])
    series = {
        "tuned": [_point(name, methods[name].tuned) for name in order],
        "evaluated": [_point(name, methods[name].evaluated) for name in order],
    }
    if "conventional" in ranks:
        series["best on the test stream"] = [
            _point(name, scores) for name in order if (scores := methods[name].conventional) is not None
        ]
    phases = [phase for phase in ("tuning", "evaluation", "conventional") if phase in ranks]
    lines = [
        Line(
            name,
            list(range(1, len(phases) + 1)),
            [float(ranks[phase][name]) for phase in phases],
            SERIES[index % len(SERIES)],
        )
        for index, name in enumerate(order)
    ]
    seconds = [
        Line(
            name,
            [methods[name].evaluation_cost.seconds],
            [methods[name].evaluated.mean],
            SERIES[index % len(SERIES)],
        )
        for index, name in enumerate(order)
    ]
    x_label = ", ".join(f"{number} {phase}" for number, phase in enumerate(phases, start=1))
    return [
        Figure(
            dot_chart(series, x_label=_METRICS[result.metric], name="phases"),
            "Scores of tuning and of evaluation. Levels differ between streams; compare the order.",
        ),
        Figure(
            line_chart(lines, x_label=x_label, y_label="rank, 1 is best", best_is_low=True, name="ranks"),
            "Rank of each method in each phase: where lines cross, another stream changes the choice.",
        ),
        Figure(
            line_chart(seconds, x_label="seconds of one run", y_label=_METRICS[result.metric], name="cost"),
            "Cost against score, of a run of the chosen trial on this machine.",
        ),
    ]


def _selection_section(methods: Mapping[str, MethodFigures]) -> Section:
    rows = [
        Row(
            f"{name}, trial {figures.selected.trial}",
            [
                ", ".join(f"{key} {value}" for key, value in figures.selected.drawn.items()) or "-",
                str(figures.failures),
                str(figures.evaluated.failures),
            ],
        )
        for name, figures in methods.items()
    ]
    columns = ["Settings", "Failed tuning runs", "Failed evaluation runs"]
    tables = [Table("Chosen settings", columns, rows, "Method")]
    failed = [
        Row(name, [entry.phase, entry.kind, str(entry.count), entry.reason])
        for name, figures in methods.items()
        for entry in figures.failed_runs
    ]
    if failed:
        tables.append(Table("Failed runs", ["Phase", "Kind", "Runs", "Reason"], failed, "Method"))
    text = "A run that diverged or failed counts as 0 and is not dropped; '--resume' does not repeat it."
    return Section("What was chosen", [text], tables)


def _first_task_section(methods: Mapping[str, MethodFigures]) -> Section:
    rows = [
        Row(
            name,
            [
                str(figures.first_task.selected.trial),
                _text(figures.first_task.evaluated),
                _text(figures.evaluated),
            ],
        )
        for name, figures in methods.items()
    ]
    text = "This cheap selector reads the accuracy on the first task alone. Both selectors chose from the same trials."
    columns = ["Trial", "Evaluated", "Evaluated, whole stream"]
    return Section("Tuning on the first task alone", [text], [Table("First task", columns, rows, "Method")])


def _sensitivity_section(methods: Mapping[str, MethodFigures]) -> Section:
    rows = []
    for name, figures in methods.items():
        ordered = sorted(figures.sensitivity.items(), key=lambda pair: -pair[1].spread)
        rows += [
            Row(
                f"{name}: {key}",
                [
                    f"{effect.spread:.3f}",
                    str(effect.fewest),
                    ", ".join(f"{value}: {mean:.3f}" for value, mean in effect.means.items()),
                ],
            )
            for key, effect in ordered
        ]
    text = (
        "The mean tuning score of the trials with each value of a setting; other settings vary with it, so with "
        "few trials a spread is mostly chance."
    )
    columns = ["Spread", "Fewest trials", "Mean score by value"]
    return Section("Sensitivity", [text], [Table("Settings", columns, rows, "Setting")])


def _cost_section(result: ProtocolResult) -> Section:
    rows = []
    for name, figures in result.methods.items():
        cost, run = figures.tuning_cost, figures.evaluation_cost
        rows.append(
            Row(
                name,
                [
                    f"{cost.runs}",
                    f"{cost.seconds:,.0f}",
                    f"{cost.steps:,}",
                    f"{cost.images:,}",
                    f"{run.seconds:.1f}",
                    f"{run.parameters_training:,}",
                    f"{run.parameters_inference:,}",
                    f"{run.exemplar_bytes:,}",
                ],
            )
        )
    columns = [
        "Tuning runs",
        "Tuning, s",
        "Tuning steps",
        "Tuning images",
        "One run, s",
        "Parameters, training",
        "Parameters, inference",
        "Exemplar bytes",
    ]
    wall = sum(result.cost.seconds.values())
    text = f"Wall time of all runs: {wall:,.0f} s. Seconds of parallel runs add up to more than the wall time."
    return Section("Cost", [text], [Table("Cost of each method", columns, rows, "Method")])


def _limits(result: ProtocolResult) -> list[str]:
    return [
        "Two streams of the same kind: what carries over between them need not carry over to another domain.",
        f"{count_text(result.trials, 'trial')} of a random search; a longer one may favour methods with more "
        "settings. "
        + (
            "Trials were pruned after each seed, which the published protocol does not do: one with a bad "
            "first seed has no other."
            if result.pruned
            else "Nothing was pruned."
        ),
        "The test images of the tuning stream serve for validation; nothing is chosen on the evaluation stream.",
    ]


def _point(name: str, scores: Scores) -> Point:
    return Point(name, scores.mean, scores.low, scores.high)


def _text(scores: Scores) -> str:
    failed = f", {scores.failures} of {len(scores.values)} failed" if scores.failures else ""
    return f"{interval_text(scores.mean, scores.low, scores.high)}{failed}"
