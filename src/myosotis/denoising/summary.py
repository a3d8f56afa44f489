"""What is said of a denoised file: figures for machines, a report for people."""

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


def told_context(context: Context | None) -> str:
    """Return a context in words.

    Example:
        >>> told_context(Context1d(3))
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
        noisy: As it came.
        result: What was made of it.
        names: Of the symbols.
        started: When, by ``time.monotonic``.
        reference: The clean symbols, where they are known.
        read_as: How the file became symbols.
        notes: Of the model.
    """
    found = result.symbols
    changes = _changes(noisy, found, len(names))
    told: dict[str, Any] = {
        "kind": "denoise",
        "method": result.method,
        "symbols": int(noisy.size),
        "names": list(names),
        "read_as": read_as,
        "context": told_context(result.context),
        "contexts_compared": {told_context(one): value for one, value in result.chosen.items()},
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
        before, after = (float((one != reference).mean()) for one in (noisy, found))
        told["true_error_before"], told["true_error_after"] = before, after
    return told


def _changes(noisy: Symbols, found: Symbols, count: int) -> NDArray[np.int64]:
    """How many of each symbol (rows) became each other one; in parts, since pairs take eight bytes each."""
    table = np.zeros(count * count, dtype=np.int64)
    before, after = noisy.ravel(), found.ravel()
    for begin in range(0, len(before), _PART):
        part = slice(begin, begin + _PART)
        pairs = before[part].astype(np.int64) * count + after[part].astype(np.int64)
        table += np.bincount(pairs, minlength=count * count)
    return table.reshape(count, count)


def described(told: Mapping[str, Any], *, pictures: Sequence[tuple[str, NDArray[np.uint8]]] = ()) -> Document:
    """Return the report.

    Args:
        told: See :func:`summarise`.
        pictures: Bilevel pictures and their titles.
    """
    card, figures = METHODS.card(told["method"]), []
    if pictures:
        figures.append(
            Figure(
                image_sheet(
                    [encoded_png(_shown(pixels)) for _, pixels in pictures],
                    [title for title, _ in pictures],
                    len(pictures),
                ),
                "As it came, denoised, and what differs: black for what became black, orange for what became white.",
                wide=True,
            )
        )
    compared = told["contexts_compared"]
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
        subtitle=f"{told['symbols']:,} symbols, {card.title}"
        + (f"; read as {told['read_as']}" if told["read_as"] else ""),
        verdicts=_verdicts(told),
        table=_table(told),
        figures=figures,
        sections=[
            _change_section(told),
            Section(
                "What was done",
                [f"{card.title}. {card.purpose} ({card.paper}.) Context: {told['context']}."],
                [_channel_table(told["channel"], told["names"])],
            ),
            Section("What this does not show", [*told["warnings"], _LIMITS]),
        ],
    )


_SURE = (
    "The estimate was made on symbols that the rule for them was not fitted to; it may fall below 0 where hardly an "
    "error is left."
)
_LIMITS = (
    "Errors are estimated from the noisy symbols and the channel alone. They are right in the mean if the channel is "
    "the one given and treats every symbol by itself; insertions and deletions are not handled."
)


def _verdicts(told: Mapping[str, Any]) -> list[Verdict]:
    share = told["changed"] / told["symbols"]
    found = [
        Verdict("What was changed?", f"{told['changed']:,} of {told['symbols']:,} symbols, {share:.2%}."),
        Verdict(
            "Is it better?",
            f"The estimated error goes from {told['estimated_error_before']:.4f} to "
            f"{_text(told['estimated_error_after'])}."
            + (
                f" Against the clean original: from {told['true_error_before']:.4f} to {told['true_error_after']:.4f}."
                if "true_error_after" in told
                else ""
            ),
            _better(told),
        ),
    ]
    found.append(
        Verdict(
            "How sure are we?",
            told["warnings"][0]
            if told["warnings"]
            else _SURE
            if METHODS[told["method"]].has_context
            else "Nothing was learnt from the symbols.",
        )
    )
    return found


def _better(told: Mapping[str, Any]) -> bool | None:
    if "true_error_after" in told:
        return bool(told["true_error_after"] < told["true_error_before"])
    after = told["estimated_error_after"]
    return None if after is None else bool(after < told["estimated_error_before"])


def _table(told: Mapping[str, Any]) -> Table:
    rows = [Row("Estimated error", [f"{told['estimated_error_before']:.4f}", _text(told["estimated_error_after"])])]
    if "true_error_after" in told:
        before, after = told["true_error_before"], told["true_error_after"]
        rows.append(Row("True error", [f"{before:.4f}", f"{after:.4f}"]))
        rows.append(Row("True error by that before", ["1.000", f"{after / before:.3f}" if before else "-"]))
    return Table("Share of wrong symbols", ["Before", "After"], rows, "Measure")


def _change_section(told: Mapping[str, Any]) -> Section:
    names, changes = told["names"], told["changes"]
    rows = [Row(f"seen {name}", [f"{value:,}" for value in row]) for name, row in zip(names, changes, strict=True)]
    return Section("Changes", [], [Table("Symbols as seen and what became of them", list(names), rows, "Symbol")])


def _channel_table(channel: Sequence[Sequence[float]], names: Sequence[str]) -> Table:
    rows = [Row(f"clean {name}", [f"{value:.4f}" for value in row]) for name, row in zip(names, channel, strict=True)]
    return Table("The channel: how often a clean symbol is seen as each", list(names), rows, "Symbol")


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def difference_picture(noisy: NDArray[np.uint8], found: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return white where nothing was changed, black where white became black, orange where black became white."""
    picture = np.full((*noisy.shape, 3), 255, dtype=np.uint8)
    picture[(noisy == 1) & (found == 0)] = 0
    picture[(noisy == 0) & (found == 1)] = (213, 94, 0)
    return picture


def _shown(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The middle of a large picture: single pixels should be seen."""
    height, width = pixels.shape[:2]
    top, left = max(0, (height - _SHOWN_SIDE) // 2), max(0, (width - _SHOWN_SIDE) // 2)
    part = pixels[top : top + _SHOWN_SIDE, left : left + _SHOWN_SIDE]
    return np.ascontiguousarray(part if part.ndim == 3 else part * 255)
