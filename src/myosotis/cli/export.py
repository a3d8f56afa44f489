"""``myosotis export``: a model in the format of others."""

from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses


def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run of `learn-language` or `unlearn-adapters`.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIRECTORY", help="New directory: a folder for each subject.")],
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the server calls the model. Default: as the run does.")
    ] = None,
) -> None:
    """Write the adapter of each subject in the format of PEFT, which transformers and vLLM read."""
    with exit_statuses(resumes=False):
        from myosotis.api import load
        from myosotis.engine.extras import require

        require("language", "myosotis export")
        from myosotis.forgetting_learner.adapters.export import export_adapters
        from myosotis.forgetting_learner.adapters.saved import learner_folder

        count = export_adapters(load(learner_folder(run, "RUN")), out, base)
        typer.echo(f"adapters: {count}, in {out}")
