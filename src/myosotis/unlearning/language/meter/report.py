"""The report of ``meter``, and of several runs side by side."""

import math
from collections.abc import Mapping, Sequence

from myosotis.engine.run import Run
from myosotis.report.comparison import side_by_side
from myosotis.report.criteria import sentence
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, curves
from myosotis.report.groups import mean_text, run_names
from myosotis.report.sections import (
    count_text,
    duration_text,
    environment_section,
    run_facts,
    setting_rows,
    times_text,
)
from myosotis.unlearning.language.audit.doses import CLEARLY, CRITERIA, Doses, Told
from myosotis.unlearning.language.job.report import METRIC_NAMES
from myosotis.unlearning.language.job.report_suites import SCORE_NAMES
from myosotis.unlearning.language.meter.measures import CONTROL, FIGURES, REWORDED, WRONG
from myosotis.unlearning.language.meter.result import MeterResult

_LIMITS = (
    "The people are made up, and an adapter learns them: what a figure tells of other data or of a model that was "
    "wholly fine-tuned may differ.",
    "An unlearning method may leave traces that are not those of few exposures.",
    "The figures are compared on the same people: that one of them is higher than another by little shows nothing.",
)
_NAMES = (
    {figure: METRIC_NAMES[figure][0] for figure in FIGURES if figure in METRIC_NAMES}
    | SCORE_NAMES
    | {"token_probability": "token probability", "truth_ratio": "truth ratio"}
)


def describe(run: Run) -> Document:
    """Return the report of a finished run.

    Args:
        run: A run of the kind ``meter``.
    """
    result = run.result_as(MeterResult)
    doses = result.doses
    return Document(
        title=f"What the audit can see: {result.name}",
        subtitle=(
            f"{doses.network}, taught {count_text(result.exposures, 'exposure')} of made-up people; "
            f"{doses.people} people of each dose are told from {doses.unseen} who were never taught."
        ),
        facts=run_facts(run, model=doses.model, hashes=[result.lineage.model_in]),
        verdicts=_verdicts(result),
        limits=_LIMITS,
        overview=[_once_table(result)],
        table=_dose_table(doses),
        figures=[_dose_figure(doses)],
        sections=[
            _tests_section(result),
            _cost_section(result),
            Section("Settings", [], [Table("Every setting", ["Value"], setting_rows(run.settings()), "Setting")]),
            environment_section(run),
        ],
    )


def compare(runs: Sequence[Run]) -> Document:
    """Return a report that puts finished runs side by side.

    Args:
        runs: At least two runs of the kind ``meter``.
    """
    results = [run.result_as(MeterResult) for run in runs]
    rows = [
        Row(sentence(_NAMES[figure]), [_dose_text(result.doses, figure) for result in results])
        for figure in FIGURES
        if any(figure in result.doses.told for result in results)
    ]
    return side_by_side(
        runs,
        [result.doses.model for result in results],
        [_verdicts(result) for result in results],
        title="What audits can see, side by side",
        subtitle=f"{len(runs)} runs",
        limits=_LIMITS,
        table=Table(f"Exposures at which a figure tells with an AUC of {CLEARLY}", run_names(runs), rows, "Figure"),
    )


def ranked(doses: Doses) -> list[str]:
    """Return the figures, those that tell the fewest exposures first.

    Args:
        doses: How far they tell.
    """
    lowest = str(doses.doses[0])

    def order(figure: str) -> tuple[float, float]:
        found = doses.clear_dose(figure)
        first = doses.told[figure].get(lowest)
        return (float("inf") if found is None else found, 0.0 if first is None else -first.auc.mean)

    return sorted(doses.told, key=order)


def _verdicts(result: MeterResult) -> list[Verdict]:
    verdict, doses = result.verdict, result.doses
    lowest, highest = doses.doses[0], doses.doses[-1]
    [taught] = verdict.taught
    assert taught.value is not None  # noqa: S101 - it was measured
    control = (
        "No figure tells people never taught from others never taught"
        if verdict.control_p > 1 - verdict.confidence
        else "A figure tells people never taught from others never taught, so that nothing here is to be believed"
    )
    seen = {True: "is told", False: "is not told: teach with a higher rate", None: "cannot be said to be told"}
    best = ranked(doses)[0]
    told = doses.told[best][str(lowest)]
    rows = [
        Verdict(
            "Is the meter sound?",
            f"{control} (smallest p, times the number of figures: {verdict.control_p:.2g}); who was taught "
            f"{times_text(highest)} {seen[taught.holds]} by the probability of the facts: AUC "
            f"{mean_text(taught.value)}, {CLEARLY} asked.",
            verdict.sound,
            verdict.sound is None,
        ),
        Verdict(
            "Which figure sees most?",
            f"{sentence(_NAMES[best])}: it tells a person who was taught {times_text(lowest)} from one who never "
            f"was with probability {mean_text(told.auc)}.",
        ),
    ]
    over = {name: row[WRONG] for name, row in doses.told.items() if WRONG in row}
    if over:
        least = min(over, key=lambda name: over[name].auc.mean)
        rows.append(
            Verdict(
                "Which one sees that less is known than of strangers?",
                f"{sentence(_NAMES[least])}: people taught with wrong facts are above people never taught "
                f"with probability {mean_text(over[least].auc)}; 0.5 would be no sign.",
            )
        )
    return rows


