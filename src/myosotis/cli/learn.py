"""``myosotis learn``: learn new things without forgetting the old ones."""

import warnings

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out

learn = typer.Typer(help="Learn new things without forgetting the old ones.", no_args_is_help=True)


@learn.callback()
def _learn() -> None:
    """Learn new things without forgetting the old ones."""


@learn.command()
def classes(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn classes task by task, measure after each, and write a report."""
    with exit_statuses():
        # What libraries say to their developers is of no use to a user of a command.
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.continual.classification.config import ClassLearningConfig, resolve_paths
        from myosotis.continual.classification.job import ClassLearningJob
        from myosotis.continual.classification.report import describe

        carry_out(
            config,
            set_,
            out,
            ClassLearningConfig,
            resolve_paths,
            ClassLearningJob,
            describe,
            resume=resume,
            overwrite=overwrite,
        )


@learn.command()
def segments(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn to segment classes task by task, measure after each, and write a report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.continual.segmentation.config import SegmentLearningConfig, resolve_paths
        from myosotis.continual.segmentation.job import SegmentLearningJob
        from myosotis.continual.segmentation.report import describe

        carry_out(
            config,
            set_,
            out,
            SegmentLearningConfig,
            resolve_paths,
            SegmentLearningJob,
            describe,
            resume=resume,
            overwrite=overwrite,
        )


@learn.command()
def representations(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Learn representations from a stream without labels, measure after each task, and write a report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.continual.selfsupervised.config import RepresentationConfig, resolve_paths
        from myosotis.continual.selfsupervised.job import RepresentationJob
        from myosotis.continual.selfsupervised.report import describe

        carry_out(
            config,
            set_,
            out,
            RepresentationConfig,
            resolve_paths,
            RepresentationJob,
            describe,
            resume=resume,
            overwrite=overwrite,
        )
