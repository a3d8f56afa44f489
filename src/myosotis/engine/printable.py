"""Text of users that is shown: without characters that command a terminal or turn the reading order round."""

import re

_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """Return a text with control characters and bidirectional overrides as escapes; tabs and line ends stay.

    A class, a subject or a file may be called anything: an escape sequence would command the terminal that prints its
    name, and a bidirectional override would make a report show another text than it holds. Bytes of a file's name that
    are not UTF-8, which Python reads as halves of surrogate pairs, cannot be printed everywhere.

    Example:
        >>> printable("cat" + chr(27) + "[31m" + chr(0x202E) + "gpj")
        'cat\\\\x1b[31m\\\\u202egpj'
    """
    return _COMMANDS.sub(lambda match: match.group().encode("unicode_escape").decode("ascii"), text)
