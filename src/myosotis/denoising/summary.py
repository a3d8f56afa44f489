"""The results of a denoised file: figures for machines, a report for people."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis import __version__
from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import Context, Context1d
from myosotis.denoising.methods import METHODS, DenoiseResult
from myosotis.engine.environment import now
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, curves, picture
from myosotis.report.pictures import encoded_png
from myosotis.report.sections import duration_text, moment_text

_SHOWN_SIDE = 512
_QUANTILE = 1.959964  # of the normal distribution, for 95 %
_PART = 1 << 18  # symbols counted at once


def format_context(context: Context | None) -> str:
    """Return a context as text.

    Example:
        >>> format_context(Context1d(3))
        '3 symbols on each side'
    """
    if context is None:
        return "none"
    if isinstance(context, Context1d):
        return f"{context.half_width} symbols on each side"
    return f"the {context.neighbours} nearest neighbours"


class Tally:
    """What became of noisy symbols, counted in parts.

    Args:
        symbols: Size of the alphabet.
    """

    def __init__(self, symbols: int) -> None:
        self.changes = np.zeros((symbols, symbols), dtype=np.int64)
        self.wrong: tuple[int, int] | None = None

    def add(self, noisy: Symbols, denoised: Symbols, reference: Symbols | None = None) -> None:
        """Count symbols.

        Args:
            noisy: Noisy symbols.
            denoised: What they became.
            reference: Clean symbols, where they are known.
        """
        self.changes += _changes(noisy, denoised, len(self.changes))
        if reference is not None:
            before, after = self.wrong or (0, 0)
            self.wrong = before + _differing(noisy, reference), after + _differing(denoised, reference)


def summarise(
    tally: Tally,
    result: DenoiseResult,
    names: Sequence[str],
    started: float,
    *,
    file: str | None = None,
    read_as: str = "",
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the figures of a denoised file, ready for JSON.

    Args:
        tally: Changes of all symbols.
        result: Result of denoising.
        names: Names of the symbols.
        started: Start of the work, by ``time.monotonic``.
        file: Name of the file, without its folders.
        read_as: Conversion of the file into symbols.
        notes: Notes of the model.
    """
    changes = tally.changes
    symbols = int(changes.sum())
    changed = symbols - int(changes.trace())
    after = result.before if changed == 0 else result.after
    results: dict[str, Any] = {
        "kind": "denoise",
        "file": file,
        "finished": now(),
        "method": result.method,
        "symbols": symbols,
        "names": list(names),
        "read_as": read_as,
        "context": format_context(result.context),
        "contexts_compared": {format_context(context): value for context, value in result.chosen.items()},
        "channel": [[round(value, 6) for value in row] for row in result.channel.matrix.tolist()],
        "changed": changed,
        "changes": changes.tolist(),
        "estimated_error_before": result.before,
        "estimated_error_after": None if after is None else max(0.0, after),
        "estimated_gain": _gain(result, changed, symbols),
        "warnings": [*result.warnings, *_below_zero(after, result.standard_error)],
        "model": dict(notes or {}),
        "seconds": time.monotonic() - started,
    }
    if tally.wrong is not None:
        results["true_error_before"], results["true_error_after"] = (wrong / symbols for wrong in tally.wrong)
    return results


def _gain(result: DenoiseResult, changed: int, symbols: int) -> dict[str, float | None] | None:
    """The estimated gain with its interval; None where nothing was changed, or where it is not known.

    A conservative estimate has no upper end. An error below 0 is shown as 0, and the gain as what leads there.
    """
    if changed == 0 or result.after is None or result.standard_error is None:
        return None
    gain, half = result.before - result.after, _QUANTILE * result.standard_error
    most = changed / symbols  # no more can be gained or lost
    low, mean, high = (min(max(value, -most), most) for value in (gain - half, gain, gain + half))
    ends = {"mean": min(mean, result.before), "low": min(low, result.before)}
    return {**ends, "high": None if result.conservative else high}


def _below_zero(after: float | None, error: float | None) -> list[str]:
    """The sentence about an estimate below 0."""
    if after is None or after >= 0:
        return []
    beyond = error is not None and after + _QUANTILE * error < 0
    why = "the rate given is higher than the data show" if beyond else "chance explains it"
    return [f"The estimated error came out below 0 and is shown as 0: {why}."]


