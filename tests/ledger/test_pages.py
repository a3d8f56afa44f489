"""The pages of a ledger."""

import re

from myosotis.ledger.pages import certificate, life_page
from myosotis.report.render import render_html


def test_a_certificate_has_the_figures_and_a_long_life_few_numbers(life, signer, claimed):
    criterion = {"name": "test", "value": 0.9, "low": 0.8, "high": 0.95, "threshold": 0.85}
    number = life.append(claimed("forget", "b", "c", verdict={"kept": True, "kept_criteria": [criterion]}), signer)
    page = render_html(certificate(list(life.statements())[number - 1], number, "operator"))
    for text in ("kept criteria: test", "0.8 to 0.95", "0.85"):
        assert text in page, text
    statements = list(life.statements()) * 30
    page = render_html(life_page(statements, ["operator"] * len(statements), []))
    assert page.count("<title>") == 61
    assert page.count("<text ") == 15 + 5


def test_a_branch_is_a_row_that_is_tied_to_the_line_where_it_began(life, signer, claimed):
    life.append(claimed("forget", "a", "c"), signer, "second")
    life.append(claimed("learn", None, "d"), signer, "outside")
    statements = list(life.statements())
    svg = life_page(statements, ["operator"] * len(statements), []).figures[0].svg
    dots = [(float(x), float(y)) for x, y in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="8.0"', svg)]
    assert [y for _, y in dots] == [25, 25, 25, 55, 85]
    ties = [tuple(map(float, tie)) for tie in re.findall(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', svg)]
    assert ties == [(*dots[0], *dots[1]), (*dots[1], *dots[2]), (*dots[0], *dots[3])]  # the last came from outside
