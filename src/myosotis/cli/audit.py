"""``myosotis audit``: look at the model of a finished run anew."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

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
        from myosotis.engine.run import Run
        from myosotis.jobs import JOBS

        result = Run.read(run).result()
        kind = JOBS["unlearn-learner" if result.get("kind") == "unlearn-learner" else "unlearn-classifier"]
        describe = kind.report_module().describe_audit
        again = _again(run, kind.job_class(), kind.schema(), describe, shadow)
        if not (again["model_matches"] and again["data_matches"] and again["reproduced"]):
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
        from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
        from myosotis.unlearning.language.job.job import LanguageUnlearningJob
        from myosotis.unlearning.language.job.report import describe_audit

        again = _again(run, LanguageUnlearningJob, LanguageUnlearningConfig, describe_audit, model)
        if not again["data_matches"] or (model is None and not (again["model_matches"] and again["reproduced"])):
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


def _again(run: Path, job: Any, schema: Any, describe: Callable[..., Any], choice: Any) -> dict[str, Any]:
    """Audit a finished run anew, write and print what was found, and return it.

    Args:
        run: The run.
        job: The class of its job, with ``audit_again``.
        schema: The class of its configuration.
        describe: Makes a document of the run and what was found.
        choice: Argument of ``audit_again``.
    """
    from myosotis.engine.config import load_config
    from myosotis.engine.errors import InputError
    from myosotis.engine.files import write_json
    from myosotis.engine.run import Run
    from myosotis.report.render import render_text

    warnings.simplefilter("ignore", FutureWarning)
    opened = Run.read(run)
    if opened.result().get("kind") != job.kind:
        raise InputError(f"{run}: is not a run of '{job.kind}'")
    config = load_config(run / "config.yaml", schema)
    with opened.locked():
        found: dict[str, Any] = job(config, run, say=say).audit_again(choice)
        write_json(run / "audit.json", found)
    typer.echo(render_text(describe(opened, found)))
    typer.echo(f"figures: {run / 'audit.json'}")
    return found
