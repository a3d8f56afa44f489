"""``myosotis pretrain``: learn from unlabelled images by hiding parts of them."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out, job_command
from myosotis.engine.errors import InputError

_PLAIN = "run"


class _RunUnlessNamed(TyperGroup):
    """``pretrain CONFIG`` stands for ``pretrain run CONFIG``; a bare word that names no file is a command mistyped."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        mistyped = bool(args) and re.fullmatch(r"[A-Za-z]+", args[0]) is not None and not Path(args[0]).exists()
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names and not mistyped:
            args = [_PLAIN, *args]
        return super().parse_args(ctx, args)


pretrain = typer.Typer(
    cls=_RunUnlessNamed,
    help="Pre-train an encoder by hiding parts of images: pretrain CONFIG, or pretrain sweep CONFIG.",
    no_args_is_help=True,
)


pretrain.command(_PLAIN)(job_command("pretrain"))


@pretrain.command()
def sweep(
    config: ConfigFile,
    more: Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)] = None,
    ratios: Annotated[
        list[str] | None, typer.Option("--ratios", metavar="RATIO...", help="Masking ratios, e.g. .5 .6 .75 .9")
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds of each masker and ratio.")] = None,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Pre-train at several masking ratios and seeds, and measure how much the ratio matters."""
    settings = list(set_ or [])
    with exit_statuses():
        if more and not ratios:
            raise InputError(f"{more[0]}: unexpected argument; give ratios after --ratios")
    if ratios:
        # One option takes one value: what follows the first ratio comes as further arguments.
        settings.append(f"ratios=[{', '.join([*ratios, *(more or [])])}]")
    if seeds is not None:
        settings.append(f"seeds={seeds}")
    carry_out("pretrain sweep", config, settings, out, resume=resume, overwrite=overwrite)
