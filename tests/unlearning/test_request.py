"""The deletion request of a job."""

import pytest
import yaml
from pydantic import ValidationError

from myosotis.report.sections import request_tables
from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
from myosotis.unlearning.request import RequestConfig


def test_dates_are_taken_as_yaml_reads_them():
    request = RequestConfig.model_validate(yaml.safe_load("{id: 17, received: 2026-11-01}") | {"id": "17"})
    assert request.received == "2026-11-01"


def test_both_kinds_of_unlearning_take_one():
    config = LanguageUnlearningConfig.model_validate(
        {"name": "a", "model": {"name": "m"}, "data": {"people": {}}, "request": {"id": "17", "deadline": "2026-12-01"}}
    )
    assert config.request.id == "17"
    with pytest.raises(ValidationError):
        RequestConfig(recieved="2026-11-01")


def test_the_report_names_what_was_not_treated():
    notes, (table,) = request_tables(RequestConfig(id="17", untreated=("backups of May",)).model_dump(mode="json"))
    assert notes == ["Models and copies that were not treated: backups of May."]
    assert [(row.name, *row.cells) for row in table.rows] == [("id", "17")]
    assert request_tables(RequestConfig().model_dump(mode="json")) == ([], [])
    assert request_tables(None) == ([], [])
