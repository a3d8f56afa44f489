"""Docstrings call their doctests ``Example:``; the reader of the reference knows ``Examples:`` alone."""

import re
from typing import Any

import griffe


class Doctests(griffe.Extension):
    """Renames the section, so that doctests are drawn as code."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of anything that has one."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
