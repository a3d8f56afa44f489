"""The deletion request that a job of unlearning answers."""

import datetime
from typing import Annotated, Any

from pydantic import BeforeValidator

from myosotis.engine.config import Config


def _as_text(value: Any) -> Any:
    """A date as text: YAML reads 2026-11-01 as a date."""
    return value.isoformat() if isinstance(value, datetime.date) else value


Day = Annotated[str, BeforeValidator(_as_text)]


class RequestConfig(Config):
    """Description of a deletion request; copied into the result.

    Attributes:
        id: Number of the request.
        received: Date on which it came.
        legal_basis: Legal basis.
        deadline: Date by which it must be done.
        untreated: What the request covers and this job does not treat, e.g. backups.
    """

    id: str | None = None
    received: Day | None = None
    legal_basis: str | None = None
    deadline: Day | None = None
    untreated: tuple[str, ...] = ()
