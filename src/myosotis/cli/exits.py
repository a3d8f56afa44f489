"""Exit statuses: what a command ends with, and what it says then."""

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import typer
from safetensors import SafetensorError

from myosotis.engine.errors import DivergedError, InputError
from myosotis.engine.printable import printable

_NO_READER = 128 + 13
"""What shells report of SIGPIPE, which not every system has."""


class _TerminatedError(BaseException):
    """SIGTERM: like an interruption, it passes every handler of errors."""


@contextmanager
def exit_statuses(*, resumes: bool = True) -> Iterator[None]:
    """End a command with one line where the cause is not a fault of the program.

    Status 2: the input is wrong. Status 1: the training diverged, or the system refused (a full disk, no memory, a
    directory that is read-only or gone). Status 130 and 143: somebody interrupted or terminated the command, as shells
    report it; 141: nobody reads what it prints any more. Every other exception is a fault of the program and keeps its
    traceback.

    Args:
        resumes: Whether the command can go on later.
    """
    hint = "; --resume continues the run" if resumes else ""
    # What libraries say to their developers is of no use to a user of a command.
    warnings.simplefilter("ignore", FutureWarning)
    try:
        with _terminated():
            yield
    except InputError as error:
        _end(f"error: {error}", 2)
    except DivergedError as error:
        _end(f"error: {error}", 1)
    except BrokenPipeError:
        # Whoever read what is printed has gone, as `head` does; what is left to print goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(_NO_READER) from None
    except OSError as error:
        _end(f"error: {_of_system(error)}{hint}", 1)
    except MemoryError as error:
        _end(f"error: out of memory{f': {error}' if str(error) else ''}{hint}", 1)
    except (SafetensorError, RuntimeError) as error:
        reason = _of_library(error)
        if reason is None:
            raise
        _end(f"error: {reason}{hint}", 1)
    except KeyboardInterrupt:
        _end(f"interrupted{hint}", 128 + signal.SIGINT)
    except _TerminatedError:
        _end(f"terminated{hint}", 128 + signal.SIGTERM)


def _end(line: str, status: int) -> NoReturn:
    typer.echo(printable(" ".join(line.split())), err=True)
    raise typer.Exit(status) from None


@contextmanager
def _terminated() -> Iterator[None]:
    """Raise on SIGTERM inside; only the main thread receives signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> NoReturn:
        raise _TerminatedError

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _of_system(error: OSError) -> str:
    """What the system refused, and which file it was about."""
    if error.strerror is None:
        return str(error) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([*names, error.strerror])


def _of_library(error: SafetensorError | RuntimeError) -> str | None:
    """What a library that hides the system's error could not do; None where it says something else."""
    text = str(error)
    if isinstance(error, SafetensorError) and "os error" in text:
        return f"weights cannot be written or read: {text}"
    moved = "inline_container.cc" in text and "unexpected pos" in text
    if "PytorchStreamWriter failed" in text or "basic_ios::clear: iostream error" in text or moved:
        return "a checkpoint cannot be written; is the disk full?"
    if "gloo/transport" in text:
        return "the connection to another process of the job was lost"
    return None
