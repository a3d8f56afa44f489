"""``myosotis pretrain``: learn from unlabelled images by hiding parts of them."""

import warnings
from typing import Any

import typer
from typer.core import TyperGroup

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out

_PLAIN = "run"


class _RunUnlessNamed(TyperGroup):
    """``pretrain CONFIG`` stands for ``pretrain run CONFIG``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = [_PLAIN, *args]
        return super().parse_args(ctx, args)


pretrain = typer.Typer(
    cls=_RunUnlessNamed,
    help="Pre-train an encoder by hiding parts of images: pretrain CONFIG, or pretrain sweep CONFIG.",
    no_args_is_help=True,
)


@pretrain.callback()
def _pretrain() -> None:
    """Pre-train an encoder by hiding parts of images: pretrain CONFIG, or pretrain sweep CONFIG."""


@pretrain.command(_PLAIN)
def run(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Pre-train, measure before and after, export an encoder that timm loads, and write a report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.pretraining.config import PretrainConfig, resolve_paths
        from myosotis.pretraining.job import PretrainJob
        from myosotis.pretraining.report import describe

        carry_out(
            config,
            set_,
            out,
            PretrainConfig,
            resolve_paths,
            PretrainJob,
            describe,
            resume=resume,
            overwrite=overwrite,
        )
