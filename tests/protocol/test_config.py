"""The configuration of a protocol."""

import pytest
from pydantic import ValidationError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "'methods' is empty"),
        ({"methods": ["ers"]}, "unknown method 'ers'"),
        ({"methods": {"er": {"space": {"training.epochs": []}}}}, "'training.epochs' has no value"),
        ({"shared": {"name": "x"}}, "leave 'shared.name' out: the protocol sets it"),
        ({"shared": {"method": "er"}}, "leave 'shared.method' out: the protocol sets it"),
        ({"executor": {"address": "auto"}}, "'address' is for 'ray' only"),
        ({"executor": {"kind": "ray", "address": "auto", "workers": 2}}, "has its own 'workers'"),
        ({"prune": {"keep": 1.0}}, "less than 1"),
        (
            {"shared": {"model": {"init_from": "x"}, "scenario": {"first": 2, "per_task": 2}}},
            "leave 'shared.model.init_from' out",
        ),
        ({"trials": 0}, "greater than 0"),
    ],
)
def test_settings_that_do_not_go_together(protocol, options, message):
    with pytest.raises(ValidationError, match=message):
        protocol(**options)
