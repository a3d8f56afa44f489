"""Half a page for the person who asked: what it says about each kind of answer, and what it never says."""

import itertools
import re

import pytest

from myosotis.engine.errors import InputError
from myosotis.ledger.destruction import destroy
from myosotis.ledger.pages import certificate
from myosotis.ledger.person import person_page
from myosotis.report.render import render_html

ANSWERS = (True, False, None)
JARGON = ("AUC", "interval", "threshold", "logit", "SHA", "digest", "hash", "Merkle", "JSON", "envelope", "root", "%")


def request(claimed, signer, life, *, kind="unlearn-classifier", verdict=None, **more):
    facts = {
        "run": {
            "name": "<b>run</b>",
            "kind": kind,
            "method": "adv_imp",
            "finished": "2026-11-20T08:00:00Z",
            "operator": "Example <Hospital>",
        },
        "request": {"id": "R-17 <b>", "received": "2026-11-02", "deadline": None, "untreated": ["backup of May"]},
        "records": {"count": 20, "root": "ab" * 32, "commitments": 40},
        "verdict": verdict or {"known": True, "forgotten": True, "kept": True, "sure": True},
        **more,
    }
    return life.append(claimed("forget", "b", "c", **facts), signer)


def text_of(page):
    return " ".join(re.sub(r"<style>.*?</style>|<code>.*?</code>|<[^>]+>", " ", page, flags=re.DOTALL).split())


@pytest.fixture
def asked(life, signer, claimed):
    def made(**more):
        number = request(claimed, signer, life, **more)
        return text_of(person_page(list(life.statements()), number, life.head().roles.values()))

    return made


def test_it_says_what_was_asked_done_and_shown(life, signer, claimed):
    number = request(claimed, signer, life)
    page = person_page(list(life.statements()), number, life.head().roles.values())
    text = text_of(page)
    for part in (
        "Request R-17 &lt;b&gt;",
        "Received 2026-11-02",
        "Answered 2026-11-20",
        "Answered by Example &lt;Hospital&gt;",
        "20 pictures be removed",
        "line 4 of a signed list",
        "No later line says that old copies were destroyed",
        "it has forgotten the pictures",
        "Where it was looked for is not said",
        "Not treated: backup of May",
        "Nobody is named who was told",
        "Equal numbers are not erasure as the law means it",
        "With your receipt you can also show",
    ):
        assert part in text, part
    assert "verify LIST --key operator.pub --auditor auditor.pub --record PICTURE --receipt RECEIPT" in page
    assert not any(word in text for word in JARGON)
    assert len(text.split()) < 400


def test_a_receipt_shows_that_it_had_been_learned(asked, claimed, life, signer):
    records = {"count": 20, "root": "ab" * 32, "commitments": 40}
    assert "part of the request." in asked(records=records)
    life.append(claimed("learn", "c", "d", records={"count": 20, "root": "cd" * 32, "commitments": 40}), signer)
    facts = {"request": None, "records": {**records, "learned": [{"root": "cd" * 32, "count": 20}]}}
    number = life.append(claimed("forget", "d", "e", **facts), signer)
    statements = list(life.statements())
    text = text_of(person_page(statements, number, life.head().roles.values()))
    assert "part of the request and that the model had learnt from it." in text
    assert "20 of them" in text_of(render_html(certificate(statements[number - 1], number, "operator")))


@pytest.mark.parametrize(("known", "forgotten"), list(itertools.product(ANSWERS, ANSWERS)))
def test_nothing_is_called_forgotten_without_two_yeses(known, forgotten, asked):
    text = asked(verdict={"known": known, "forgotten": forgotten, "kept": None})
    assert ("forgotten the pictures" in text) == (known is True and forgotten is True)
    assert ("not shown that your request is fulfilled" in text) == (known is not True or forgotten is not True)


def test_records_and_requests_without_receipts(asked):
    text = asked(kind="unlearn-language", records={"count": 1}, request=None, verdict={"known": True})
    assert "1 record be removed" in text
    assert "No receipts were made" in text
    assert "With your receipt" not in text
    assert "Request" not in text.partition("What was asked")[0].replace("your request", "")


def test_exact_forgetting_is_not_called_noticeable(asked):
    text = asked(statistics={"before": {}, "after": {}}, records={"count": None})
    assert "taken out of its sums again" in text
    assert "exactly what it would be without them" in text
    assert "recognised them better" not in text
    assert "You asked that pictures be removed" in text
    assert "may still notice" not in text


def test_scope_copies_and_recipients(asked):
    request = {"searched": ["training set", "backups <b>"], "informed": ["Elm Hospital"], "untreated": []}
    text = asked(request=request)
    assert "Looked for in: training set, backups &lt;b&gt;." in text
    assert "Told of your request: Elm Hospital." in text
    assert "Not treated" not in text


def test_what_came_before_and_after(life, signer, claimed, tmp_path):
    for subject in ("a", "x"):
        if subject == "x":
            life.append(claimed("learn", None, "x"), signer, "trial")
        life.append(claimed("release", subject, subject), signer)
    number = request(claimed, signer, life)
    (tmp_path / "old.bin").write_bytes(b"old")
    destroy(life, [tmp_path / "old.bin"], signer, tmp_path / "pending.json")
    text = text_of(person_page(list(life.statements()), number, life.head().roles.values()))
    assert "Later lines say that 1 file was destroyed; ask which." in text
    assert "Others were given an earlier version of the model (line 4)." in text


def test_values_of_another_type_are_not_answers(asked):
    """A verdict may hold any JSON: what is not true or false is no answer, and what is not a list names no copy."""
    verdict = {"known": "no", "forgotten": "no", "kept": 1, "sure": {}, "control": "chance"}
    text = asked(verdict=verdict, request={"untreated": 1e300})
    assert "It is not shown that your request is fulfilled." in text
    assert "That could not be shown, so nothing below proves that something was removed." in text
    assert "Known copies" not in text


def test_copies_that_are_not_a_list_are_not_named(asked):
    assert "Known copies" not in asked(request={"untreated": "backup"})


@pytest.mark.parametrize("number", [1, 3])
def test_a_line_that_forgot_nothing_has_none(number, life):
    with pytest.raises(InputError, match=f"line {number} is of no request"):
        person_page(list(life.statements()), number, life.head().roles.values())