def _changes(noisy: Symbols, denoised: Symbols, count: int) -> NDArray[np.int64]:
    """Number of symbols (rows) that became each other one (columns); in parts, since pairs take eight bytes each."""
    table = np.zeros(count * count, dtype=np.int64)
    before, after = noisy.ravel(), denoised.ravel()
    for begin in range(0, len(before), _PART):
        part = slice(begin, begin + _PART)
        pairs = before[part].astype(np.int64) * count + after[part].astype(np.int64)
        table += np.bincount(pairs, minlength=count * count)
    return table.reshape(count, count)


def _differing(symbols: Symbols, reference: Symbols) -> int:
    before, after = symbols.ravel(), reference.ravel()
    parts = (slice(begin, begin + _PART) for begin in range(0, len(before), _PART))
    return sum(int(np.count_nonzero(before[part] != after[part])) for part in parts)


def described(results: Mapping[str, Any], *, pictures: Mapping[str, NDArray[np.uint8]] | None = None) -> Document:
    """Return the report.

    Args:
        results: Figures of :func:`summarise`.
        pictures: Bilevel pictures by their captions.
    """
    card, figures = METHODS.card(results["method"]), []
    if pictures:
        # One below the other on a narrow screen.
        for caption, pixels in pictures.items():
            shown = _shown(pixels)
            figures.append(Figure(picture(encoded_png(shown), shown.shape[1], shown.shape[0]), caption))
    compared = results["contexts_compared"]
    if len(compared) > 1:
        sizes = [float(next(word for word in name.split() if word.isdigit())) for name in compared]
        figures.append(
            curves(
                [Line("estimated error", sizes, [max(0.0, value) for value in compared.values()], "retain")],
                "Estimated error by the size of the context, symbols left out of their own counts; the lowest is used.",
                x_label="symbols of the context" + (" on each side" if "side" in next(iter(compared)) else ""),
                y_label="estimated error",
                name="contexts",
            )
        )
    return Document(
        title=f"Denoised: {results['file']}" if results["file"] else "Denoised symbols",
        subtitle=f"{results['symbols']:,} symbols, {card.title}"
        + (f"; read as {results['read_as']}" if results["read_as"] else ""),
        facts=_facts(results, card.title),
        verdicts=_verdicts(results),
        limits=[*results["warnings"], *_LIMITS],
        table=_table(results),
        figures=figures,
        sections=[
            _change_section(results),
            Section(
                "What was done",
                [f"{card.title}. {card.purpose} ({card.paper}.) Context: {results['context']}."],
                [_channel_table(results["channel"], results["names"])],
            ),
        ],
    )


_UNFITTED = "The estimate is from symbols that the rule was not fitted to."
_ABOVE_LOWER_END = {"neural": 97, "adaptive": 84}
"""Files of 100 whose true gain was above the lower end of its interval (docs/measured/intervals.md)."""

_HALVES = (
    "The estimate is of two networks that learnt from half of the symbols each, judged by the other half; the one used "
    "learnt from all, and gains more as a rule."
)
_LIMITS = (
    "Errors are estimated from the noisy symbols and the channel alone. They are unbiased if the channel is "
    "the given one and treats symbols independently.",
    "Insertions and deletions are not handled.",
)


def _facts(results: Mapping[str, Any], method: str) -> list[tuple[str, str]]:
    facts = [
        ("Finished", results["finished"] and moment_text(results["finished"])),
        ("Duration", duration_text(results["seconds"])),
        ("File", results["file"]),
        ("Method", method),
        ("Version", f"myosotis {__version__}"),
    ]
    return [(name, text) for name, text in facts if text]


def _verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    share = results["changed"] / results["symbols"]
    return [
        Verdict("What was changed?", f"{results['changed']:,} of {results['symbols']:,} symbols, {share:.2%}."),
        Verdict(
            "Is it better?",
            f"{_estimates(results)}{_true_errors(results)}",
            _better(results),
            undecided=results["changed"] > 0 and _better(results) is None and results["estimated_gain"] is not None,
        ),
        Verdict("How sure are we?", _sureness(results)),
    ]


