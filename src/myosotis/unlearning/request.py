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
        searched: Where the data and copies of it were looked for, e.g. the training set, backups, exports.
        untreated: What the request covers and this job does not treat, e.g. backups.
        informed: Recipients of the data, or of a model that knew it, who were told of the request (GDPR Art. 19).
    """

    id: str | None = None
    received: Day | None = None
    legal_basis: str | None = None
    deadline: Day | None = None
    searched: tuple[str, ...] = ()
    untreated: tuple[str, ...] = ()
    informed: tuple[str, ...] = ()
