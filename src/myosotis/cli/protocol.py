"""``myosotis protocol``: tune on one stream, evaluate on another."""

import warnings

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out


def protocol(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Tune continual learners on one stream, freeze the best trial of each, evaluate it on another, and report."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.protocol.config import ProtocolConfig, resolve_paths
        from myosotis.protocol.job import ProtocolJob
        from myosotis.protocol.report import describe

        carry_out(
            config,
            set_,
            out,
            ProtocolConfig,
            resolve_paths,
            ProtocolJob,
            describe,
            resume=resume,
            overwrite=overwrite,
        )
