"""The results of a denoised file: figures for machines, a report for people."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Symbols
from myosotis.denoising.contexts import Context, Context1d
from myosotis.denoising.methods import METHODS, DenoiseResult
from myosotis.report.document import Document, Figure, Row, Section, Table, Verdict
from myosotis.report.figures import Line, image_sheet, line_chart
from myosotis.report.pictures import encoded_png

_SHOWN_SIDE = 512
_PART = 2**18  # symbols counted at once


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


def summarise(
    noisy: Symbols,
    result: DenoiseResult,
    names: Sequence[str],
    started: float,
    *,
    reference: Symbols | None = None,
    read_as: str = "",
    notes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the figures of a denoised file, ready for JSON.

    Args:
        noisy: Noisy symbols.
        result: Result of denoising.
        names: Names of the symbols.
        started: Start of the work, by ``time.monotonic``.
        reference: Clean symbols, if they are known.
        read_as: Conversion of the file into symbols.
        notes: Notes of the model.
    """
    denoised = result.symbols
    changes = _changes(noisy, denoised, len(names))
    results: dict[str, Any] = {
        "kind": "denoise",
        "method": result.method,
        "symbols": int(noisy.size),
        "names": list(names),
        "read_as": read_as,
        "context": format_context(result.context),
        "contexts_compared": {format_context(context): value for context, value in result.chosen.items()},
        "channel": [[round(value, 6) for value in row] for row in result.channel.matrix.tolist()],
        "changed": int(changes.sum() - changes.trace()),
        "changes": changes.tolist(),
        "estimated_error_before": result.before,
        "estimated_error_after": result.after,
        "warnings": result.warnings,
        "model": dict(notes or {}),
        "seconds": time.monotonic() - started,
    }
    if reference is not None:
        before, after = (float((symbols != reference).mean()) for symbols in (noisy, denoised))
        results["true_error_before"], results["true_error_after"] = before, after
    return results


def _changes(noisy: Symbols, denoised: Symbols, count: int) -> NDArray[np.int64]:
    """Number of symbols (rows) that became each other one (columns); in parts, since pairs take eight bytes each."""
    table = np.zeros(count * count, dtype=np.int64)
    before, after = noisy.ravel(), denoised.ravel()
    for begin in range(0, len(before), _PART):
        part = slice(begin, begin + _PART)
        pairs = before[part].astype(np.int64) * count + after[part].astype(np.int64)
        table += np.bincount(pairs, minlength=count * count)
    return table.reshape(count, count)


def described(results: Mapping[str, Any], *, pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()) -> Document:
    """Return the report.

    Args:
        results: Figures of :func:`summarise`.
        pictures: Bilevel pictures and their titles.
    """
    card, figures = METHODS.card(results["method"]), []
    if pictures:
        figures.append(
            Figure(
                image_sheet(
                    [encoded_png(_shown(pixels)) for _, pixels in pictures],
                    [title for title, _ in pictures],
                    len(pictures),
                ),
                "The input, the result, and what differs: black for what became black, orange for what became white.",
                wide=True,
            )
        )
    compared = results["contexts_compared"]
    if len(compared) > 1:
        sizes = [float(next(word for word in name.split() if word.isdigit())) for name in compared]
        figures.append(
            Figure(
                line_chart(
                    [Line("estimated error", sizes, list(compared.values()), "retain")],
                    x_label="symbols of the context" + (" on each side" if "side" in next(iter(compared)) else ""),
                    y_label="estimated error",
                    name="contexts",
                ),
                "Estimated error by the size of the context, symbols left out of their own counts; the lowest wins.",
            )
        )
    return Document(
        title="Denoised symbols",
        subtitle=f"{results['symbols']:,} symbols, {card.title}"
        + (f"; read as {results['read_as']}" if results["read_as"] else ""),
        verdicts=_verdicts(results),
        table=_table(results),
        figures=figures,
        sections=[
            _change_section(results),
            Section(
                "What was done",
                [f"{card.title}. {card.purpose} ({card.paper}.) Context: {results['context']}."],
                [_channel_table(results["channel"], results["names"])],
            ),
            Section("What this does not show", [*results["warnings"], _LIMITS]),
        ],
    )


_SURE = (
    "The estimate is from symbols that the rule was not fitted to; it may fall below 0 where hardly an error is left."
)
_LIMITS = (
    "Errors are estimated from the noisy symbols and the channel alone. They are unbiased if the channel is "
    "the given one and treats symbols independently; insertions and deletions are not handled."
)


def _verdicts(results: Mapping[str, Any]) -> list[Verdict]:
    share = results["changed"] / results["symbols"]
    verdicts = [
        Verdict("What was changed?", f"{results['changed']:,} of {results['symbols']:,} symbols, {share:.2%}."),
        Verdict(
            "Is it better?",
            f"The estimated error goes from {results['estimated_error_before']:.4f} to "
            f"{_text(results['estimated_error_after'])}.{_true_errors(results)}",
            _better(results),
        ),
    ]
    verdicts.append(
        Verdict(
            "How sure are we?",
            results["warnings"][0]
            if results["warnings"]
            else _SURE
            if METHODS[results["method"]].has_context
            else "Nothing was learnt from the symbols.",
        )
    )
    return verdicts


def _true_errors(results: Mapping[str, Any]) -> str:
    if "true_error_after" not in results:
        return ""
    before, after = results["true_error_before"], results["true_error_after"]
    return f" Against the clean original: from {before:.4f} to {after:.4f}."


def _better(results: Mapping[str, Any]) -> bool | None:
    if "true_error_after" in results:
        return bool(results["true_error_after"] < results["true_error_before"])
    after = results["estimated_error_after"]
    return None if after is None else bool(after < results["estimated_error_before"])


def _table(results: Mapping[str, Any]) -> Table:
    rows = [
        Row("Estimated error", [f"{results['estimated_error_before']:.4f}", _text(results["estimated_error_after"])])
    ]
    if "true_error_after" in results:
        before, after = results["true_error_before"], results["true_error_after"]
        rows.append(Row("True error", [f"{before:.4f}", f"{after:.4f}"]))
        rows.append(Row("True error, after by before", ["1.000", f"{after / before:.3f}" if before else "-"]))
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
