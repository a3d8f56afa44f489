"""What the reports of all jobs tell of a run alike."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from myosotis.engine.files import read_json
from myosotis.engine.run import Run
from myosotis.report.document import Row, Section, Table, Verdict


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings by dotted keys; what is not set is left out.

    Example:
        >>> flatten({"stop": {"at": "goal", "every": None}})
        {'stop.at': 'goal'}
    """
    flat: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        elif value is not None:
            flat[prefix + key] = str(value)
    return flat


def setting_rows(config: Mapping[str, Any]) -> list[Row]:
    """Return a row for each setting, of an absolute path the name alone: the rest is of the machine and its user."""
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
    """Return what is to be said of test images that are training images; nothing where there are none.

    Args:
        count: How many are.
        total: How many test images there are.
        where: Which data they belong to, if there are several.
    """
    if not count:
        return []
    text = f"{count:,} of {total:,} test images{where} are training images too, so accuracies on them are too good."
    return [Verdict("Are the test images new?", text, False)]


def differing_settings(runs: Sequence[Run], names: Sequence[str]) -> Section:
    """Return a table of the settings in which runs differ.

    Args:
        runs: At least two.
        names: What they are called.
    """
    flat = [flatten(run.settings()) for run in runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    differing = [key for key in keys if len({settings.get(key, "-") for settings in flat}) > 1]
    # Names alone are shown where they tell the paths apart.
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


def unlike_names(runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the runs' names, or their directories where names are equal."""
    names = [str(result["name"]) for result in results]
    if len(set(names)) == len(names):
        return names
    folders = [Path(run.path).name for run in runs]
    return folders if len(set(folders)) == len(folders) else [str(run.path) for run in runs]
