"""Reports of every kind in a browser: wide and narrow, light and dark, printed."""

import itertools
import re
import shutil

import pytest
from typer.testing import CliRunner

from myosotis.cli.app import app

pytestmark = pytest.mark.slow

WIDTHS = (1280, 390)
HEADINGS = "[...document.querySelectorAll('h1, h2, h3')].map(each => Number(each.tagName[1]))"
UNNAMED = "[...document.querySelectorAll('svg')].filter(each => !each.getAttribute('aria-label')).length"
# What a reader reaches of a cell: as it stands, or by scrolling the box of its table.
HIDDEN_CELLS = """
[...document.querySelectorAll('main > section table')].flatMap(table => {
  const box = table.closest('.scroll');
  return [...table.querySelectorAll('tbody tr')].filter(row => {
    const cell = row.lastElementChild;
    box.scrollLeft = box.scrollWidth;
    const inner = cell.getBoundingClientRect();
    return inner.width === 0 || inner.height === 0 || inner.left < 0 || inner.right > window.innerWidth + 1;
  }).map(row => row.textContent.slice(0, 40));
})
"""
SCROLLING_BOXES = """
[...document.querySelectorAll('main > section .scroll')].filter(box => box.scrollWidth > box.clientWidth + 1).length
"""


def invoke(*arguments):
    outcome = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert outcome.exit_code == 0, outcome.output


@pytest.fixture(scope="module")
def pages(tmp_path_factory, tiny_jobs):
    """Write the report of every kind of job, a page for a person and comparisons."""
    folder = tmp_path_factory.mktemp("pages")
    tiny_jobs.inputs(folder)
    paths = {}
    for name in tiny_jobs.JOBS:
        for seed in (0, 1) if name in ("photos", "classes", "segments", "denoiser") else (0,):
            out = folder / "runs" / f"{name}-{seed}-{'with-a-long-name' if seed else 'first'}"
            invoke("run", tiny_jobs.written(folder, name, seed=seed, operator="Example Hospital"), "--out", out)
            paths[f"{name}, seed {seed}"] = out / "report.html"
    for name in ("photos", "classes", "segments", "denoiser"):
        out = folder / f"two-{name}.html"
        invoke("report", *(paths[f"{name}, seed {seed}"].parent for seed in (0, 1)), "--out", out)
        paths[f"two of {name}"] = out
    for name in ("photos", "language"):
        run = paths[f"{name}, seed 0"].parent
        invoke("report", run, "--for", "person")
        paths[f"person, {name}"] = run / "person.html"
    run = paths["classes, seed 0"].parent
    invoke("probe", run)
    paths["probe"] = run / "probe.html"
    sweep = folder / "runs" / "sweep"
    path = tiny_jobs.written(folder, "pretrain", job="pretrain-sweep", ratios=[0.5, 0.75])
    invoke("run", path, "--out", sweep)
    paths["sweep"] = sweep / "report.html"
    for name, (*words, source, output, option, rate) in tiny_jobs.FILES.items():
        page = folder / f"{name}.html"
        invoke(*words, folder / source, folder / output, option, rate, "--report", page)
        paths[name] = page
    return paths


@pytest.fixture(scope="module")
def browser():
    """Start Chromium."""
    path = shutil.which("chromium") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def opened(browser, path, width, scheme="light"):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    assert len(requests) == 1
    assert errors == []
    return page


@pytest.mark.parametrize("width", WIDTHS)
def test_every_report_reads_well(pages, browser, width):
    for name, path in pages.items():
        page = opened(browser, path, width)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        levels = page.evaluate(HEADINGS)
        assert levels.count(1) == 1, name
        assert levels[0] == 1, name
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), name
        assert page.evaluate(UNNAMED) == 0, name
        assert page.evaluate(HIDDEN_CELLS) == [], name
        if width < 480:
            assert page.evaluate(SCROLLING_BOXES) == 0, name
        page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_ink_and_paper_follow_the_scheme(pages, browser, scheme):
    for name, path in pages.items():
        page = opened(browser, path, 390, scheme)
        paper, ink = page.evaluate(
            "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color]"
        )
        dark = sum(map(int, re.findall(r"\d+", paper)[:3])) < sum(map(int, re.findall(r"\d+", ink)[:3]))
        assert dark == (scheme == "dark"), name
        page.close()


def test_print_unfolds_details_and_fits_the_paper(pages, browser):
    for name, path in pages.items():
        page = opened(browser, path, 794, "dark")
        page.emulate_media(media="print", color_scheme="dark")
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name
        # Paper is white, whatever the screen is.
        ink = page.evaluate("getComputedStyle(document.body).color")
        assert sum(map(int, re.findall(r"\d+", ink)[:3])) < 300, name
        heights = page.evaluate("[...document.querySelectorAll('details table')].map(each => each.offsetHeight)")
        assert all(height > 0 for height in heights), name
        assert page.pdf(prefer_css_page_size=True)[:4] == b"%PDF", name
        page.close()
