"""``myosotis learn``: learn new things without forgetting the old ones."""

import typer

from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out

learn = typer.Typer(help="Learn new things without forgetting the old ones.", no_args_is_help=True)


@learn.command()
def classes(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn classes task by task, measure after each, and write a report."""
    carry_out("learn classes", config, set_, out, resume=resume, overwrite=overwrite)


@learn.command()
def segments(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn to segment classes task by task, measure after each, and write a report."""
    carry_out("learn segments", config, set_, out, resume=resume, overwrite=overwrite)


@learn.command()
def representations(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn representations from a stream without labels, measure after each task, and write a report."""
    carry_out("learn representations", config, set_, out, resume=resume, overwrite=overwrite)
