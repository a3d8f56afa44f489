"""Docstrings as the reference shows them: doctests as examples, and names of Sphinx as links."""

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|mod|data|attr|exc|obj):`(~?)([\w.]+)`")


class Docstrings(griffe.Extension):
    """Rewrites what the reader of the reference does not know."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of anything that has one."""
        if obj.docstring is not None:
            text = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            obj.docstring.value = _ROLE.sub(_link, text)


def _link(role: re.Match[str]) -> str:
    """A link where the reference has the object, else its name."""
    is_short, name = role.groups()
    shown = name.rpartition(".")[2] if is_short else name
    return f'<autoref optional identifier="{name}">`{shown}`</autoref>'
