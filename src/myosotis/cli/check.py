"""``myosotis check``: everything that a job checks before it works, and what it would do then."""

from time import monotonic
from typing import Annotated, Any

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, say


def check(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    time: Annotated[
        bool, typer.Option(help="Time a few steps on this machine to estimate the duration of the job.")
    ] = True,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print how much memory the job takes, by process, and do nothing else.")
    ] = False,
) -> None:
    """Check a configuration, its data and its models as the job would; say what would happen, and how long it takes.

    Jobs that forget also say how near what is to be forgotten is to what is to be kept. Nothing is
    written and nothing is trained.
    """
    began = monotonic()
    with exit_statuses(resumes=False):
        from myosotis.api import prepared, run_directory, settings_of
        from myosotis.engine.forecast import between, duration, job_seconds, phase_seconds
        from myosotis.engine.printable import printable
        from myosotis.engine.processes import device, is_main_process

        if plan:
            kind, settings = settings_of(config, set_ or ())
            lines = kind.planner()(settings, run_directory(settings, out))
            if is_main_process():
                typer.echo("\n".join(map(printable, lines)))
            return
        kind, settings, checked = prepared(config, out, set_ or ())
        lines = [f"valid: {config} is a configuration of '{kind.name}', and its inputs can be read"]
        method: Any = getattr(settings, "method", None)
        registry = getattr(type(method), "registry", None)
        if registry is not None:
            card = registry.card(method.name)
            lines.append(f"method: {card.title} ({card.name}); reads {card.reads}")
        lines.append(f"run directory: {run_directory(settings, out)}")
        for line in lines:
            typer.echo(printable(line))
        for line in checked.overlap():
            typer.echo(printable(line))
        prepared_in = monotonic() - began
        timed = []
        for phase in checked.phases() if time else ():
            say(f"timing {phase.name}")
            seconds = phase_seconds(phase)
            typer.echo(f"  {phase.name}: {phase.count:,} {phase.unit}, {duration(seconds)}")
            timed.append((phase, seconds))
        if timed:
            least, most = job_seconds(timed, prepared_in)
            typer.echo(f"{between(least, most)} on this machine ({device()}), if nothing else works on it")
