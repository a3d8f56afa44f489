"""The ``myosotis`` command and what all its verbs share."""

from typing import Annotated

import typer

from myosotis import __version__
from myosotis.cli.audit import audit
from myosotis.cli.denoise import denoise
from myosotis.cli.jobs import job_command
from myosotis.cli.learn import learn
from myosotis.cli.methods import methods
from myosotis.cli.pretrain import pretrain
from myosotis.cli.probe import probe
from myosotis.cli.report import report
from myosotis.cli.unlearn import unlearn

app = typer.Typer(
    help="Myosotis puts a trained network's memory under its owner's control: learn, forget, show the evidence.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with the values of variables would print the data that a user asked to delete.
    pretty_exceptions_enable=False,
)
app.add_typer(unlearn, name="unlearn")
app.add_typer(learn, name="learn")
app.add_typer(pretrain, name="pretrain")
app.add_typer(denoise, name="denoise")
app.add_typer(audit, name="audit")
app.command()(probe)
app.command("protocol")(job_command("protocol"))
app.command()(report)
app.command()(methods)


def _version(asked: bool) -> bool:
    if asked:
        typer.echo(f"myosotis {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def _before_the_verb(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> bool:
    return version


def main() -> None:
    """Run the command line: exit status 0 done, 1 failed, 2 bad input."""
    app()
