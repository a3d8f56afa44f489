"""Myosotis: learn without forgetting, forget on request, and show the evidence."""

__version__ = "0.1.0"
