"""``myosotis unlearn``: erase what a model should no longer know."""

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
        # Imported here, as it takes seconds to load and --help should not wait for it.
        import transformers

        transformers.utils.logging.disable_progress_bar()
    carry_out("unlearn language", config, set_, out, resume=resume, overwrite=overwrite, show_samples=show_samples)


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
    carry_out("unlearn classifier", config, set_, out, resume=resume, overwrite=overwrite, show_samples=show_samples)
