"""``myosotis init``: a first configuration for one's own folders and models."""

from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import JobName, say
from myosotis.jobs import job_named


def init(
    job: JobName,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATHS", help="Folders, files and models, see below. Default: data of the package."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="The configuration. Default: JOB.yaml.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Look at folders and models, and write a short configuration that runs as it is.

    \b
    unlearn-classifier     PHOTOS MODEL [TEST] [TRAIN]
    unlearn-exact          PHOTOS LEARNER [TEST] [TRAIN]
    unlearn-learner        PHOTOS RUN [TEST] [TRAIN]
    unlearn-language       MODEL FORGET.jsonl [RETAIN.jsonl] [UNSEEN.jsonl] [GENERAL.jsonl]
    learn-language         MODEL LEARN.jsonl [UNSEEN.jsonl] [GENERAL.jsonl]
    unlearn-adapters       RUN FORGET.jsonl [REMAINING.jsonl]
    meter                  [MODEL]
    learn-classes          FOLDER with a folder for each class, or with train/ and test/
    learn-representations  FOLDER, the same
    protocol               FOLDER, the same
    learn-segments         IMAGES MASKS
    pretrain               FOLDER of images, with or without classes
    pretrain-sweep         FOLDER with a folder for each class
    denoise-train          FILES: clean images, FASTA or FASTQ, or text

    Roles are told by names (forget, retain, test, train), else by this order. Nothing is asked, nothing is fetched.
    """
    with exit_statuses(resumes=False):
        import yaml

        from myosotis.engine.errors import InputError
        from myosotis.engine.files import write_text
        from myosotis.init.drafts import DRAFTS

        kind = job_named(job)
        target = out if out is not None else Path(f"{kind.name}.yaml")
        if target.is_dir():
            raise InputError(f"{target}: is a directory; --out names the file")
        if target.exists() and not overwrite:
            raise InputError(f"{target}: already exists; --overwrite replaces it, --out names another file")
        if not target.parent.is_dir():
            raise InputError(f"{target.parent}: no such directory")
        draft = DRAFTS[kind.name](paths or [], target.parent)
        # A draft that its job would refuse is a fault of this command, and not to be written.
        kind.schema().model_validate(yaml.safe_load(draft.text), context={"folder": target.parent.resolve()})
        write_text(target, draft.text)
        for remark in draft.remarks:
            say(remark)
        typer.echo(str(target))
        say(f"next: myosotis check {target}")
        say(f"then: myosotis run {target}")
