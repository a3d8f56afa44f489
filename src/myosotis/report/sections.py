"""Sections and verdicts that the reports of all jobs share."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from myosotis.engine.config import flatten
from myosotis.engine.files import read_json
from myosotis.engine.method import MethodCard
from myosotis.engine.result import LeftOut
from myosotis.engine.run import Run
from myosotis.report.document import Figure, Row, Section, Table, Verdict
from myosotis.report.figures import SERIES, Line, curves


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


def run_facts(
    run: Run, method: str | None = None, *, model: str | None = None, hashes: Sequence[str | None] = ()
) -> list[tuple[str, str]]:
    """Return what identifies a run, for the head of its report.

    Args:
        run: A finished run.
        method: Title of the method.
        model: Name of the model.
        hashes: Hashes of the model that came in and of the one that went out; None where there is none.
    """
    result = run.result()
    request = result.get("request") or {}
    facts = [
        ("Finished", moment_text(result["finished"])),
        ("Duration", duration_text(sum(result["cost"]["seconds"].values()))),
        ("Operator", result.get("operator")),
        ("Request", request.get("id")),
        ("Received", request.get("received")),
        ("Deadline", _deadline_text(request.get("deadline"), result["finished"])),
        ("Method", method),
        ("Model", model_text(model, hashes)),
        ("Version", f"myosotis {read_json(run.path / 'environment.json')['myosotis']}"),
    ]
    return [(name, str(value)) for name, value in facts if value]


def request_tables(request: Mapping[str, Any] | None) -> tuple[list[str], list[Table]]:
    """Return what a deletion request leaves untreated, as sentences, and the request as a table; empty without one.

    Args:
        request: ``request`` of a result.
    """
    given = {key: value for key, value in (request or {}).items() if value}
    untreated = given.pop("untreated", ())
    words = {key: str(value) if isinstance(value, str) else ", ".join(map(str, value)) for key, value in given.items()}
    rows = [Row(key.replace("_", " "), [text]) for key, text in words.items()]
    notes = [f"Models and copies that were not treated: {', '.join(untreated)}."] if untreated else []
    return notes, [Table("The request", ["Value"], rows)] if rows else []


def model_text(model: str | None, hashes: Sequence[str | None]) -> str:
    """Return the name of a model, if it has one, and the beginnings of its hashes.

    Example:
        >>> model_text("small", [None, "f" * 64]), model_text(None, ["a" * 64, "b" * 64])
        ('small, out ffffffffffff', 'in aaaaaaaaaaaa, out bbbbbbbbbbbb')
    """
    known = [f"{word} {digest[:12]}" for word, digest in zip(("in", "out"), hashes, strict=False) if digest]
    return ", ".join([*([model] if model else []), *known])


def moment_text(moment: str) -> str:
    """Return a time in UTC for people.

    Example:
        >>> moment_text("2026-05-04T03:02:01Z")
        '2026-05-04 03:02 UTC'
    """
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def duration_text(seconds: float) -> str:
    """Return a duration for people.

    Example:
        >>> [duration_text(value) for value in (0.31, 59.7, 200, 7260)]
        ['0.3 s', '1 min', '3 min 20 s', '2 h 1 min']
    """
    if seconds < 0.1:
        return "less than 0.1 s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "h"), (minutes, "min"), (0 if hours else rest, "s")]
    return " ".join(f"{value} {unit}" for value, unit in parts if value)


def count_text(count: float, noun: str) -> str:
    """Return a number with its noun.

    Example:
        >>> count_text(1, "step"), count_text(2, "step"), count_text(0.5, "epoch"), count_text(1200, "image")
        ('1 step', '2 steps', '0.5 epochs', '1,200 images')
    """
    number = f"{count:,}" if isinstance(count, int) else f"{count:g}"
    return f"{number} {noun}{'' if count == 1 else 's'}"


def times_text(count: int) -> str:
    """Return how often something was done, in words.

    Example:
        >>> [times_text(count) for count in (1, 2, 5)]
        ['once', 'twice', '5 times']
    """
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _deadline_text(deadline: str | None, finished: str) -> str | None:
    if deadline is None:
        return None
    try:
        met = datetime.fromisoformat(finished).astimezone(UTC).date() <= date.fromisoformat(deadline)
    except ValueError:
        return deadline
    return f"{deadline} ({'finished in time' if met else 'finished after it'})"


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


def lineage_section(models: Mapping[str, str | None], data: Mapping[str, str | list[str]]) -> Section:
    """Return the hashes of models and the fingerprints of data.

    Args:
        models: Hashes by name; a model without one is left out.
        data: Salted fingerprints by the name of the data set.
    """
    rows = [Row(name, [text]) for name, text in models.items() if text is not None]
    rows += [Row(f"{name.capitalize()} images", [fingerprints_text(prints)]) for name, prints in data.items()]
    text = "Models are named by the SHA-256 of their weights, images by salted fingerprints."
    return Section("Lineage", [text], [Table("Hashes and fingerprints", ["Value"], rows)])


def fingerprints_text(prints: str | Sequence[str]) -> str:
    """Return a fingerprint, or the number of several and the SHA-256 over them; ``-`` for none.

    The list of them is in ``result.json``.

    Example:
        >>> fingerprints_text(["ab"]), fingerprints_text([])
        ('ab', '-')
    """
    if isinstance(prints, str):
        return prints
    if len(prints) < 2:
        return prints[0] if prints else "-"
    return f"{len(prints)} fingerprints, SHA-256 {hashlib.sha256(''.join(prints).encode()).hexdigest()}"


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
    return curves(
        lines,
        "Terms of the loss over all epochs of all tasks; each task begins with a jump.",
        x_label="epoch, all tasks",
        y_label="mean loss term",
        name="terms",
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
    # Names of paths alone are shown; where they are equal, a number tells the folders apart.
    short = [flatten(without_folders(run.settings())) for run in runs]
    rows = []
    for key in differing:
        shown, complete = ([settings.get(key, "-") for settings in each] for each in (short, flat))
        if len(set(shown)) < len(set(complete)):
            number = {text: str(index) for index, text in enumerate(dict.fromkeys(complete), start=1)}
            shown = [f"{text} ({number[full]})" for text, full in zip(shown, complete, strict=True)]
        rows.append(Row(key, shown))
    return Section("Settings", [], [Table("Settings that differ", names, rows, "Setting")])


def environment_section(run: Run) -> Section:
    """Return the versions and devices that a run was made with."""
    content = read_json(run.path / "environment.json")
    return Section("Environment", [], [Table("Versions and devices", ["Value"], setting_rows(content))])


def left_out_verdicts(left_out: Mapping[str, LeftOut]) -> list[Verdict]:
    """Return a verdict on what did not fit the memory, if there is anything.

    Args:
        left_out: ``not_run`` of a result.
    """
    if not left_out:
        return []
    listed = "; ".join(f"{name}, {count_text(each.runs, 'run')} ({each.reason})" for name, each in left_out.items())
    return [
        Verdict(
            "Could everything be run?",
            f"No: not run for want of memory, and left out: {listed}. Smaller batches, or a device with more memory, "
            "would tell.",
            False,
        )
    ]


def value_at(content: Mapping[str, object], key: str) -> Any:
    """Return what stands under a dotted key of settings or figures; None where there is nothing.

    Args:
        content: Nested mappings.
        key: Names with dots between them.

    Example:
        >>> value_at({"training": {"epochs": 3}}, "training.epochs"), value_at({}, "training.epochs")
        (3, None)
    """
    value: object = content
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
