"""The command line: parse, call, print."""

from myosotis.cli.app import main

__all__ = ["main"]
