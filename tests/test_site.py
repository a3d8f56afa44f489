"""The documentation in a browser, from disk: no error, no request, no raw formula, no page wider than the window."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the extra 'docs' is not installed")
playwright = pytest.importorskip("playwright.sync_api")

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow

CONTENT = """() => {
    const column = document.querySelector(".md-content");
    const text = document.createTreeWalker(column, NodeFilter.SHOW_TEXT);
    const raw = [];
    while (text.nextNode()) {
        const inCode = text.currentNode.parentElement.closest("code, pre, script, style, .katex-mathml");
        if (!inCode && /\\\\\\(|\\\\\\[|\\$\\$|\\\\mathrm|\\\\frac/.test(text.currentNode.data)) {
            raw.push(text.currentNode.data);
        }
    }
    return {
        raw,
        errors: [...document.querySelectorAll(".katex-error")].map((element) => element.textContent),
        unrendered: document.querySelectorAll(".arithmatex:not(:has(.katex))").length,
        formulas: document.querySelectorAll(".arithmatex").length,
        tooWide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
        cut: [...column.querySelectorAll("img")].filter((image) => !image.complete || !image.naturalWidth).length,
    };
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    checked = subprocess.run(
        [sys.executable, ROOT / "docs" / "check_links.py", folder], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
    return folder


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        chromium = Path("/usr/bin/chromium")
        executable = str(chromium) if chromium.exists() else None
        yield driver.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])


@pytest.fixture
def open_page(browser, site):
    """Open pages; what they say and ask for is collected."""
    page = browser.new_page()
    page.said, page.asked = [], []
    page.on("console", lambda message: page.said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.said.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    page.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_page_from_disk(open_page, site, width):
    open_page.set_viewport_size({"width": width, "height": 900})
    faults, formulas = [], 0
    for path in sorted(site.rglob("*.html")):
        if path.name == "404.html":  # a server shows it, from the root
            continue
        open_page.said.clear(), open_page.asked.clear()
        open_page.goto(path.as_uri(), wait_until="load")
        found = open_page.evaluate(CONTENT)
        formulas += found.pop("formulas")
        external = [url for url in open_page.asked if not url.startswith(("file:", "data:", "blob:"))]
        faults += [
            f"{path.relative_to(site)}: {name}: {value}"
            for name, value in {**found, "external": external, "said": open_page.said}.items()
            if value
        ]
    assert not faults, "\n".join(faults)
    assert formulas > 150


def test_search_works_from_disk(open_page, site):
    open_page.set_viewport_size({"width": 1280, "height": 900})
    open_page.goto((site / "index.html").as_uri())
    open_page.fill("input.md-search__input", "salience")
    open_page.wait_for_selector(".md-search-result__item", timeout=20_000)
    link = open_page.get_attribute(".md-search-result__item a", "href")
    assert "pretrain" in link or "salience" in link
