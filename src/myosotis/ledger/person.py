"""Half a page about a line that forgot something, in plain words, for the person who asked for it."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from myosotis import __version__
from myosotis.engine.errors import InputError
from myosotis.evaluation.comparison import rest_works
from myosotis.ledger.heads import Holder
from myosotis.ledger.statements import Statement
from myosotis.ledger.table import answers_of as verdict_answers
from myosotis.report.person import Answer, answers_of, how_removed
from myosotis.report.render import page, running_title
from myosotis.report.sections import count_text

_COMMAND = "myosotis ledger verify LIST {keys} --record {record} --receipt RECEIPT"


def person_page(statements: Sequence[Statement], number: int, keys: Iterable[Holder]) -> str:
    """Return the page; nothing on it is called forgotten unless the model was shown to have known it.

    Args:
        statements: Statements of the ledger.
        number: Number of the line, counted from 1.
        keys: Holders of the keys of the ledger; a check needs those of operators and auditors.

    Raises:
        InputError: The line forgot nothing.
    """
    statement = statements[number - 1]
    if statement.kind != "forget":
        raise InputError(f"line {number} is of no request, so there is no page for a person about it")
    predicate = statement.predicate
    run, request, records = predicate.run, predicate.request or {}, predicate.records
    verdict: dict[str, Any] = dict(predicate.verdict or {})
    noun = "record" if run.kind == "unlearn-language" else "picture"
    operator, answered = run.operator, str(run.finished or predicate.recorded_on)[:10]
    facts = [
        ("Request", request.get("id")),
        ("Received", request.get("received")),
        ("Answered", answered),
        ("Answered by", operator),
    ]
    known_facts = [(name, str(value)) for name, value in facts if value]
    title = "What became of your request"
    exact = predicate.statistics is not None
    receipts = records.root is not None
    options = {"operator": "--key", "auditor": "--auditor"}
    named = " ".join(
        f"{options[key.role]} {shlex.quote(f'{key.name}.pub')}"
        for key in sorted(keys, key=lambda key: (key.role != "operator", key.name))
        if key.role in options
    )
    given = dict(verdict_answers(verdict))
    given["kept"] = rest_works(
        given.get("kept"), given.get("works"), measured="works" in given and bool(verdict.get("working"))
    )
    answers = {name: given.get(name) for name in ("known", "forgotten", "kept", "sure")}
    return page(
        "half_page.html.j2",
        title=title,
        running=running_title(title, known_facts),
        facts=known_facts,
        done=[_asked(records.count, noun, answered, exact=exact), _recorded(number)],
        scope=" ".join(_scope(statements, number)),
        answers=_answers(verdict, answers, noun, exact=exact),
        proves=_proves(noun, operator, receipts=receipts, learned=bool(records.learned)),
        open_points=_open_points(noun, answers),
        check=_check(noun, operator, receipts=receipts),
        command=_COMMAND.format(keys=named, record=noun.upper()) if receipts else "",
        source=f"Line {number} of the signed list {predicate.ledger}, recorded on {predicate.recorded_on[:10]}. "
        f"Made by myosotis {__version__}.",
    )


def _asked(count: int | None, noun: str, answered: str, *, exact: bool) -> str:
    things = f"{noun}s" if count is None else count_text(count, noun)
    how = how_removed(noun, exact=exact)
    return f"You asked that {things} be removed from what a computer model has learnt. On {answered} {how}."


def _recorded(number: int) -> str:
    return f"This is line {number} of a signed list, of which every copy shows a change."


def _scope(statements: Sequence[Statement], number: int) -> list[str]:
    """Where data was looked for, what became of copies and backups, and who was told, a sentence or two each."""
    request = statements[number - 1].predicate.request or {}

    def named(key: str) -> str:
        values = request.get(key)
        return ", ".join(map(str, values)) if isinstance(values, list) else ""

    files = sum(one.count or 0 for one in statements[number:] if one.kind == "destroy")
    given = _released_before(statements, number)
    lines = f"line {given[0]}" if len(given) == 1 else f"lines {', '.join(map(str, given))}"
    return [
        f"Looked for in: {named('searched')}." if named("searched") else "Where it was looked for is not said.",
        (f"Not treated: {named('untreated')}. " if named("untreated") else "")
        + (
            f"Later lines say that {count_text(files, 'file')} {'was' if files == 1 else 'were'} destroyed; ask which."
            if files
            else "No later line says that old copies were destroyed."
        ),
        (f"Others were given an earlier version of the model ({lines}). " if given else "")
        + (f"Told of your request: {named('informed')}." if named("informed") else "Nobody is named who was told."),
    ]


def _answers(verdict: Mapping[str, Any], answers: Mapping[str, bool | None], noun: str, *, exact: bool) -> list[Answer]:
    control = verdict.get("control")  # lines of earlier versions name it 'against'
    by_guessing = isinstance(control, Mapping) and "chance" in (control.get("against_of"), control.get("against"))
    return answers_of(answers, noun, noticeable=_noticeable(verdict, exact=exact), by_guessing=by_guessing, exact=exact)


def _noticeable(verdict: Mapping[str, Any], *, exact: bool) -> bool:
    """Whether somebody who has one of the records can notice that it was used or deleted, or that was not tested."""
    over = verdict.get("over_forgetting")
    untraced = isinstance(over, Mapping) and over.get("over_forgotten") is False and over.get("traceable") is False
    return not (exact or untraced or verdict.get("as_unseen") is True)


def _proves(noun: str, operator: str | None, *, receipts: bool, learned: bool) -> str:
    before = " and that the model had learnt from it" if learned else ""
    covered = (
        f" With your receipt you can also show that your {noun} was part of the request{before}." if receipts else ""
    )
    return (
        f"The list proves that {operator or 'the holder of the key'} gave this answer about one copy of the model."
        f"{covered} It does not prove more:"
    )


def _open_points(noun: str, answers: Mapping[str, bool | None]) -> list[str]:
    points = [
        f"Other copies of the {noun}s or of the old model may exist or be in use; another test may still find a trace.",
        "Equal numbers are not erasure as the law means it. Whether that was done, no list can say.",
    ]
    if not (answers["known"] is True and answers["forgotten"] is True):
        points.insert(0, "It is not shown that your request is fulfilled. It needs more work, or more tests.")
    return points


def _released_before(statements: Sequence[Statement], number: int) -> list[int]:
    """Numbers of the lines that gave others a model from before a line."""
    before, parent = set(), statements[number - 1].predicate.parent
    while parent is not None:
        before.add(parent.sequence)
        parent = statements[parent.sequence].predicate.parent
    return [
        later
        for later, one in enumerate(statements, start=1)
        if one.kind == "release" and one.predicate.parent is not None and one.predicate.parent.sequence in before
    ]


def _check(noun: str, operator: str | None, *, receipts: bool) -> str:
    whom = operator or "whoever gave you this page"
    if not receipts:
        return (
            f"No receipts were made for this request, so it cannot be shown that your {noun} was part of it. Ask "
            f"{whom} for the list and its public keys, and somebody who knows computers to check the list with the "
            "file VERIFY.md in it."
        )
    return (
        f"Keep your receipt, a small file, with each {noun} as you have it now. Ask {whom} for the list and, by "
        "another way, for its public keys. Somebody who knows computers can then check all this; the last word must be "
        "“verified”:"
    )
