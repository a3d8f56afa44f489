"""Every notebook of the documentation runs, and stays small."""

import json
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def pages(file_module):
    return file_module(DOCS / "notebook_pages.py")


def test_there_are_three():
    assert len(NOTEBOOKS) == 3


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_becomes_a_page(pages, path):
    notebook = json.loads(path.read_text())
    page, pictures = pages.page(notebook, path.stem)
    assert page.startswith("# ")
    assert f"({path.stem}.ipynb)" in page
    assert all(f"]({name})" in page and content.startswith(b"\x89PNG") for name, content in pictures.items())
    assert page.count("```python") == sum(cell["cell_type"] == "code" for cell in notebook["cells"])
    assert path.stat().st_size < 100_000


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(pages, path):
    notebook = json.loads(path.read_text())
    again = pages.executed(notebook)
    for before, after in zip(notebook["cells"], again["cells"], strict=True):
        kinds = [[output["output_type"] for output in cell.get("outputs", [])] for cell in (before, after)]
        assert kinds[0] == kinds[1], "save the outputs again: python docs/notebook_pages.py"
    assert len(json.dumps(again)) < 100_000
