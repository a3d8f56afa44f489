"""``myosotis example``: the examples of the package."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.jobs import JOBS, nearest


def _names() -> list[str]:
    from myosotis.init.examples import list_examples

    return [example.name for example in list_examples()]


def example(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Example to copy. Default: list all.", autocompletion=_names),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Folder to copy it to.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="List as JSON.")] = False,
) -> None:
    """List the examples, or copy one with the files that it reads."""
    with exit_statuses(resumes=False):
        from myosotis.engine.errors import InputError
        from myosotis.init.examples import copy_example, list_examples

        examples = list_examples()
        if name is None:
            if as_json:
                typer.echo(json.dumps([{**asdict(one), "path": str(one.path)} for one in examples], indent=2))
                return
            for one in examples:
                typer.echo(f"{one.name}  ({one.job})\n    {one.summary}.")
            typer.echo("`myosotis example NAME` copies one into the working directory", err=True)
            return
        chosen = next((one for one in examples if one.name == name), None)
        if chosen is None:
            raise InputError(f"unknown example '{name}'; {nearest(name, [one.name for one in examples])}")
        from myosotis.engine.config import load_config, local_paths

        settings = load_config(chosen.path, JOBS[chosen.job].schema())
        copies = copy_example(chosen, local_paths(settings), out)
        for path in copies:
            typer.echo(str(path))
        typer.echo(f"run it with: myosotis run {copies[0]}", err=True)
