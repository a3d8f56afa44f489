"""Half a page in plain words: what it may say about each combination of answers."""

import itertools
import re

import pytest

from myosotis.engine.result import Result
from myosotis.evaluation.comparison import ForgettingVerdict
from myosotis.report.person import person_page

ANSWERS = (True, False, None)
JARGON = ("AUC", "interval", "p =", "logit", "threshold", "criterion", "%")


def page_of(known, forgotten, kept, sure, operator="Example Hospital", **options):
    result = Result(
        schema_version=4,
        started=None,
        finished="2026-05-04T03:02:01Z",
        operator=operator,
        request={
            "id": "R-17 <b>",
            "received": "2026-05-01",
            "deadline": "2026-06-01",
            "untreated": ["backup of May"],
        },
        kind="unlearn-classifier",
        name="a",
        method=None,
        seed=0,
        lineage={"data": {}},
        cost={"seconds": {}, "last_session_seconds": 0.0, "peak_memory_bytes": 0},
    )
    verdict = ForgettingVerdict(known=known, forgotten=forgotten, kept=kept, sure=sure, keeping=[], confidence=0.95)
    return person_page(result, verdict, **options)


@pytest.mark.parametrize(("known", "forgotten"), itertools.product(ANSWERS, ANSWERS))
@pytest.mark.parametrize(("kept", "sure"), itertools.product(ANSWERS, ANSWERS))
@pytest.mark.parametrize("noticeable", [True, False])
def test_nothing_is_called_forgotten_without_two_yeses(known, forgotten, kept, sure, noticeable):
    page = page_of(known, forgotten, kept, sure, noun="picture", count=3, noticeable=noticeable)
    text = re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL)
    assert ("forgotten" in text) == (known is True and forgotten is True)
    assert ("not shown that the request is fulfilled" in text) == (known is not True or forgotten is not True)
    assert ("works about as well" in text) == (kept is True)
    assert ("clear result" in text) == (sure is True)
    assert not any(word in text for word in JARGON)
    assert len(text.split()) < 400


def test_the_page_says_who_when_and_what_remains():
    page = page_of(True, True, True, True, noun="record", count=1, noticeable=True)
    for text in (
        "Example Hospital",
        "2026-05-04",
        "R-17 &lt;b&gt;",
        "backup of May",
        "1 record should",
        "may still notice",
    ):
        assert text in page
    assert page.count("<h1") == 1
    nobody = page_of(True, True, True, True, operator=None, noun="record", count=2, noticeable=False)
    assert "names nobody" in nobody
    assert "may still notice" not in nobody
