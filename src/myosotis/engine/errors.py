"""What can go wrong by the user's settings or data, as opposed to by a fault of the program."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something the user gave is wrong: a file, a line, a key, a value.

    Its message is one line that names the culprit and says how to mend it. The command line prints it without a
    traceback and ends with status 2; nothing has been changed on disk when it is raised.
    """


class SettingsError(ValueError):
    """Settings that are out of range, or do not suit each other, the data or the model.

    Raised by functions of the package that check their settings. Jobs turn it, and no other ``ValueError``, into an
    :class:`InputError`, see :func:`settings_as_input`; any other exception is a fault of the program and keeps its
    traceback.
    """


class DivergedError(RuntimeError):
    """A loss, or a weight, became infinite or NaN during training.

    The command line prints its message in one line and ends with status 1; the run directory stays as it is.
    """


@contextmanager
def settings_as_input(subject: str = "") -> Iterator[None]:
    """Turn a :class:`SettingsError` of the block into an :class:`InputError`; every other exception passes.

    Args:
        subject: The key of the configuration that the settings belong to; it begins the message.

    Example:
        >>> with settings_as_input("scenario"):
        ...     raise SettingsError("'first' must be at least 1, got 0")
        Traceback (most recent call last):
        myosotis.engine.errors.InputError: scenario: 'first' must be at least 1, got 0
    """
    try:
        yield
    except SettingsError as error:
        raise InputError(f"{subject}: {error}" if subject else str(error)) from error
