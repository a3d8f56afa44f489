"""Exit statuses: what a command ends with, and what it says then."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from myosotis.engine.errors import DivergedError, InputError


@contextmanager
def exit_statuses(*, resumes: bool = True) -> Iterator[None]:
    """Turn bad input into one line and status 2; a training that diverged, or an interruption, into one and status 1.

    Args:
        resumes: Whether the command can go on later.
    """
    try:
        yield
    except InputError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(2) from None
    except DivergedError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted" + ("; --resume continues the run" if resumes else ""), err=True)
        raise typer.Exit(1) from None
