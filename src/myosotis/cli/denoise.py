"""``myosotis denoise``: repair symbols that went through a noisy channel."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from myosotis.cli.exits import exit_statuses
from myosotis.cli.jobs import job_command

if TYPE_CHECKING:
    from myosotis.denoising.commands import FileResult

denoise = typer.Typer(help="Repair symbols that went through a noisy channel.", no_args_is_help=True)


Source = Annotated[Path, typer.Argument(metavar="IN", help="The noisy file.")]
Output = Annotated[Path, typer.Argument(metavar="OUT", help="The result, in the format of the input.")]
ChannelFile = Annotated[Path | None, typer.Option("--channel", help="The channel: one row per clean symbol.")]
Estimate = Annotated[bool, typer.Option("--estimate", help="Estimate the channel; a rate is then the initial guess.")]
ModelFile = Annotated[
    Path | None, typer.Option("--model", help="A model of `denoise train`; it is adapted to the input.")
]
MethodName = Annotated[
    str | None,
    typer.Option("--method", help="See `myosotis methods`. Default: dude, or adaptive with a model."),
]
ContextSize = Annotated[
    int | None,
    typer.Option("--context", min=1, help="Symbols on each side, or neighbours on a plane."),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="Passes of a network over the symbols.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of networks.")]
Reference = Annotated[Path | None, typer.Option(help="The clean original, for true error rates.")]
Report = Annotated[Path | None, typer.Option(help="Write a report to this .html file, its figures to .json.")]
OverwriteFile = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


@denoise.command()
def image(
    source: Source,
    output: Output,
    flip_rate: Annotated[float | None, typer.Option(help="Probability that a pixel is flipped.")] = None,
    channel: ChannelFile = None,
    estimate: Estimate = False,
    threshold: Annotated[
        int | None, typer.Option(min=0, max=255, help="For grey images, Otsu's unless given; colour images need it.")
    ] = None,
    model: ModelFile = None,
    method: MethodName = None,
    context: ContextSize = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    reference: Reference = None,
    report: Report = None,
    overwrite: OverwriteFile = False,
) -> None:
    """Denoise a bilevel image: PNG, PBM or TIFF."""
    with exit_statuses(resumes=False):
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.denoising.commands import DenoiseOptions, denoise_image

        options = DenoiseOptions(
            flip_rate, channel, estimate, method, model, context, epochs, seed, reference, report, overwrite
        )
        _report(denoise_image(source, output, options, threshold=threshold), output, report)


@denoise.command()
def dna(
    source: Source,
    output: Output,
    substitution_rate: Annotated[float | None, typer.Option(help="Probability that a base is replaced.")] = None,
    channel: ChannelFile = None,
    estimate: Estimate = False,
    model: ModelFile = None,
    method: MethodName = None,
    context: ContextSize = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    reference: Reference = None,
    report: Report = None,
    overwrite: OverwriteFile = False,
) -> None:
    """Denoise reads with substitutions: FASTA or FASTQ; rows of a channel are A, C, G, T."""
    with exit_statuses(resumes=False):
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.denoising.commands import DenoiseOptions, denoise_dna

        options = DenoiseOptions(
            substitution_rate, channel, estimate, method, model, context, epochs, seed, reference, report, overwrite
        )
        _report(denoise_dna(source, output, options), output, report)


@denoise.command()
def symbols(
    source: Source,
    output: Output,
    alphabet: Annotated[str | None, typer.Option(help="The letters, in the order of the channel.")] = None,
    substitution_rate: Annotated[float | None, typer.Option(help="Probability that a symbol is replaced.")] = None,
    channel: ChannelFile = None,
    estimate: Estimate = False,
    model: ModelFile = None,
    method: MethodName = None,
    context: ContextSize = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    reference: Reference = None,
    report: Report = None,
    overwrite: OverwriteFile = False,
) -> None:
    """Denoise a text, a symbol a letter and a sequence a line, or whole numbers in an .npy file."""
    with exit_statuses(resumes=False):
        warnings.simplefilter("ignore", FutureWarning)
        from myosotis.denoising.commands import DenoiseOptions, denoise_symbols

        options = DenoiseOptions(
            substitution_rate, channel, estimate, method, model, context, epochs, seed, reference, report, overwrite
        )
        _report(denoise_symbols(source, output, options, alphabet=alphabet), output, report)


denoise.command("train")(job_command("denoise train"))


def _report(result: FileResult, output: Path, report: Path | None) -> None:
    from myosotis.engine.files import write_json
    from myosotis.report.render import render_text, write_html

    if report is not None:
        write_html(result.document, report)
        write_json(report.with_suffix(".json"), result.figures)
    typer.echo(render_text(result.document))
    for warning in result.figures["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"context: {result.figures['context']}; {result.figures['seconds']:.1f} seconds")
    typer.echo(f"result: {output}")
    if report is not None:
        typer.echo(f"report: {report}")
