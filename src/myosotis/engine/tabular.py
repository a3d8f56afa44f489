"""Results that show themselves in a notebook, and become a table of pandas."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import escape

from myosotis.engine.extras import require

_MAX_ROWS = 60


class Tabular(ABC):
    """A result with a headline and rows; a notebook shows both."""

    @abstractmethod
    def headline(self) -> str:
        """Return the result in one line."""

    @abstractmethod
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """Return the figures row by row, all rows with the same keys."""

    def to_pandas(self) -> Any:
        """Return the rows as a ``pandas.DataFrame``.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        require("notebook", "to_pandas()")
        import pandas as pd

        return pd.DataFrame(list(self.rows()))

    def __repr__(self) -> str:
        return f"{type(self).__name__}: {self.headline()}"

    def _repr_html_(self) -> str:
        """What a notebook shows: at most sixty rows, as many as fit on a screen or two."""
        rows = list(self.rows())
        head = "".join(f"<th>{escape(key)}</th>" for key in (rows[0] if rows else ()))
        body = "".join(
            f"<tr>{''.join(f'<td>{escape(_shown(value))}</td>' for value in row.values())}</tr>"
            for row in rows[:_MAX_ROWS]
        )
        rest = f"<p>and {len(rows) - _MAX_ROWS} rows more: <code>rows()</code></p>" if len(rows) > _MAX_ROWS else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""
        return f"<p>{escape(self.headline())}</p>{table}{rest}"


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
