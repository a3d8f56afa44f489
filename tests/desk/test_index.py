"""The page of all runs and requests: what is late, what was answered, and nobody's name."""

import datetime
import re

import pytest

from myosotis.desk.index import index_page
from myosotis.engine.errors import InputError

TODAY = datetime.date(2026, 12, 3)


def text_of(page):
    body = page[page.index("<body>") : page.index("<script>")]
    return " ".join(re.sub(r"<[^>]*>", "", body).split())


def test_the_page_says_what_waits_and_what_came_of_it(desk):
    page = index_page(desk, TODAY)
    text = text_of(page)
    assert "As of 2026-12-03: 2 open requests, 1 late; 3 other runs." in text
    order = [text.index(words) for words in ("32 days late", "17 days left", "answered 2026-12-25")]
    assert order == sorted(order)
    assert 'href="requests/r-3/run/report.html"' in page
    assert "kept: undecided" in text
    assert "forgotten: no" in text
    assert "not finished" in text
    assert "http" not in page


def test_the_page_names_nobody(desk):
    page = index_page(desk, TODAY)
    assert "Quill" not in page
    assert "Rome" not in page


def test_hostile_names_are_text(desk):
    page = index_page(desk, TODAY)
    assert "<b>&" not in page
    assert not set("\u202e\x1b") & set(page)
    assert 'href="runs/%3Cb%3E%26%E2%80%AE%1B%5B31m/report.html"' in page


def test_what_is_damaged_is_listed_and_hides_nothing(desk):
    (desk / "requests" / "r-1" / "request.json").write_text("{")
    (desk / "runs" / "demo" / "result.json").write_text("[]")
    text = text_of(index_page(desk, TODAY))
    assert "damaged: not JSON" in text
    assert "its result is damaged" in text
    assert "17 days left" in text


def test_an_empty_folder_and_none(tmp_path):
    assert "There are no runs and no requests here." in index_page(tmp_path, TODAY)
    with pytest.raises(InputError, match="no such folder"):
        index_page(tmp_path / "nowhere", TODAY)


def test_links_are_not_followed_out_of_the_folder(desk, tmp_path, finished_run):
    finished_run(tmp_path / "elsewhere")
    (desk / "runs" / "link").symlink_to(tmp_path / "elsewhere")
    assert "link" not in text_of(index_page(desk, TODAY)).replace("links", "")


def test_by_the_command_line(desk, invoke):
    done = invoke("report", "--index", desk)
    assert done.exit_code == 0, done.output
    assert (desk / "index.html").is_file()
    assert invoke("report", "--index", desk).exit_code == 0
    (desk / "index.html").write_text("<p>mine")
    refused = invoke("report", "--index", desk)
    assert refused.exit_code == 2
    assert "is not an index page" in refused.output
    assert (desk / "index.html").read_text() == "<p>mine"
    assert invoke("report", "--index", desk, "--overwrite").exit_code == 0
    for words in (("--index", desk, "--out", desk / "x.html"), (desk / "runs" / "demo", "--index", desk), ()):
        refused = invoke("report", *words)
        assert (refused.exit_code, len(refused.output.strip().splitlines())) == (2, 1)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_rows_are_filtered_and_sorted(width, desk, browser):
    (desk / "index.html").write_text(index_page(desk, TODAY))
    page = browser.new_page(viewport={"width": width, "height": 900})
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((desk / "index.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

    def shown():
        return page.locator("tbody tr:visible th").all_inner_texts()

    assert len(shown()) == 6
    page.fill("#filter", "forgotten: no")
    assert shown() == ["runs/demo"]
    page.fill("#filter", "late, to review")
    assert shown() == ["requests/r-1"]
    page.fill("#filter", "")
    if width > 500:
        page.click("th button:text('Received')")
        page.click("th button:text('Received')")
        assert shown()[:3] == ["requests/r-3", "requests/r-2", "requests/r-1"]
        assert page.locator("th[aria-sort=descending]").count() == 1
        page.emulate_media(media="print")
        assert not page.locator("#filter").is_visible()
    assert (len(requests), errors) == (1, [])
    page.close()
