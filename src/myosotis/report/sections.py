"""Sections and verdicts that the reports of all jobs share."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosotis.engine.config import flatten
from myosotis.engine.files import read_json
from myosotis.engine.method import MethodCard
from myosotis.engine.run import Run
from myosotis.report.document import Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, line_chart


def setting_rows(config: Mapping[str, Any]) -> list[Row]:
    """Return a row for each setting; of an absolute path only the name, as folders reveal the machine and its user."""
    return [Row(key, [value]) for key, value in flatten(without_folders(config)).items()]


def without_folders(value: Any) -> Any:
    """Return settings in which absolute paths are cut to their last part.

    Example:
        >>> without_folders({"model": {"path": "/home/me/models/seven"}, "lists": ["/home/me/a.txt", "b.txt"]})
        {'model': {'path': 'seven'}, 'lists': ['a.txt', 'b.txt']}
    """
    if isinstance(value, Mapping):
        return {key: without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(inner) for inner in value]
    is_path = isinstance(value, str) and Path(value).is_absolute() and not set("{}\n") & set(value)
    return Path(value).name if is_path else value


def repeated_verdicts(count: int, total: int, where: str = "") -> list[Verdict]:
    """Return a verdict on test images that are training images; none where there are no such images.

    Args:
        count: Number of such images.
        total: Number of test images.
        where: Data set that they belong to, if there are several.
    """
    if not count:
        return []
    text = f"{count:,} of {total:,} test images{where} are training images too, so accuracies on them are too good."
    return [Verdict("Are the test images new?", text, False)]


def method_section(
    cards: Sequence[MethodCard], config: Mapping[str, Any], *, notes: Sequence[str] = (), title: str = "What was done"
) -> Section:
    """Return the methods in a sentence each, with their papers, and a table of every setting.

    Args:
        cards: Cards of the methods; the first says what it reads.
        config: Settings of the run.
        notes: Further paragraphs.
        title: Title of the section.
    """
    paragraphs = [f"{card.title}. {card.purpose} ({card.paper}.)" for card in cards]
    if cards:
        paragraphs[0] += f" It reads: {cards[0].reads}."
    table = Table("Every setting", ["Value"], setting_rows(config), "Setting")
    return Section(title, [*paragraphs, *notes], [table])


def lineage_section(models: Mapping[str, str | None], data: Mapping[str, str]) -> Section:
    """Return the hashes of models and the fingerprints of data.

    Args:
        models: Hashes by name; a model without one is left out.
        data: Salted fingerprints by the name of the data set.
    """
    rows = [Row(name, [text]) for name, text in models.items() if text is not None]
    rows += [Row(f"{name.capitalize()} images", [text]) for name, text in data.items()]
    text = "Models are named by the SHA-256 of their weights, images by salted fingerprints."
    return Section("Lineage", [text], [Table("Hashes and fingerprints", ["Value"], rows)])


def limits_section(*paragraphs: str) -> Section:
    """Return what a report does not show."""
    return Section("What this does not show", paragraphs)


def seconds_text(seconds: Sequence[float | None]) -> str:
    """Return the time of each task; ``-`` where an earlier session did a part of it.

    Example:
        >>> seconds_text([1.2, None])
        '1, -'
    """
    return ", ".join("-" if value is None else f"{value:.0f}" for value in seconds)


def loss_figure(run: Run, phase: str = "learn", *, most: int = 8) -> Figure | None:
    """Return the mean loss terms of every epoch; None where none were logged.

    Args:
        run: Run whose events have ``task``, ``stage`` and ``epoch``, and a figure for each term.
        phase: Phase of the events.
        most: Number of terms that are shown.
    """
    marks = ("phase", "task", "stage", "epoch", "step")
    # A resumed run logs some epochs again; the last of each counts.
    events = {
        tuple(event.get(mark) for mark in ("task", "stage", "epoch")): event
        for event in run.events()
        if event.get("phase") == phase
    }
    terms = list(dict.fromkeys(key for event in events.values() for key in event if key not in marks))
    lines = []
    for index, term in enumerate(terms[:most]):
        points = [(x, event[term]) for x, event in enumerate(events.values(), start=1) if event.get(term) is not None]
        lines.append(Line(term, [float(x) for x, _ in points], [y for _, y in points], SERIES[index % len(SERIES)]))
    if not lines:
        return None
    return Figure(
        line_chart(lines, x_label="epoch, all tasks", y_label="mean loss term", name="terms"),
        "The terms of the loss over all epochs of all tasks; each task begins with a jump.",
    )


def differing_settings(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Return a table of the settings in which runs differ.

    Args:
        runs: At least two runs.
        names: Their names.
    """
    flat = [flatten(run.settings()) for run in runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if len({settings.get(key, "-") for settings in flat}) > 1]
    # Names alone are shown where they differ.
    short = [flatten(without_folders(run.settings())) for run in runs]
    rows = []
    for key in differing:
        names_of = [each.get(key, "-") for each in short]
        rows.append(Row(key, names_of if len(set(names_of)) > 1 else [each.get(key, "-") for each in flat]))
    return Section("Settings", [], [Table("Settings that differ", names, rows, "Setting")])


def environment_section(run: Run) -> Section:
    """Return the versions and devices that a run was made with."""
    content = read_json(run.path / "environment.json")
    return Section("Environment", [], [Table("Versions and devices", ["Value"], setting_rows(content))])
