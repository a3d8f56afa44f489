"""``myosotis unlearn``: erase what a model should no longer know."""

import warnings
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import carry_out, say

unlearn = typer.Typer(help="Erase what a model should no longer know.", no_args_is_help=True)


@unlearn.command()
def language(
    config: Annotated[Path, typer.Argument(help="The job: a YAML file. See examples/ and the documentation.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.epochs=3. Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> unless given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run, or start a new one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    show_samples: Annotated[
        bool, typer.Option("--show-samples", help="Quote the forget records and the answers to them in the run.")
    ] = False,
) -> None:
    """Erase records from a causal language model, audit the result and write a report."""
    with exit_statuses():
        # Imported here, as torch and transformers take seconds to load and --help should not wait for them.
        # What libraries say to their developers is of no use to a user of a command.
        warnings.simplefilter("ignore", FutureWarning)
        import transformers

        transformers.utils.logging.disable_progress_bar()
        from myosotis.engine.config import load_config
        from myosotis.unlearning.language.config import LanguageUnlearningConfig, resolve_paths
        from myosotis.unlearning.language.job import LanguageUnlearningJob
        from myosotis.unlearning.language.report import describe

        settings = load_config(config, LanguageUnlearningConfig, set_ or [])
        settings = resolve_paths(settings, config.resolve().parent)
        job = LanguageUnlearningJob(
            settings,
            out if out is not None else Path("runs") / settings.name,
            resume=resume,
            overwrite=overwrite,
            show_samples=show_samples,
            say=say,
        )
        carry_out(job, describe)


@unlearn.command()
def classifier(
    config: Annotated[Path, typer.Argument(help="The job: a YAML file. See examples/ and the documentation.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a setting, e.g. audit.samples=1000. Repeatable."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run directory; runs/<name> unless given.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue an interrupted run, or start a new one.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is there.")] = False,
    show_samples: Annotated[
        bool, typer.Option("--show-samples", help="Put the forgotten images into the run and its report.")
    ] = False,
) -> None:
    """Make an image classifier forget single instances, audit the result and write a report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.engine.config import load_config
        from myosotis.unlearning.classifier.config import ClassifierUnlearningConfig, resolve_paths
        from myosotis.unlearning.classifier.job import ClassifierUnlearningJob
        from myosotis.unlearning.classifier.report import describe

        settings = load_config(config, ClassifierUnlearningConfig, set_ or [])
        settings = resolve_paths(settings, config.resolve().parent)
        job = ClassifierUnlearningJob(
            settings,
            out if out is not None else Path("runs") / settings.name,
            resume=resume,
            overwrite=overwrite,
            show_samples=show_samples,
            say=say,
        )
        carry_out(job, describe)
