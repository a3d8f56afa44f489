"""``myosotis probe``: what the encoders of a continual run know."""

import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import say


class ProbeMode(StrEnum):
    """What probes are fitted on."""

    full = "full"
    balanced = "balanced"


def probe(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run of `learn-classes`.")],
    mode: Annotated[
        ProbeMode, typer.Option(help="Fit on all training samples, or on a few of each class.")
    ] = ProbeMode.full,
    per_class: Annotated[int, typer.Option(min=2, help="Samples of each class for --mode balanced.")] = 20,
    neighbours: Annotated[int, typer.Option(min=1, help="k of the nearest-neighbour probe.")] = 20,
    naive: Annotated[
        Path | None, typer.Option(help="A probed run of plain fine-tuning; its gain is subtracted.")
    ] = None,
    downstream: Annotated[
        list[Path] | None,
        typer.Option(help="Other data: a directory with train/<class>/* and test/<class>/*. Repeatable."),
    ] = None,
) -> None:
    """Measure the frozen encoders of a run after each task; writes RUN/probe.json and RUN/probe.html."""
    with exit_statuses():
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.continual.classification.probe_report import describe_probe
        from myosotis.continual.classification.probing import probe_run
        from myosotis.engine.files import write_json
        from myosotis.engine.processes import device
        from myosotis.engine.run import Run
        from myosotis.report.render import render_text, write_html

        opened = Run.read(run)
        probe = probe_run(
            opened,
            mode=mode.value,
            per_class=per_class,
            neighbours=neighbours,
            naive=None if naive is None else Run.read(naive),
            downstream=downstream or (),
            device=device(),
            say=say,
        )
        write_json(run / "probe.json", probe)
        document = describe_probe(opened, probe)
        write_html(document, run / "probe.html")
        typer.echo(render_text(document))
        typer.echo(f"report: {run / 'probe.html'}")
