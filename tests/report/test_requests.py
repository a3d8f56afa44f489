"""Tests of :mod:`myosotis.report.requests`."""

import pytest

from myosotis.report.requests import listed, requests_table


def test_few_requests_are_shown_after_each_other():
    table = requests_table("Accuracy", [[0.1], [0.2, None], [0.5, 0.4, 0.3]])
    assert table.columns == ["after 1", "after 2", "after 3"]
    assert [row.cells for row in table.rows] == [
        ["0.100", "0.200", "0.500"],
        ["-", "-", "0.400"],
        ["-", "-", "0.300"],
    ]


@pytest.mark.parametrize("count", [13, 1000])
def test_of_many_requests_the_telling_figures_are_shown(count):
    after = [[0.0] * number for number in range(1, count + 1)]
    after[4][1] = 0.75  # the second request came back after the fifth
    after[5][1] = 0.75
    after[-1][1] = 0.25
    after[-1][-1] = None
    table = requests_table("Accuracy", after)
    assert len(table.columns) == 4
    assert len(table.rows) == count
    assert table.rows[1].cells == ["0.000", "0.750", "5", "0.250"]
    assert table.rows[2].cells == ["0.000", "0.000", "4", "0.000"]
    assert table.rows[-1].cells == ["-", "-", "-", "-"]


def test_names_are_cut_with_their_number():
    names = [str(number) for number in range(25)]
    assert listed(names[:20]) == ", ".join(names[:20])
    assert listed(names).endswith("19, and 5 more")
    assert listed([]) == ""
