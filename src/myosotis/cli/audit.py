"""``myosotis audit``: look at the model of a finished run anew."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import say

audit = typer.Typer(help="Look at the model of a finished run anew.", no_args_is_help=True)


@audit.command()
def classifier(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of `myosotis unlearn classifier`.")],
    shadow: Annotated[
        int | None,
        typer.Option(min=3, help="Pairs of shadow models to train; existing pairs are reused."),
    ] = None,
) -> None:
    """Check a run's model against its report, optionally attack it with shadow models; writes RUN/audit.json."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.engine.config import load_config
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_json
        from myosotis.engine.run import Run
        from myosotis.report.render import render_text
        from myosotis.unlearning.classifier.job.config import ClassifierUnlearningConfig
        from myosotis.unlearning.classifier.job.job import ClassifierUnlearningJob
        from myosotis.unlearning.classifier.job.report import describe_audit

        opened = Run.read(run)
        if opened.result().get("kind") != ClassifierUnlearningJob.kind:
            raise InputError(f"{run}: is not a run of 'unlearn classifier'")
        config = load_config(run / "config.yaml", ClassifierUnlearningConfig)
        job = ClassifierUnlearningJob(config, run, say=say)
        with opened.locked():
            audit = job.audit_again(shadow)
            write_json(run / "audit.json", audit)
        typer.echo(render_text(describe_audit(opened, audit)))
        typer.echo(f"figures: {run / 'audit.json'}")
        if not (audit["model_matches"] and audit["data_matches"] and audit["reproduced"]):
            raise typer.Exit(1)


@audit.command()
def language(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of `myosotis unlearn language`.")],
    model: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Another model to measure, e.g. what the run's own became; a path or name."),
    ] = None,
) -> None:
    """Measure a run's model again, or another one on the same records, without training; writes RUN/audit.json."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.engine.extras import require

        require("language", "myosotis audit language")
        from myosotis.engine.config import load_config
        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_json
        from myosotis.engine.run import Run
        from myosotis.report.render import render_text
        from myosotis.unlearning.language.job.config import LanguageUnlearningConfig
        from myosotis.unlearning.language.job.job import LanguageUnlearningJob
        from myosotis.unlearning.language.job.report import describe_audit

        opened = Run.read(run)
        if opened.result().get("kind") != LanguageUnlearningJob.kind:
            raise InputError(f"{run}: is not a run of 'unlearn language'")
        config = load_config(run / "config.yaml", LanguageUnlearningConfig)
        job = LanguageUnlearningJob(config, run, say=say)
        with opened.locked():
            audit = job.audit_again(model)
            write_json(run / "audit.json", audit)
        typer.echo(render_text(describe_audit(opened, audit)))
        typer.echo(f"figures: {run / 'audit.json'}")
        if not audit["data_matches"] or (model is None and not (audit["model_matches"] and audit["reproduced"])):
            raise typer.Exit(1)
