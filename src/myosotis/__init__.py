"""Myosotis: learn without forgetting, forget on request, and show the evidence."""

from typing import TYPE_CHECKING

from myosotis.lazy import lazy_exports

if TYPE_CHECKING:
    from myosotis.loading import describe, load, push_to_hub
else:
    __getattr__, __dir__ = lazy_exports(__name__, {"loading": "describe load push_to_hub"})

__version__ = "0.1.0"

__all__ = ["describe", "load", "push_to_hub"]
