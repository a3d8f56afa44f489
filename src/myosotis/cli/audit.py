"""``myosotis audit``: look at the model of a finished run anew."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import say

audit = typer.Typer(help="Look at the model of a finished run anew.", no_args_is_help=True)


@audit.command()
def classifier(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of `unlearn-classifier`.")],
    shadow: Annotated[
        int | None,
        typer.Option(min=3, help="Pairs of shadow models to train; existing pairs are reused."),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Of a learner that forgets exactly: all images that it should have learned, a folder for each class.",
        ),
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="With --against: side that images are scaled to.")] = None,
) -> None:
    """Check a run's model against its report, optionally attack it with shadow models; writes RUN/audit.json.

    With --against, learn the images of a folder anew and compare the digests of sums and head: an auditor's check,
    whose figures go into RUN/audit.json too.
    """
    with exit_statuses():
        if against is not None or size is not None:
            _recompute(run, against, size, shadow)
            return
        from myosotis.engine.errors import InputError
        from myosotis.forgetting_learner.exact.job import is_exact

        if is_exact(run):
            raise InputError(f"{run}: forgets exactly, which is checked with --against FOLDER, the remaining images")
        found = _again(run, ("unlearn-classifier", "unlearn-learner"), shadow=shadow)
        if not (found["model_matches"] and found["data_matches"] and found["reproduced"]):
            raise typer.Exit(1)


@audit.command()
def language(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of `unlearn-language`.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Another model to measure, e.g. what the run's own became; a path or name."),
    ] = None,
) -> None:
    """Measure a run's model again, or another one on the same records, without training; writes RUN/audit.json."""
    with exit_statuses():
        from myosotis.engine.extras import require

        require("language", "myosotis audit language")
        found = _again(run, ("unlearn-language",), model=model)
        if not found["data_matches"] or (model is None and not (found["model_matches"] and found["reproduced"])):
            raise typer.Exit(1)


def _recompute(run: Path, folder: Path | None, size: int | None, shadow: int | None) -> None:
    """Compare an exact learner with what the images of a folder make, print it, and exit with 1 if they differ."""
    from myosotis.engine.errors import InputError

    if folder is None:
        raise InputError("--size belongs to --against")
    if shadow is not None:
        raise InputError("--shadow attacks a trained model; leave it out with --against")
    from myosotis.forgetting_learner.exact.job import audit_against
    from myosotis.forgetting_learner.exact.report import describe_audit

    found = audit_against(run, folder, size)
    typer.echo(describe_audit(found))
    if (run / "result.json").is_file():
        from myosotis.engine.files import write_json
        from myosotis.engine.run import Run

        if os.access(run, os.W_OK):
            with Run.read(run).locked():
                write_json(run / "audit.json", found)
            typer.echo(f"figures: {run / 'audit.json'}")
        else:
            say(f"{run}: cannot be written to, so the figures are in no file")
    if not found["equal"]:
        raise typer.Exit(1)


def _again(
    run: Path, jobs: Sequence[str], *, model: str | None = None, shadow: int | None = None
) -> Mapping[str, object]:
    """Audit a finished run of some jobs again, print what was found, and return it."""
    from myosotis.api import audit as audited
    from myosotis.engine.errors import InputError
    from myosotis.engine.run import Run

    if Run.read(run).result().get("kind") not in jobs:
        raise InputError(f"{run}: is not a run of {' or '.join(repr(name) for name in jobs)}")
    report = audited(run, model=model, shadow=shadow)
    typer.echo(str(report))
    typer.echo(f"figures: {run / 'audit.json'}")
    return report.found
