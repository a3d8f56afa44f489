"""The configuration of a protocol."""

import pytest
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "'methods' names none"),
        ({"methods": ["ers"]}, "unknown method 'ers'"),
        ({"methods": {"er": {"space": {"training.epochs": []}}}}, "no value for 'training.epochs'"),
        ({"job": {"name": "x"}}, "'job.name' is the protocol's to say"),
        ({"job": {"method": "er"}}, "'job.method' is the protocol's to say"),
        ({"executor": {"address": "auto"}}, "'address' belongs to 'ray'"),
        ({"executor": {"kind": "ray", "address": "auto", "workers": 2}}, "has its own 'workers'"),
        ({"prune": {"keep": 1.0}}, "less than 1"),
        (
            {"job": {"model": {"init_from": "x"}, "scenario": {"first": 2, "per_task": 2}}},
            "'job.model.init_from' knows classes of one stream",
        ),
        ({"trials": 0}, "greater than or equal to 1"),
    ],
)
def test_settings_that_do_not_go_together(protocol, options, message):
    with pytest.raises(ValidationError, match=message):
        protocol(**options)
