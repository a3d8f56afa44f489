"""Text of users is shown without what commands a terminal, and can be written to any."""

import os

import pytest

from myosotis.engine.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("cat\n\tdog", "cat\n\tdog"),
        ("\x1b[8m", "\\x1b[8m"),
        ("\u202egpj", "\\u202egpj"),
        (os.fsdecode(b"a\xff"), "a\\udcff"),
        ("Zoë \U0001f600", "Zoë \U0001f600"),
    ],
)
def test_commands_and_halves_of_pairs_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable(text).encode()
