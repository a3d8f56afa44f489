"""``myosotis denoise``: repair symbols that went through a noisy channel."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from myosotis.cli.exits import exit_statuses

if TYPE_CHECKING:
    from myosotis.denoising.commands import DenoiseOptions, FileResult

    Options: TypeAlias = Callable[[float | None], DenoiseOptions]

denoise = typer.Typer(help="Repair symbols that went through a noisy channel.", no_args_is_help=True)


Source = Annotated[Path, typer.Argument(metavar="IN", help="The noisy file.")]
Output = Annotated[Path, typer.Argument(metavar="OUT", help="The result, in the format of the input.")]


def _options(
    channel: Annotated[Path | None, typer.Option("--channel", help="The channel: one row per clean symbol.")] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Estimate the channel; a rate is then the initial guess.")
    ] = False,
    model: Annotated[
        Path | None, typer.Option("--model", help="A model of `denoise-train`; it is adapted to the input.")
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            "--method", help="See `myosotis methods`. Default: dude; for reads dude_loo; with a model adaptive."
        ),
    ] = None,
    context: Annotated[
        int | None, typer.Option("--context", min=1, help="Symbols on each side, or neighbours on a plane.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes of a network over the symbols.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of networks.")] = 0,
    reference: Annotated[Path | None, typer.Option(help="The clean original, for true error rates.")] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write a report to this .html file, its figures to .json.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
) -> Options:
    """What every command takes besides: all options but the rate."""
    given = dict(locals())
    from myosotis.denoising.commands import DenoiseOptions

    return partial(DenoiseOptions, **given)


def _command(denoised: Callable[..., FileResult]) -> Callable[..., None]:
    """The command of a function, whose ``options`` make, of a rate, the options that all commands share."""

    def command(**given: Any) -> None:
        with exit_statuses(resumes=False):
            report = given["report"]
            options = _options(**{name: given.pop(name) for name in shared})
            _report(denoised(**given, options=options), given["output"], report)

    of_checkers = {"FileResult": Any, "Options": Any}
    shared = inspect.signature(_options, eval_str=True, locals=of_checkers).parameters
    own = inspect.signature(denoised, eval_str=True, locals=of_checkers).parameters.values()
    named = inspect.Signature([*(one for one in own if one.name != "options"), *shared.values()])
    # What typer reads of a command.
    command.__doc__, command.__signature__ = denoised.__doc__, named  # type: ignore[attr-defined]
    command.__annotations__ = {name: one.annotation for name, one in named.parameters.items()}
    return denoise.command(denoised.__name__)(command)


@_command
def image(
    source: Source,
    output: Output,
    options: Options,
    flip_rate: Annotated[float | None, typer.Option(help="Probability that a pixel is flipped.")] = None,
    threshold: Annotated[
        int | None, typer.Option(min=0, max=255, help="For grey images, Otsu's unless given; colour images need it.")
    ] = None,
) -> FileResult:
    """Denoise a bilevel image: PNG, PBM or TIFF; a scan also as JPEG, whose result is PNG."""
    from myosotis.denoising.commands import denoise_image

    return denoise_image(source, output, options(flip_rate), threshold=threshold)


@_command
def dna(
    source: Source,
    output: Output,
    options: Options,
    substitution_rate: Annotated[float | None, typer.Option(help="Probability that a base is replaced.")] = None,
) -> FileResult:
    """Denoise reads with substitutions: FASTA or FASTQ; rows of a channel are A, C, G, T."""
    from myosotis.denoising.commands import denoise_dna

    return denoise_dna(source, output, options(substitution_rate))


@_command
def symbols(
    source: Source,
    output: Output,
    options: Options,
    alphabet: Annotated[str | None, typer.Option(help="The letters, in the order of the channel.")] = None,
    substitution_rate: Annotated[float | None, typer.Option(help="Probability that a symbol is replaced.")] = None,
) -> FileResult:
    """Denoise a text, a symbol a letter and a sequence a line, or whole numbers in an .npy file."""
    from myosotis.denoising.commands import denoise_symbols

    return denoise_symbols(source, output, options(substitution_rate), alphabet=alphabet)


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
