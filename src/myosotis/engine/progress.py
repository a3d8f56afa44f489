"""Progress that is seen: a bar in a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from myosotis.engine.printable import printable
from myosotis.engine.processes import is_main_process

_LINE_EVERY_SECONDS = 10.0
_BAR_AFTER_SECONDS = 0.5
_hidden = ContextVar("hidden", default=False)


def say(line: str) -> None:
    """Print a line about what is going on to standard error, once for all processes."""
    if is_main_process() and not _hidden.get():
        print(printable(line), file=sys.stderr, flush=True)


class Ticker:
    """Counts the steps of one piece of work; made by :func:`progress`."""

    def __init__(self, description: str, total: int | None, bar: Progress | None) -> None:
        self._description = description
        self._total = total
        self._bar = bar
        self._task = None if bar is None else bar.add_task(description, total=total)
        self._done = 0
        self._last_line = self._began = time.monotonic()

    def expect(self, steps: int) -> None:
        """Add ``steps`` to the total: work that turns out to be needed."""
        self._total = (self._total or 0) + steps
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, total=self._total)

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Count ``steps`` more; ``note`` is shown behind the description, e.g. the present loss."""
        self._done += steps
        text = f"{self._description} {note}".rstrip()
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=steps, description=text)
            if not self._bar.live.is_started and time.monotonic() - self._began > _BAR_AFTER_SECONDS:
                self._bar.start()
        elif not _hidden.get() and time.monotonic() - self._last_line > _LINE_EVERY_SECONDS:
            self._last_line = time.monotonic()
            print(f"  {text}: {self._done}/{self._total or '?'}", file=sys.stderr, flush=True)


@contextmanager
def progress(description: str, total: int | None = None) -> Iterator[Ticker]:
    """Show the progress of a piece of work on standard error.

    Args:
        description: What is being done, in a few words.
        total: How many steps there are, or None when that is not known.

    Yields:
        A :class:`Ticker` whose ``advance`` is called at every step. A bar appears after half a second, without a
        terminal a line every ten seconds, so that short work stays silent.
    """
    console = Console(stderr=True)
    if _hidden.get() or not console.is_terminal:
        yield Ticker(description, total, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    bar = Progress(*columns, console=console, transient=True)
    try:
        yield Ticker(description, total, bar)
    finally:
        if bar.live.is_started:
            bar.stop()


@contextmanager
def hidden_progress() -> Iterator[None]:
    """Show no progress and say nothing while this is open, in this thread."""
    before = _hidden.set(True)
    try:
        yield
    finally:
        _hidden.reset(before)
