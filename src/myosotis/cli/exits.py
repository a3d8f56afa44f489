"""Exit statuses: what a command ends with, and what it says then."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from myosotis.engine.errors import DivergedError, InputError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def exit_statuses(*, resumes: bool = True) -> Iterator[None]:
    """Turn bad input into one line and status 2; divergence, a full disk or an interruption into one and status 1.

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
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        where = "" if error.filename is None else f"{error.filename}: "
        typer.echo(f"error: {where}{error.strerror}{'; --resume continues the run' if resumes else ''}", err=True)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        typer.echo("interrupted" + ("; --resume continues the run" if resumes else ""), err=True)
        raise typer.Exit(1) from None
