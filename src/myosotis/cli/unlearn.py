"""``myosotis unlearn``: erase what a model should no longer know."""

import warnings
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out

unlearn = typer.Typer(help="Erase what a model should no longer know.", no_args_is_help=True)


@unlearn.command()
def language(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
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
        from myosotis.unlearning.language.config import LanguageUnlearningConfig, resolve_paths
        from myosotis.unlearning.language.job import LanguageUnlearningJob
        from myosotis.unlearning.language.report import describe

        carry_out(
            config,
            set_,
            out,
            LanguageUnlearningConfig,
            resolve_paths,
            LanguageUnlearningJob,
            describe,
            resume=resume,
            overwrite=overwrite,
            show_samples=show_samples,
        )


@unlearn.command()
def classifier(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    show_samples: Annotated[
        bool, typer.Option("--show-samples", help="Put the forgotten images into the run and its report.")
    ] = False,
) -> None:
    """Make an image classifier forget single instances, audit the result and write a report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.unlearning.classifier.config import ClassifierUnlearningConfig, resolve_paths
        from myosotis.unlearning.classifier.job import ClassifierUnlearningJob
        from myosotis.unlearning.classifier.report import describe

        carry_out(
            config,
            set_,
            out,
            ClassifierUnlearningConfig,
            resolve_paths,
            ClassifierUnlearningJob,
            describe,
            resume=resume,
            overwrite=overwrite,
            show_samples=show_samples,
        )
