"""The answer to a request, in the language of whoever wrote it: what was found, what was done, and what tests said."""

import datetime
from pathlib import Path

from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import SandboxedEnvironment

from myosotis.desk.letter import LANGUAGES
from myosotis.desk.requests import Request
from myosotis.engine.errors import InputError
from myosotis.engine.files import write_text
from myosotis.engine.printable import printable
from myosotis.engine.run import Run
from myosotis.evaluation.comparison import rest_works

_TEMPLATES = Path(__file__).parent / "templates"
_EXACT = ("unlearn-adapters",)


def answer_text(request: Request, today: datetime.date, templates: Path | None = None) -> str:
    """Return the letter.

    Args:
        request: A request whose run is finished, or with nothing to forget.
        today: Its date.
        templates: Folder with a template ``answer.LANGUAGE.txt.j2``; that of the package unless given.

    Raises:
        InputError: The request is not that far, there is no template for its language, or it is faulty.
    """
    if request.state not in ("to answer", "answered"):
        raise InputError(f"{request.id}: is {request.state}, so there is no answer yet")
    path = (templates or _TEMPLATES) / f"answer.{request.letter.language}.txt.j2"
    if not path.is_file():
        known = "" if templates else f"; there are templates in {', '.join(LANGUAGES)}, and --templates names a folder"
        raise InputError(f"{path}: no such template{known}")
    values = {
        "today": today.isoformat(),
        "received": request.letter.received.isoformat(),
        "id": request.id,
        "person": request.letter.person,
        "searched": len(request.letter.sources),
        "found": len(request.found),
        "forgotten": len(request.to_forget),
        **_of_run(request),
    }
    shown = {name: printable(value) if isinstance(value, str) else value for name, value in values.items()}
    environment = SandboxedEnvironment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    try:
        text = environment.from_string(path.read_text(encoding="utf-8")).render(shown)
    except (TemplateError, TypeError, ValueError, ArithmeticError) as error:
        raise InputError(f"{path}: {error}") from None
    return text.strip() + "\n"


def write_answer(request: Request, today: datetime.date, templates: Path | None = None) -> Path:
    """Write the letter beside the request, for its owner alone, and note the day.

    Args:
        request: As for :func:`answer_text`.
        today: Its date.
        templates: As for :func:`answer_text`.

    Returns:
        The file.

    Raises:
        InputError: As for :func:`answer_text`.
    """
    path = request.path / "answer.txt"
    write_text(path, answer_text(request, today, templates), private=True)
    Request(request.path, request.letter, request.found, today).write()
    return path


def _of_run(request: Request) -> dict[str, object]:
    """What the run of a request says; nothing where there was nothing to forget."""
    values: dict[str, object] = dict.fromkeys(("finished", "known", "gone", "rest", "operator"))
    if not request.to_forget:
        return {**values, "exact": False}
    result = Run.read(request.run).result()
    verdict = result["verdict"]
    return {
        "finished": str(result["finished"])[:10],
        "known": verdict["known"],
        "gone": verdict["forgotten"],
        "rest": rest_works(verdict["kept"], verdict.get("works"), measured=bool(verdict.get("working"))),
        "exact": result["kind"] in _EXACT,
        "operator": result.get("operator"),
    }
