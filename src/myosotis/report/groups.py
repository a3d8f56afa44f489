"""Finished runs side by side: groups of runs that differ in seeds alone, and statistics over them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from myosotis.engine.config import flatten
from myosotis.engine.errors import InputError
from myosotis.engine.run import Run

WITHOUT_EFFECT = frozenset({"name", "checkpoint_every", "keep_learners", "trackers", "confidence", "panels", "shown"})
"""Settings that do not change a figure; runs that differ in nothing else are the same run twice."""


@dataclass
class Group:
    """Runs that differ in seeds alone.

    Attributes:
        label: Name of the group, unique among the groups.
        runs: Finished runs.
        results: Content of their ``result.json``.
    """

    label: str
    runs: list[Run] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    def values(self, get: Callable[[Mapping[str, Any]], float | None]) -> list[float]:
        """Return a figure of each result, without those that have none."""
        return [value for value in map(get, self.results) if value is not None]


def group_runs(
    runs: Sequence[Run], *, seeds: Collection[str] = ("seed",), titles: Sequence[str] = ("method.name",)
) -> list[Group]:
    """Return runs in groups, in the order of the first run of each.

    Settings below ``method.`` (or ``base.``) tell groups of that method apart, and nothing else.

    Args:
        runs: Finished runs of one kind.
        seeds: Dotted keys in which runs of one group may differ.
        titles: Dotted keys whose values begin the label of a group, without the key, where they differ. The first one
            names groups that differ in nothing.

    Raises:
        InputError: Two runs of a group have the same seeds.
    """
    flat = [{key: value for key, value in flatten(run.settings()).items() if key not in WITHOUT_EFFECT} for run in runs]
    plain = [{key: value for key, value in settings.items() if key not in seeds} for settings in flat]
    differing = [key for key in dict.fromkeys(key for settings in plain for key in settings) if _differs(plain, key)]
    groups: dict[tuple[tuple[str, str], ...], Group] = {}
    known: dict[tuple[tuple[str, str], ...], Run] = {}
    for run, full, settings in zip(runs, flat, plain, strict=True):
        complete = tuple(sorted(full.items()))
        if complete in known:
            raise InputError(f"{run.path}: has the same settings and seed as {known[complete].path}")
        known[complete] = run
        key = tuple(sorted(settings.items()))
        if key not in groups:
            groups[key] = Group(_label(settings, plain, differing, titles))
        groups[key].runs.append(run)
        groups[key].results.append(run.result())
    return list(groups.values())


def _differs(settings: Sequence[Mapping[str, str]], key: str) -> bool:
    return len({each.get(key) for each in settings}) > 1


def _label(
    own: Mapping[str, str], settings: Sequence[Mapping[str, str]], differing: Sequence[str], titles: Sequence[str]
) -> str:
    """The values of the titles, then the other settings that tell this group apart from others."""
    parts = [own.get(key, "-") for key in titles if key in differing]
    for key in differing:
        if key in titles:
            continue
        prefix, _, _ = key.partition(".")
        name = f"{prefix}.name"
        peers = [each for each in settings if each.get(name) == own.get(name)] if name in titles else settings
        if _differs(peers, key):
            parts.append(f"{key} {own.get(key, '-')}")
    return ", ".join(parts) or own[titles[0]]


def run_names(runs: Sequence[Run], results: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the runs' names, or their directories where names are equal."""
    names = [str(result["name"]) for result in results]
    if len(set(names)) == len(names):
        return names
    folders = [Path(run.path).name for run in runs]
    return folders if len(set(folders)) == len(folders) else [str(run.path) for run in runs]


def number_text(value: float | None) -> str:
    """Return a figure with three decimals; ``-`` for none.

    Example:
        >>> number_text(0.5), number_text(None)
        ('0.500', '-')
    """
    return "-" if value is None else f"{value:.3f}"


def interval_text(mean: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a mean with its interval, if it has one.

    Example:
        >>> interval_text(0.5, 0.4, 0.6)
        '0.500 (0.400 to 0.600)'
    """
    return number_text(mean) if low is None or high is None else f"{number_text(mean)} ({low:.3f} to {high:.3f})"
