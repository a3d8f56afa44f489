"""The ``myosotis`` command and what all its verbs share."""

import logging
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from myosotis import __version__
from myosotis.cli.audit import audit
from myosotis.cli.check import check
from myosotis.cli.demo import demo
from myosotis.cli.denoise import denoise
from myosotis.cli.evidence import ledger
from myosotis.cli.example import example
from myosotis.cli.export import export
from myosotis.cli.init import init
from myosotis.cli.jobs import run
from myosotis.cli.methods import methods
from myosotis.cli.probe import probe
from myosotis.cli.report import report
from myosotis.cli.requests import requests
from myosotis.cli.schema import schema

# As soon as peft imports it, it names a kernel that it lacks, whether or not anything is quantised.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)

_ORDER = (
    "demo",
    "init",
    "check",
    "run",
    "denoise",
    "report",
    "requests",
    "audit",
    "ledger",
    "probe",
    "export",
)


class _InOrder(TyperGroup):
    """Commands as somebody meets them: start, jobs, results, and then the rest."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = super().list_commands(ctx)
        return [*(name for name in _ORDER if name in names), *(name for name in names if name not in _ORDER)]


app = typer.Typer(
    cls=_InOrder,
    help="Myosotis puts a trained network's memory under its owner's control: learn, forget, show the evidence.",
    epilog="Start: `myosotis demo`. Your own data: `myosotis init JOB PATHS`, then `myosotis run FILE`.",
    no_args_is_help=True,
    # Boxes of rich show a type after flags, as if a value had to follow.
    rich_markup_mode=None,
    # A traceback with the values of variables would print the data that a user asked to delete.
    pretty_exceptions_enable=False,
)
app.command(short_help="See a whole job in seconds, without data of your own.")(demo)
app.command(short_help="Write a configuration for your own folders and models.")(init)
app.command(short_help="Check a configuration and its data; say what would happen.")(check)
app.command(short_help="Carry out the job of a configuration: forget, learn, pre-train, tune.")(run)
app.add_typer(denoise, name="denoise", short_help="Repair scans, reads and symbols that went through noise.")
app.command(short_help="Write the report of a run again, or compare runs.")(report)
app.add_typer(requests, name="requests", short_help="Answer deletion requests, from the letter to the answer.")
app.add_typer(audit, name="audit", short_help="Look at the model of a finished run anew.")
app.add_typer(ledger, name="ledger", short_help="Record what happened to a model, signed, for others to check.")
app.command(short_help="Measure the encoders of a continual run.")(probe)
app.command(short_help="Write the adapters of subjects for other servers.")(export)
app.command(short_help="List the methods, or one with its settings.")(methods)
app.command(short_help="List or copy the examples of the package.")(example)
app.command(short_help="Print the JSON schema of a configuration.")(schema)


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
    """Run the command line: exit status 0 done, 1 failed, 2 bad input, 130 interrupted, 143 terminated."""
    app()
