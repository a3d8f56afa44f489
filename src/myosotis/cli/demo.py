"""``myosotis demo``: a whole job in seconds, from data that the package brings."""

from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import carry_out, say

_EXAMPLE = "forget-digits"


def demo(
    out: Annotated[Path, typer.Option(metavar="RUN", help="Run directory.")] = Path("runs/demo"),
    show: Annotated[bool, typer.Option("--open", help="Open the report in a browser.")] = False,
) -> None:
    """Teach a small classifier handwritten digits, forget 16 of them, write the report: under a minute, no download."""
    with exit_statuses():
        from myosotis.init.examples import list_examples

        chosen = next(one for one in list_examples() if one.name == _EXAMPLE)
        say(f"the job is `myosotis example {_EXAMPLE}`; nothing is downloaded")
    carry_out(chosen.path, None, out, resume=True, overwrite=False)
    if show:
        typer.launch(str((out / "report.html").resolve()))
