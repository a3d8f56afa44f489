"""Which exceptions become a line for the user, and which keep their traceback."""

import pytest

from myosotis.engine.errors import DivergedError, InputError, SettingsError, settings_as_input


def test_a_settings_error_becomes_an_input_error_that_names_its_subject():
    with pytest.raises(InputError, match=r"^scenario: 'first' must be at least 1$"), settings_as_input("scenario"):
        raise SettingsError("'first' must be at least 1")
    with pytest.raises(InputError, match=r"^too few$"), settings_as_input():
        raise SettingsError("too few")


@pytest.mark.parametrize("error", [ValueError("a bug"), InputError("a file"), DivergedError("no number"), KeyError(3)])
def test_every_other_exception_passes_as_it_is(error):
    with pytest.raises(type(error)) as caught, settings_as_input("scenario"):
        raise error
    assert caught.value is error
