"""Canonical JSON has the bytes of the examples of RFC 8785."""

import json

import pytest
import rfc8785

from myosotis.ledger.envelopes import canonical


def test_the_sample_of_section_3_2_4():
    value = json.loads(
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        '"string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/", "literals": [null, true, false]}'
    )
    assert canonical(value) == (
        b'{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        b'"string":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_in_the_order_of_section_3_2_3():
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    found = json.loads(canonical(dict.fromkeys(names, 0)), object_pairs_hook=lambda pairs: [key for key, _ in pairs])
    assert found == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, b"0"),
        (-0.0, b"0"),
        (5e-324, b"5e-324"),
        (-1.7976931348623157e308, b"-1.7976931348623157e+308"),
        (9007199254740992.0, b"9007199254740992"),
        (333333333.33333329, b"333333333.3333333"),
        (1424953923781206.2, b"1424953923781206.2"),
    ],
)
def test_numbers_of_appendix_b(number, text):
    assert canonical(number) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_what_has_no_form_is_refused(number):
    with pytest.raises(rfc8785.FloatDomainError):
        canonical({"a": number})


def test_large_whole_numbers_become_text():
    assert canonical([2**53 - 1, 2**53]) == b'[9007199254740991,"9007199254740992"]'
