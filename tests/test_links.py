"""The check of links of the built site, on a small broken one."""

from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def checker(file_module):
    return file_module(DOCS / "check_links.py")


def written(site, **pages):
    for name, body in pages.items():
        (site / f"{name}.html").write_text(f"<html><body>{body}</body></html>")
    return site


def test_a_sound_site_has_no_fault(checker, tmp_path):
    (tmp_path / "style.css").touch()
    site = written(
        tmp_path,
        index='<link rel="stylesheet" href="style.css"><a href="other.html#part">x</a><a href="#top" id="top">y</a>',
        other='<h2 id="part">z</h2><a href="index.html">home</a><a href="https://example.org">elsewhere</a>'
        '<link rel="canonical" href="https://example.org/other.html"><a href="mailto:a@example.org">mail</a>',
    )
    assert checker.faults(site) == []
    assert checker.main([str(site)]) == 0


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ('<a href="missing.html">x</a>', "index.html: missing.html: there is no such file"),
        ('<a href="index.html#nowhere">x</a>', "index.html: index.html#nowhere: there is no such anchor"),
        ('<a href="#nowhere">x</a>', "index.html: #nowhere: there is no such anchor"),
        ('<img src="missing.png">', "index.html: missing.png: there is no such file"),
        (
            '<script src="https://unpkg.com/x.js"></script>',
            "index.html: loads https://unpkg.com/x.js from another host",
        ),
        (
            '<link rel="stylesheet" href="//fonts.googleapis.com/css">',
            "index.html: loads //fonts.googleapis.com/css from another host",
        ),
    ],
)
def test_faults_are_named(checker, tmp_path, capsys, body, fault):
    assert checker.faults(written(tmp_path, index=body)) == [fault]
    assert checker.main([str(tmp_path)]) == 1
    assert fault in capsys.readouterr().err


def test_a_directory_without_pages_is_no_site(checker, tmp_path, capsys):
    assert checker.main([str(tmp_path)]) == 1
    assert "no pages" in capsys.readouterr().err