def _dose_text(doses: Doses, figure: str) -> str:
    if figure not in doses.told:
        return "-"
    found = doses.clear_dose(figure)
    return f"more than {doses.doses[-1]}" if found is None else f"{found:.1f}"


def _auc(told: Mapping[str, Told], kind: str) -> str:
    return f"{told[kind].auc.mean:.2f}" if kind in told else "-"


def _dose_table(doses: Doses) -> Table:
    rows = [
        Row(
            sentence(_NAMES[figure]),
            [
                _dose_text(doses, figure),
                *(_auc(doses.told[figure], str(dose)) for dose in doses.doses),
                *(_auc(doses.told[figure], kind) for kind in (REWORDED, WRONG, CONTROL)),
            ],
            "a criterion of the verdict" if figure in CRITERIA else "",
        )
        for figure in ranked(doses)
    ]
    return Table(
        "Probability that a person has a higher figure than one never taught; ties count half. First the exposures at "
        f"which it reaches {CLEARLY}",
        ["Exposures", *(times_text(dose).capitalize() for dose in doses.doses), "Reworded", "Wrong facts", "Control"],
        rows,
        "Figure",
    )


def _once_table(result: MeterResult) -> Table:
    doses = result.doses
    kind = str(doses.doses[0])
    rows = []
    for figure in ranked(doses):
        if figure in CRITERIA and kind in (told := doses.told[figure]):
            one = told[kind]
            rows.append(Row(sentence(_NAMES[figure]), [mean_text(one.auc), f"{one.of_record:.2f}", f"{one.alone:.0%}"]))
    return Table(
        f"The criteria of a verdict: how they tell who was taught {times_text(doses.doses[0])}",
        ["AUC of people", "of records", f"above all of {doses.unseen}"],
        rows,
        "Criterion",
    )


def _dose_figure(doses: Doses) -> Figure:
    figures = [figure for figure in ranked(doses) if figure in CRITERIA]
    lines = [
        Line(
            sentence(_NAMES[figure]),
            [math.log2(1 + dose) for dose in (0, *doses.doses)],
            [0.5, *(doses.told[figure][str(dose)].auc.mean for dose in doses.doses)],
            SERIES[number % len(SERIES)],
        )
        for number, figure in enumerate(figures)
    ]
    return curves(
        lines,
        "How often people were taught, and how well each criterion of a verdict tells them from people never taught.",
        x_label="log2 (1 + times taught)",
        y_label="AUC",
        share=True,
        name="doses",
    )


def _tests_section(result: MeterResult) -> Section:
    doses = result.doses
    tables = []
    for dose in (doses.doses[0], doses.doses[-1]):
        kind = str(dose)
        rows = [
            Row(
                sentence(_NAMES[figure]),
                [_auc(doses.told[figure], kind), *(_auc(rows[figure], kind) for rows in result.tests.values())],
            )
            for figure in ranked(doses)
            if all(figure in rows for rows in result.tests.values())
        ]
        tables.append(Table(f"AUC of people taught {times_text(dose)}", ["Plain", *_TESTS.values()], rows, "Figure"))
    text = (
        "The figures of a single pass again: asked in other words, after other people or general text were taught as "
        "well, and with weights of 4 bits."
    )
    return Section("What outlasts what", [text], tables)


_TESTS = {
    "rewording": "Other words",
    "other people": "After other people",
    "general text": "After general text",
    "4 bits": "4 bits",
}


def _cost_section(result: MeterResult) -> Section:
    seconds = result.cost.seconds
    rows = [
        Row(
            by.capitalize(),
            [duration_text(seconds.get(by, 0.0))],
            ", ".join(_NAMES[figure] for figure, source in FIGURES.items() if source == by),
        )
        for by in dict.fromkeys(FIGURES.values())
    ]
    rows += [Row("Teaching", [duration_text(seconds.get("teach", 0.0))])]
    return Section("What it costs", [], [Table("Time of each measurement of all people", ["Time"], rows)])
