"""The pages of a ledger."""

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
