"""A letter: what somebody asks for, when it came, and where their records may stand."""

import calendar
import datetime
import re
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from myosotis.engine.config import Config, LocalPath

Language = Literal["en", "de", "fr", "ko", "es"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""Languages that an answer is written in without a template of one's own."""

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_ID = re.compile(r"\w[\w.-]{0,59}")


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("is blank")
    return " ".join(text.split())


def _language(code: str) -> str:
    if not _LANGUAGE.fullmatch(code):
        raise ValueError(f"is no language code such as {', '.join(LANGUAGES)}")
    return code


def _as_text(value: object) -> object:
    """YAML reads 2026-11 as text, and 17 and 2026-11-20 as something else."""
    return str(value) if isinstance(value, int | datetime.date) and not isinstance(value, bool) else value


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ValueError("has at most 60 letters, digits, '.', '_' and '-', and no '.' or '-' at its beginning")
    return text


Words = Annotated[str, AfterValidator(_not_blank)]


class Table(Config):
    """A file of records whose fields have other names.

    Attributes:
        file: JSONL file.
        fields: Names of its columns, by the field of a record that each is.
    """

    file: LocalPath
    fields: dict[str, str] = Field(default_factory=dict)


class Letter(Config):
    """A request to be forgotten.

    Attributes:
        id: Name of the request, and of its folder; a number of the day it came unless given. It stands in reports and
            on pages, so it should name nobody.
        received: Day on which it came.
        deadline: Day by which it has to be answered; one month after it came unless given (GDPR Art. 12(3)).
        person: Who asks, as the answer addresses them.
        language: Language of the answer.
        subjects: Names under which their records may stand; their own unless given.
        sources: Files of records that are searched: all that the model was trained on.
        job: Configuration of ``unlearn-language`` or ``unlearn-adapters`` that forgets what is found.
    """

    id: Annotated[str, BeforeValidator(_as_text), AfterValidator(_identifier)] | None = None
    received: datetime.date
    deadline: datetime.date | None = None
    person: Words
    language: Annotated[str, AfterValidator(_language)] = "en"
    subjects: Annotated[tuple[Words, ...], Field(min_length=1)] | None = None
    sources: Annotated[tuple[LocalPath | Table, ...], Field(min_length=1)]
    job: LocalPath

    @model_validator(mode="after")
    def _in_order(self) -> "Letter":
        if self.deadline is not None and self.deadline < self.received:
            raise ValueError("'deadline' is before 'received'")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The names that are looked for."""
        return self.subjects or (self.person,)

    @property
    def due(self) -> datetime.date:
        """The last day."""
        return self.deadline or month_after(self.received)

    @property
    def files(self) -> list[Path]:
        """The files that are searched."""
        return [Path(source.file if isinstance(source, Table) else source) for source in self.sources]


def month_after(day: datetime.date) -> datetime.date:
    """Return the same day of the next month, or its last one if it has no such day.

    Holidays and weekends, on which a period may not end, are not known here: the day is never too late.

    Example:
        >>> month_after(datetime.date(2027, 1, 31)), month_after(datetime.date(2026, 12, 3))
        (datetime.date(2027, 2, 28), datetime.date(2027, 1, 3))
    """
    year, month = day.year + day.month // 12, day.month % 12 + 1
    return datetime.date(year, month, min(day.day, calendar.monthrange(year, month)[1]))
