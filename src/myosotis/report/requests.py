"""What became of each of several requests after each later one, in a table of any number of them."""

from collections.abc import Sequence

from myosotis.report.document import Row, Table
from myosotis.report.groups import number_text

_MAX_COLUMNS = 12
_MAX_NAMES = 20


def requests_table(caption: str, after: Sequence[Sequence[float | None]]) -> Table:
    """Return a figure of each request after each: all values of a few requests, of more the telling ones.

    Args:
        caption: What the figure is.
        after: After each request, the figure of every request so far; None where it was not measured.
    """
    count = len(after)
    if count <= _MAX_COLUMNS:
        columns = [f"after {number}" for number in range(1, count + 1)]
        cells = [[number_text(row[index]) if index < len(row) else "-" for row in after] for index in range(count)]
    else:
        columns = ["Right after it", "Highest later", "After request", "At the end"]
        cells = [_telling([row[index] for row in after[index:]], index) for index in range(count)]
    return Table(caption, columns, [Row(f"request {number}", row) for number, row in enumerate(cells, start=1)])


def listed(names: Sequence[str]) -> str:
    """Return names with commas; of many the first, and how many there are more."""
    more = len(names) - _MAX_NAMES
    return ", ".join(names[:_MAX_NAMES]) + (f", and {more} more" if more > 0 else "")


def _telling(values: Sequence[float | None], index: int) -> list[str]:
    """The first value, the highest of the others with the request after which it was, and the last."""
    later = [(value, index + 1 + offset) for offset, value in enumerate(values) if offset and value is not None]
    highest, number = max(later, key=lambda pair: (pair[0], -pair[1]), default=(None, None))
    return [
        number_text(values[0]),
        number_text(highest),
        "-" if number is None else str(number),
        number_text(values[-1]),
    ]
