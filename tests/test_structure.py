"""What the shape of the code must not fall back to. A ceiling is lowered when it can be, and never raised."""

import re
from pathlib import Path

import grimp

import myosotis

ROOT = Path(myosotis.__file__).parent
PLUGINS = (".methods.", ".maskers.", ".bases.")
"""One file each, however short: what a registry lists."""


def lines_with(pattern, paths):
    return sum(len(re.findall(pattern, path.read_text("utf-8"))) for path in paths)


def test_short_files_that_one_other_reads_do_not_multiply():
    graph = grimp.build_graph("myosotis")
    short = [
        module
        for module in graph.modules
        if not any(part in module for part in PLUGINS)
        and (path := ROOT.joinpath(*module.split(".")[1:]).with_suffix(".py")).is_file()
        and len(path.read_text("utf-8").splitlines()) < 60
        and len(graph.find_modules_that_directly_import(module)) == 1
    ]
    assert len(short) <= 19, sorted(short)


def test_reports_read_results_by_attribute():
    reports = [*ROOT.rglob("report*.py"), *ROOT.glob("report/*.py")]
    assert lines_with(r"""\[["'][a-z_]+["']\]""", set(reports)) <= 187


def test_untyped_values_do_not_spread():
    assert lines_with(r": Any\b|, Any\]", ROOT.rglob("*.py")) <= 863
