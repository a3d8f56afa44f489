"""Finished runs side by side: groups of runs that differ in seeds alone, and statistics over them."""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Any, Generic, TypeVar

from myosotis.engine.config import flatten
from myosotis.engine.errors import InputError
from myosotis.engine.result import Result
from myosotis.engine.run import Run
from myosotis.evaluation.intervals import Interval, t_interval
from myosotis.report.sections import without_folders

WITHOUT_EFFECT = frozenset(
    {"name", "operator", "checkpoint_every", "keep_learners", "trackers", "confidence", "panels", "shown"}
)
"""Settings that do not change a figure; runs that differ in nothing else are the same run twice."""

_MAX_CHARACTERS = 80


ResultT = TypeVar("ResultT", bound=Result)


@dataclass
class Group(Generic[ResultT]):
    """Runs that differ in seeds alone.

    Attributes:
        label: Name of the group, unique among the groups: that of its run, or of its runs and their method.
        settings: What tells the group apart from the others.
        runs: Finished runs.
        results: Their results.
    """

    label: str
    settings: str
    runs: list[Run] = field(default_factory=list)
    results: list[ResultT] = field(default_factory=list)

    def values(self, get: Callable[[ResultT], float | None]) -> list[float]:
        """Return a figure of each result, without those that have none."""
        return [value for value in map(get, self.results) if value is not None]

    def mean(self, get: Callable[[ResultT], float | None], confidence: float = 0.95) -> Interval | None:
        """Return the mean of a figure over the runs with its interval by Student's t; None where no run has it."""
        values = self.values(get)
        return t_interval(values, confidence) if values else None


def group_runs(
    runs: Sequence[Run],
    results: Sequence[ResultT],
    *,
    seeds: Collection[str] = ("seed",),
    titles: Sequence[str] = ("method.name",),
) -> list[Group[ResultT]]:
    """Return runs in groups, in the order of the first run of each.

    Settings below ``method.`` (or ``base.``) tell groups of that method apart, and nothing else.

    Args:
        runs: Finished runs of one kind.
        results: Their results.
        seeds: Dotted keys in which runs of one group may differ.
        titles: Dotted keys whose values begin what tells a group apart, without the key, where they differ. The first
            one tells groups apart that differ in nothing.

    Raises:
        InputError: Two runs of a group have the same seeds.
    """
    flat = [{key: value for key, value in flatten(run.settings()).items() if key not in WITHOUT_EFFECT} for run in runs]
    plain = [{key: value for key, value in settings.items() if key not in seeds} for settings in flat]
    differing = [key for key in dict.fromkeys(key for settings in plain for key in settings) if _differs(plain, key)]
    groups: dict[tuple[tuple[str, str], ...], Group[ResultT]] = {}
    known: dict[tuple[tuple[str, str], ...], Run] = {}
    for run, result, full, settings in zip(runs, results, flat, plain, strict=True):
        complete = tuple(sorted(full.items()))
        if complete in known:
            raise InputError(f"{run.path}: has the same settings and seed as {known[complete].path}")
        known[complete] = run
        key = tuple(sorted(settings.items()))
        if key not in groups:
            shown = flatten(without_folders(run.settings()))
            groups[key] = Group("", _label(settings, plain, differing, titles, shown))
        groups[key].runs.append(run)
        groups[key].results.append(result)
    names = run_names(runs)
    _label_groups(list(groups.values()), {run.path: name for run, name in zip(runs, names, strict=True)})
    return list(groups.values())


def _label_groups(groups: Sequence[Group[Any]], names: Mapping[Path, str]) -> None:
    """Label groups by the names of their runs, and by their settings where these do not tell them apart."""
    for group in groups:
        own = [names[run.path] for run in group.runs]
        method = group.results[0].method or group.settings
        group.label = own[0] if len(own) == 1 else f"{_common_name(group)}, {method}"
    labels = [group.label for group in groups]
    for group in groups:
        if labels.count(group.label) > 1:
            group.label = f"{group.label} ({group.settings})"


def _common_name(group: Group[Any]) -> str:
    """The beginning that the names of the runs share, without what numbers the seeds; the first name if it is empty."""
    names: list[str] = [result.name for result in group.results]
    if len(set(names)) == 1:
        return names[0]
    return re.sub(r"[-_.]*(?:seed|s)?[-_.]*\d*$", "", _common_start(names)) or names[0]


def _common_start(names: Sequence[str]) -> str:
    """The letters that all names begin with."""
    alike = (len(set(letters)) == 1 for letters in zip(*names, strict=False))
    return names[0][: sum(1 for _ in takewhile(bool, alike))]


def _differs(settings: Sequence[Mapping[str, str]], key: str) -> bool:
    return len({each.get(key) for each in settings}) > 1


def _label(
    own: Mapping[str, str],
    settings: Sequence[Mapping[str, str]],
    differing: Sequence[str],
    titles: Sequence[str],
    shown: Mapping[str, str],
) -> str:
    """The values of the titles, then the other settings that tell this group apart from others, as ``shown``."""
    parts = [own.get(key, "-") for key in titles if key in differing]
    for key in differing:
        if key in titles:
            continue
        prefix, _, _ = key.partition(".")
        name = f"{prefix}.name"
        peers = [each for each in settings if each.get(name) == own.get(name)] if name in titles else settings
        if _differs(peers, key):
            parts.append(f"{key} {shown.get(key, '-')}")
    return ", ".join(parts) or own[titles[0]]


def run_names(runs: Sequence[Run]) -> list[str]:
    """Return the runs' names; where names are equal, as much of the end of their paths as tells the runs apart."""
    names = [str(run.settings()["name"]) for run in runs]
    if len(set(names)) == len(names):
        return names
    parts = [Path(run.path).parts for run in runs]
    for count in range(1, max(map(len, parts))):
        names = ["/".join(own[-count:]) for own in parts]
        if len(set(names)) == len(names):
            break
    return names


def comparison_name(runs: Sequence[Run]) -> str:
    """Return the file name of a comparison: after its runs, and with a digest of their paths where these are many.

    Args:
        runs: At least two runs.
    """
    name = "-".join(run.path.name for run in runs)
    if len(name) > _MAX_CHARACTERS:
        digest = hashlib.sha256("\n".join(str(run.path) for run in runs).encode()).hexdigest()[:8]
        name = f"{name[:_MAX_CHARACTERS].rstrip('-')}-{digest}"
    return f"comparison-{name}.html"


def number_text(value: float | None) -> str:
    """Return a figure with three decimals; ``-`` for none.

    Example:
        >>> number_text(0.5), number_text(None)
        ('0.500', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def mean_text(interval: Interval | None) -> str:
    """Return a mean with its interval; ``-`` for none."""
    return "-" if interval is None else interval_text(interval.mean, interval.low, interval.high)


def interval_text(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a mean with its interval, if it has one.

    Example:
        >>> interval_text(0.5, 0.4, 0.6)
        '0.500 [0.400, 0.600]'
    """
    return number_text(mean) if low is None or high is None else f"{number_text(mean)} [{low:.3f}, {high:.3f}]"
