"""The pages of a ledger in a browser: wide and narrow, and on paper, where the page for a person is half of A4."""

import pytest

from myosotis.ledger.destruction import destroy
from myosotis.ledger.pages import certificate, life_page
from myosotis.ledger.person import person_page
from myosotis.ledger.table import remarks
from myosotis.report.render import render_html

pytestmark = pytest.mark.slow

MILLIMETRE = 96 / 25.4


@pytest.fixture
def pages(life, signer, claimed, tmp_path):
    """Every page of a ledger with a line of each kind, whose names are long."""
    run = {
        "name": "request-17-of-the-customer-with-a-name-that-is-longer-than-most-columns",
        "kind": "unlearn-classifier",
        "method": "adv_imp",
        "operator": "Example Hospital of the Holy Ghost, Department of Radiology",
        "finished": "2026-11-20T08:00:00Z",
    }
    request = {
        "id": "2026/11/R-17-000000000000000001",
        "received": "2026-11-02",
        "deadline": "2026-12-02",
        "untreated": ["backup of May", "backup of June"],
    }
    verdict = {"known": True, "forgotten": True, "kept": None, "as_unseen": None, "sure": None}
    facts = {"request": request, "verdict": verdict, "records": {"count": 20, "root": "ab" * 32, "commitments": 40}}
    life.append(claimed("release", "b", "b", recipient="Example Ltd"), signer)
    life.append(claimed("forget", "b", "c", run=run, **facts), signer)
    (tmp_path / "old-checkpoint.safetensors").write_bytes(b"old")
    destroy(life, [tmp_path / "old-checkpoint.safetensors"], signer, tmp_path / "pending.json")
    statements, signers = list(life.statements()), life.signers()
    made = {"life": render_html(life_page(statements, signers, list(remarks(statements))))}
    for number, (statement, name) in enumerate(zip(statements, signers, strict=True), start=1):
        made[f"certificate-{number}"] = render_html(certificate(statement, number, name))
    made["person"] = person_page(statements, 5, life.head().roles.values())
    for name, text in made.items():
        (tmp_path / f"{name}.html").write_text(text)
    return {name: tmp_path / f"{name}.html" for name in made}


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_cut_off_and_nothing_is_fetched(width, pages, browser):
    for name, path in pages.items():
        page = browser.new_page(viewport={"width": width, "height": 900})
        requests = []
        page.on("request", lambda request, requests=requests: requests.append(request.url))
        page.goto(path.as_uri())
        assert len(requests) == 1, name
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        assert page.evaluate("document.querySelectorAll('h1').length") == 1, name
        page.close()


def test_on_paper(pages, browser):
    for name, path in pages.items():
        # What A4 leaves between its margins.
        page = browser.new_page(viewport={"width": int(180 * MILLIMETRE), "height": 900})
        page.goto(path.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        if name == "person":
            height = page.evaluate("document.body.getBoundingClientRect().height") / MILLIMETRE
            assert 60 < height < 148.5 - 10, height
        page.close()
