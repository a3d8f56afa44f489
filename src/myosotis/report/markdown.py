"""Text of users in Markdown."""

import re

from myosotis.engine.printable import printable

_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_MARKS = re.compile(r"[\\`*_\[\]#|~$@!{}]|:(?=//)|(?<=www)\.")


def markdown_text(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line: no HTML, no links, no emphasis, no cells.

    Example:
        >>> print(markdown_text("<b>*now*</b> at https://example.org"))
        &lt;b&gt;\\*now\\*&lt;/b&gt; at https\\://example.org
    """
    line = " ".join(printable(text).split())
    marked = _MARKS.sub(lambda match: f"\\{match.group()}", line)
    return re.sub("[&<>]", lambda match: _ENTITIES[match.group()], marked)
