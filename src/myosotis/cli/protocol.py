"""``myosotis protocol``: tune on one stream, evaluate on another."""

from myosotis.cli.jobs import ConfigFile, Out, Overrides, Overwrite, Resume, carry_out


def protocol(
    config: ConfigFile,
    set_: Overrides = None,
    out: Out = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
) -> None:
    """Tune continual learners on one stream, freeze the best trial of each, evaluate it on another, and report."""
    carry_out("protocol", config, set_, out, resume=resume, overwrite=overwrite)
