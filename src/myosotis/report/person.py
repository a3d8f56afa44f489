"""Half a page about a deletion, in plain words, for whoever is not an engineer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from myosotis.engine.result import Result, rfc3339
from myosotis.evaluation.comparison import ForgettingVerdict
from myosotis.report.render import page, running_title
from myosotis.report.sections import count_text, moment_text


@dataclass(frozen=True)
class Answer:
    """A question and its answer in plain words.

    Attributes:
        question: The question.
        text: The answer, in a sentence or two.
        mark: ``yes`` for good news, ``no`` for bad news, empty for neither.
    """

    question: str
    text: str
    mark: str = ""


def person_page(
    result: Result,
    verdict: ForgettingVerdict,
    *,
    noun: str,
    count: int,
    noticeable: bool,
    by_guessing: bool = False,
    exact: bool = False,
) -> str:
    """Return the page.

    Nothing on it says that data was forgotten unless the model is shown to have known it and not to know it any more.

    Args:
        result: Result of an unlearning job.
        verdict: Its verdict.
        noun: What was to be forgotten, in the singular: ``"record"``, ``"picture"``.
        count: Number of these.
        noticeable: Whether somebody who has one of them can notice that it was used or deleted.
        by_guessing: Whether the model was compared with guessing only, not with what it had never seen.
        exact: Whether the model forgot exactly, which no test has to show.
    """
    request, operator, finished = result.request or {}, result.operator, moment_text(rfc3339(result.finished))
    title = "What became of a deletion request"
    facts = [
        ("Request", request.get("id")),
        ("Received", request.get("received")),
        ("Deadline", request.get("deadline")),
        ("Finished", finished),
        ("Carried out by", operator),
    ]
    known_facts = [(name, str(value)) for name, value in facts if value]
    return page(
        "person.html.j2",
        title=title,
        running=running_title(title, known_facts),
        facts=known_facts,
        asked=_asked(finished, noun, count, exact=exact),
        answers=answers_of(
            dict(verdict) | {"kept": verdict.rest}, noun, noticeable=noticeable, by_guessing=by_guessing, exact=exact
        ),
        open_points=_open_points(noun, request.get("untreated") or (), stands=verdict.stands),
        whom=f"{operator} is responsible for this request and can answer questions about it."
        if operator
        else "This page names nobody. Please ask whoever gave it to you.",
    )


def answers_of(
    verdict: Mapping[str, bool | None], noun: str, *, noticeable: bool, by_guessing: bool = False, exact: bool = False
) -> list[Answer]:
    """Return the four answers in plain words.

    Args:
        verdict: ``known``, ``forgotten``, ``kept`` and ``sure``, each yes, no or undecided.
        noun: What was to be forgotten, in the singular.
        noticeable: Whether somebody who has one of them can notice that it was used or deleted.
        by_guessing: Whether the model was compared with guessing only, not with what it had never seen.
        exact: Whether the model forgot exactly, which no test has to show.
    """
    return [
        _known(verdict["known"], noun, by_guessing=by_guessing, exact=exact),
        _removed(verdict, noun, noticeable=noticeable, exact=exact),
        _kept(verdict["kept"]),
        _sure(verdict["sure"]),
    ]


def _asked(finished: str, noun: str, count: int, *, exact: bool) -> str:
    return (
        f"{count_text(count, noun)} should be removed from what a computer model has learnt. On {finished[:10]} "
        f"{how_removed(noun, exact=exact)}. The copy "
        "helps only where it is used in place of the old model."
    )


def how_removed(noun: str, *, exact: bool) -> str:
    """Return what was done, as the end of a sentence.

    Example:
        >>> how_removed("picture", exact=False)
        'a changed copy of the model was made with a method for this purpose, and the copy was tested'
    """
    if exact:
        return (
            f"a copy of the model was made, and what it had worked out from the {noun}s was taken out of its sums again"
        )
    return "a changed copy of the model was made with a method for this purpose, and the copy was tested"


def _known(known: bool | None, noun: str, *, by_guessing: bool, exact: bool) -> Answer:
    question = f"Did the model know the {noun}s before?"
    if known and exact:
        return Answer(question, f"Yes. They were among the {noun}s that it had learnt from.")
    if known and by_guessing:
        return Answer(question, "It was right about them more often than by guessing. More was not tested.")
    if known:
        return Answer(question, f"Yes. It recognised them better than {noun}s that it had never seen.")
    if known is False:
        return Answer(question, f"No. It treated them like {noun}s that it had never seen.")
    return Answer(question, "That could not be shown, so nothing below proves that something was removed.")


def _removed(verdict: Mapping[str, bool | None], noun: str, *, noticeable: bool, exact: bool) -> Answer:
    question = f"Does the changed model still know the {noun}s?"
    if not verdict["known"]:
        return Answer(question, "Not answered. What a model was not shown to know cannot be shown to be gone.")
    if verdict["forgotten"] is None:
        return Answer(question, "That could not be decided with the tests that were made.")
    if not verdict["forgotten"]:
        return Answer(question, "Yes, or at least too much of it. The aim was not reached.", "no")
    if exact:
        text = "No. It has forgotten them: what it has learnt is exactly what it would be without them."
        return Answer(question, text, "yes")
    text = f"No. In our tests it has forgotten the {noun}s: it does no better on them than was allowed beforehand."
    if noticeable:
        text += f" But somebody who has one of the {noun}s may still notice that it was used or deleted."
    return Answer(question, text, "yes")


def _kept(kept: bool | None) -> Answer:
    question = "Does the model still work for everything else?"
    if kept:
        return Answer(question, "Yes. On other data it works about as well as before.", "yes")
    if kept is False:
        return Answer(question, "No. On other data it works worse than before, by more than was allowed.", "no")
    return Answer(question, "That was not measured, or could not be decided.")


def _sure(sure: bool | None) -> Answer:
    question = "How sure is this?"
    if sure:
        return Answer(question, "The tests gave a clear result. They are evidence, not proof.")
    return Answer(question, "Not very. Some tests were too small or too close to call, so an answer may be wrong.")


def _open_points(noun: str, untreated: Sequence[str], *, stands: bool) -> list[str]:
    points = [
        f"Backups, earlier versions of the model and the collection that the {noun}s came from were not touched.",
        "A test that was not made may still find a trace.",
    ]
    if untreated:
        points.append(f"Known copies that were not treated: {', '.join(untreated)}.")
    if not stands:
        points.insert(0, "It is not shown that the request is fulfilled. It needs more work, or more tests.")
    return points
