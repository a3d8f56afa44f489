"""``myosotis learn``: learn new things without forgetting the old ones."""

import typer

from myosotis.cli.jobs import job_command

learn = typer.Typer(help="Learn new things without forgetting the old ones.", no_args_is_help=True)
for _name in ("classes", "segments", "representations"):
    learn.command(_name)(job_command(f"learn {_name}"))
