"""Results in a notebook and as data frames."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

from myosotis.engine import extras
from myosotis.engine.tabular import Tabular
from myosotis.report.document import Document, Row, Table, Verdict
from myosotis.report.notebook import Report
from myosotis.unlearning.classifier import UnlearnSettings, unlearn_instances


@dataclass(repr=False)
class Listed(Tabular):
    values: list

    def headline(self):
        return f"{len(self.values)} <values>"

    def rows(self):
        return [{"name & sign": f"<{value}>", "share": value} for value in self.values]


@pytest.fixture(scope="module")
def unlearned():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    images = torch.eye(4).view(4, 1, 2, 2)
    settings = UnlearnSettings(learning_rate=0.1)
    return unlearn_instances(model, (images, model(images).argmax(dim=1)), method="neggrad", settings=settings)


def test_a_notebook_shows_headline_and_rows_escaped():
    html = Listed([0.25, None])._repr_html_()
    assert "2 &lt;values&gt;" in html
    assert "<th>name &amp; sign</th>" in html
    assert "<td>&lt;0.25&gt;</td><td>0.250</td>" in html
    assert "<td>-</td>" in html


def test_a_notebook_is_not_flooded():
    html = Listed([float(value) for value in range(100)])._repr_html_()
    assert html.count("<tr>") == 61
    assert "and 40 rows more" in html


def test_nothing_to_show_is_no_fault():
    assert "0 &lt;values&gt;" in Listed([])._repr_html_()


def test_unlearning_prints_in_one_line(unlearned):
    text = repr(unlearned)
    assert text.startswith("UnlearnResult: 4 of 4 instances reached the goal 'misclassify' by neggrad")
    assert "\n" not in text
    assert unlearned._repr_html_().count("<tr>") == 5


def test_rows_become_a_data_frame(unlearned):
    frame = unlearned.to_pandas()
    assert list(frame["forgotten"]) == [True] * 4
    assert frame.shape == (4, 8)


def test_missing_pandas_is_named_in_a_line(unlearned, monkeypatch):
    monkeypatch.setattr(extras, "EXTRAS", {"notebook": ("no_such_module",)})
    with pytest.raises(ImportError, match=r"pip install 'myosotis\[notebook\]'$"):
        unlearned.to_pandas()


def test_a_report_is_shown_in_a_frame_of_its_own():
    table = Table("Shares", ["Before", "After"], [Row("a <b>", ["0.1", "0.2"])], "Measure")
    report = Report(Document("Run & report", "", [Verdict("Has it learnt?", "It has.", holds=True)], table))
    assert repr(report) == "Report: Run & report. Has it learnt? yes"
    html = report._repr_html_()
    assert html.startswith("<iframe srcdoc=")
    assert "<b>" not in html
    assert report.to_pandas().to_dict("records") == [{"Measure": "a <b>", "Before": "0.1", "After": "0.2"}]
    assert "Has it learnt? YES. It has." in str(report)
