"""``myosotis unlearn``: erase what a model should no longer know."""

import typer

from myosotis.cli.jobs import deletion_command

unlearn = typer.Typer(help="Erase what a model should no longer know.", no_args_is_help=True)
for _name, _samples in (
    ("language", "Quote the forget records and the answers to them in the run."),
    ("classifier", "Put the forgotten images into the run and its report."),
):
    unlearn.command(_name)(deletion_command(f"unlearn {_name}", _samples))