def _sureness(results: Mapping[str, Any]) -> str:
    gain = results["estimated_gain"]
    if results["warnings"]:
        return str(results["warnings"][0])
    if not METHODS[results["method"]].has_context:
        return "Nothing was learnt from the symbols."
    if gain is None:
        return _UNFITTED
    if gain["high"] is None:
        held = _ABOVE_LOWER_END[results["method"]]
        return f"{_HALVES} In simulations the true gain was above the lower end in {held} or more of 100 files."
    return f"{_UNFITTED} In simulations the interval held the true gain of 94 or more of 100 files."


def _estimates(results: Mapping[str, Any]) -> str:
    """What the estimates say, in a sentence."""
    before, after, gain = (results[f"estimated_{name}"] for name in ("error_before", "error_after", "gain"))
    if results["changed"] == 0:
        return "Nothing was changed."
    if after is None:
        return f"The estimated error was {before:.4f}; what it is now this method cannot estimate."
    change = f"The estimated error goes from {before:.4f} to {after:.4f}"
    if gain is None:
        return f"{change}; how sure that is, is not known."
    return f"{change}, a gain of {_gain_text(gain)}."


def _true_errors(results: Mapping[str, Any]) -> str:
    if "true_error_after" not in results:
        return ""
    before, after = results["true_error_before"], results["true_error_after"]
    return f" Against the clean original it goes from {before:.4f} to {after:.4f}."


def _better(results: Mapping[str, Any]) -> bool | None:
    """Whether fewer symbols are wrong; None where nothing was changed, or the estimate does not decide it."""
    if results["changed"] == 0:
        return None
    if "true_error_after" in results:
        return bool(results["true_error_after"] < results["true_error_before"])
    return None if results["estimated_gain"] is None else _better_by(results["estimated_gain"])


def _better_by(gain: Mapping[str, Any]) -> bool | None:
    """Whether all of an interval is above 0; None where 0 is inside."""
    return True if gain["low"] > 0 else False if gain["high"] is not None and gain["high"] < 0 else None


def _gain_text(gain: Mapping[str, Any]) -> str:
    mean, low, high = f"{gain['mean']:.4f}", f"{gain['low']:.4f}", gain["high"]
    return f"{mean}, at least {low}" if high is None else f"{mean} [{low}, {high:.4f}]"


def _table(results: Mapping[str, Any]) -> Table:
    rows = [
        Row("Estimated error", [f"{results['estimated_error_before']:.4f}", _text(results["estimated_error_after"])])
    ]
    gain = results["estimated_gain"]
    if gain is not None:
        rows.append(Row("Estimated gain [95 %]", ["", _gain_text(gain)]))
    if "true_error_after" in results:
        before, after = results["true_error_before"], results["true_error_after"]
        rows.append(Row("True error", [f"{before:.4f}", f"{after:.4f}"]))
        rows.append(Row("True error, relative to before", ["1.000", f"{after / before:.3f}" if before else "-"]))
    return Table("Share of wrong symbols", ["Before", "After"], rows, "Measure")


def _change_section(results: Mapping[str, Any]) -> Section:
    names, changes = results["names"], results["changes"]
    rows = [Row(f"noisy {name}", [f"{value:,}" for value in row]) for name, row in zip(names, changes, strict=True)]
    return Section(
        "Changes", [], [Table("Noisy symbols (rows) and what they became (columns)", list(names), rows, "Symbol")]
    )


def _channel_table(channel: Sequence[Sequence[float]], names: Sequence[str]) -> Table:
    rows = [Row(f"clean {name}", [f"{value:.4f}" for value in row]) for name, row in zip(names, channel, strict=True)]
    return Table("The channel: probability of each noisy symbol (columns) for a clean one", list(names), rows, "Symbol")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def difference_picture(noisy: NDArray[np.uint8], denoised: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return white where nothing was changed, black where white became black, orange where black became white."""
    picture = np.full((*noisy.shape, 3), 255, dtype=np.uint8)
    picture[(noisy == 1) & (denoised == 0)] = 0
    picture[(noisy == 0) & (denoised == 1)] = (213, 94, 0)
    return picture


def _shown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a large picture: single pixels should be seen."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - _SHOWN_SIDE) // 2), max(0, (width - _SHOWN_SIDE) // 2)
    part = pixels[top : top + _SHOWN_SIDE, left : left + _SHOWN_SIDE]
    return np.ascontiguousarray(part if part.ndim == 3 else part * 255)
