"""The commands on a file: read, denoise, write, report."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from myosotis.denoising.channel import Channel, Symbols, read_channel
from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.denoiser_file import load_denoiser
from myosotis.denoising.files.dna import BASES, Reads, check_reads_suffix, read_reads, write_reads
from myosotis.denoising.files.images import check_suffix, read_bilevel, write_bilevel
from myosotis.denoising.files.output import check_output
from myosotis.denoising.files.symbols import read_symbols, write_symbols
from myosotis.denoising.methods import METHODS, DenoiseResult, denoise
from myosotis.denoising.methods.dude import DUDE, many_contexts, streamed_candidates
from myosotis.denoising.methods.method import loss_as_seen
from myosotis.denoising.streamed_counting import StreamedDUDE, streamed_dude
from myosotis.denoising.summary import Tally, described, difference_picture, summarise
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.processes import device
from myosotis.report.document import Document

_FIRST_GUESS = 0.1
_FOR_READS = "dude_loo"
"""Method of reads: copies of one sequence, whose errors stand alone in their contexts and would vote for themselves."""


@dataclass(frozen=True)
class DenoiseOptions:
    """Options of all commands.

    Attributes:
        rate: Probability that a symbol is replaced, by each of the others equally.
        channel: A file with the whole channel.
        estimate: Whether to estimate the channel; ``rate`` is the first guess then.
        method: Name of the method; None: DUDE, of reads without each symbol itself, or the model, adapted.
        model: A file that ``denoise-train`` has made.
        context: k along a line, neighbours on a plane; None: chosen.
        epochs: Epochs of networks; None: their default.
        seed: Seed of networks.
        reference: The clean original.
        report: An ``.html`` file for the report; its figures go to a ``.json`` file beside it.
        overwrite: Replace results that are there.
    """

    rate: float | None = None
    channel: Path | None = None
    estimate: bool = False
    method: str | None = None
    model: Path | None = None
    context: int | None = None
    epochs: int | None = None
    seed: int = 0
    reference: Path | None = None
    report: Path | None = None
    overwrite: bool = False

    def check(self, source: Path, output: Path) -> None:
        """Raise ``InputError`` unless the results may be written."""
        reports = []
        if self.report is not None:
            if self.report.suffix != ".html":
                raise InputError(f"{self.report}: a report is an .html file")
            reports = [self.report, self.report.with_suffix(".json")]
        read = (self.reference, self.model, self.channel)
        check_output(source, [output, *reports], read, overwrite=self.overwrite)


@dataclass(frozen=True)
class FileResult:
    """A denoised file: figures for machines, and a report for people."""

    figures: dict[str, Any]
    document: Document


def denoise_image(source: Path, output: Path, options: DenoiseOptions, *, threshold: int | None = None) -> FileResult:
    """Denoise a bilevel image.

    Args:
        source: PNG, PBM or TIFF.
        output: File of the result, in the same format.
        options: Options of the command.
        threshold: Threshold of grey images, Otsu's unless given; colour images need it. It holds for a grey
            reference, too.

    Raises:
        InputError: An input or option is wrong; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, output)
    image = read_bilevel(source, threshold)
    check_suffix(output, image)
    reference = None
    if options.reference is not None:
        reference = read_bilevel(options.reference, threshold, strict=False).bits
    result, notes = _denoised(image.bits, options, ("black", "white"), None, symmetric=True)
    figures = _figures(source, image.bits, result, ("black", "white"), started, reference, image.how, notes)
    write_bilevel(output, result.symbols, image)
    pictures = {
        "The input.": image.bits,
        "The result.": result.symbols,
        "What differs: black for what became black, orange for what became white.": difference_picture(
            image.bits, result.symbols
        ),
    }
    return FileResult(figures, described(figures, pictures=pictures))


def denoise_dna(source: Path, output: Path, options: DenoiseOptions) -> FileResult:
    """Denoise reads.

    Args:
        source: FASTA or FASTQ, plain or compressed.
        output: File of the result, in the same format; compressed according to its name.
        options: Options of the command.

    Raises:
        InputError: An input or option is wrong; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, output)
    reads = read_reads(source)
    check_reads_suffix(output, reads)
    reference = None if options.reference is None else read_reads(options.reference)
    if reference is not None:
        _check_reference(reads, reference)
    how = f"{reads.sequences:,} sequences, {reads.unknown:,} N left as they are"
    streamed = _streamed(reads, options)
    if streamed is not None:
        tally = Tally(len(BASES))
        write_reads(output, _denoised_parts(reads, reference, streamed, tally), reads)
        figures = summarise(tally, streamed.result, tuple(BASES), started, file=source.name, read_as=how)
        return FileResult(figures, described(figures))
    symbols, lengths = reads.load()
    result, notes = _denoised(symbols, options, BASES, lengths, default=_FOR_READS)
    clean = None if reference is None else reference.load()[0]
    figures = _figures(source, symbols, result, tuple(BASES), started, clean, how, notes)
    write_reads(output, [result.symbols], reads)
    return FileResult(figures, described(figures))


@dataclass(frozen=True)
class _Streamed:
    """Rules of DUDE for sequences that are not in memory, and the result but for its symbols."""

    rules: StreamedDUDE
    result: DenoiseResult


def _streamed(reads: Reads, options: DenoiseOptions) -> _Streamed | None:
    """DUDE for sequences that are too many to hold; None for fewer, and for other methods."""
    if options.model is not None or options.estimate or options.epochs is not None:
        return None
    with settings_as_input():
        method, channel = METHODS.build(options.method or _FOR_READS), _channel(options, len(BASES))
        given = None if options.context is None else Context1d(options.context)
        candidates = streamed_candidates(given, reads.bases, reads.longest, len(BASES))
    if not isinstance(method, DUDE) or not candidates:
        return None
    parts = ((part.symbols, part.lengths) for part in reads.parts())
    rules = streamed_dude(parts, channel, candidates, reads.bases, leave_one_out=method.leave_one_out)
    result = DenoiseResult(
        np.empty(0, dtype=np.uint8),
        method.card.name,
        rules.context,
        {} if given is not None else rules.estimates,
        channel,
        loss_as_seen(rules.counts, channel),
        rules.estimates[rules.context],
        rules.standard_error,
        list(many_contexts(rules.contexts, reads.bases)),
    )
    return _Streamed(rules, result)


def _denoised_parts(
    reads: Reads, reference: Reads | None, streamed: _Streamed, tally: Tally
) -> Iterator[NDArray[np.uint8]]:
    """Denoised symbols part by part; what became of them is counted on the way."""
    for part, clean in zip_longest(reads.parts(), () if reference is None else reference.parts()):
        symbols = part.symbols
        denoised = streamed.rules.denoise(symbols, part.lengths)
        tally.add(symbols, denoised, None if clean is None else clean.symbols)
        yield denoised


def _check_reference(reads: Reads, reference: Reads) -> None:
    """Raise ``InputError`` unless sequences of a reference are as long as those of a file, and have N where they do."""
    for part, clean in zip_longest(reads.parts(), reference.parts()):
        if part is None or clean is None or not np.array_equal(part.sizes, clean.sizes):
            raise InputError(f"{reference.path}: its sequences differ in number or length from those of {reads.path}")
        if (part.known != clean.known).any():
            raise InputError(f"{reference.path}: has N at other positions than {reads.path}")


def denoise_symbols(source: Path, output: Path, options: DenoiseOptions, *, alphabet: str | None = None) -> FileResult:
    """Denoise a text, a symbol a letter, or an array of whole numbers.

    Args:
        source: A text, or an ``.npy`` file.
        output: File of the result, in the same format.
        options: Options of the command.
        alphabet: The letters, in the order of the channel.

    Raises:
        InputError: An input or option is wrong; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, output)
    if (source.suffix == ".npy") != (output.suffix == ".npy"):
        raise InputError(f"{output}: the result has the format of {source}; use the same suffix")
    content = read_symbols(source, alphabet)
    reference = None
    if options.reference is not None:
        clean = read_symbols(options.reference, "".join(content.names) if content.lines is not None else alphabet)
        if clean.lines != content.lines:
            raise InputError(f"{options.reference}: its lines differ in number or length from those of {source}")
        reference = clean.symbols
    result, notes = _denoised(content.symbols, options, content.names, content.lengths)
    figures = _figures(source, content.symbols, result, content.names, started, reference, "", notes)
    write_symbols(output, result.symbols, content)
    return FileResult(figures, described(figures))


def _denoised(
    symbols: Symbols,
    options: DenoiseOptions,
    names: Sequence[str],
    lengths: Sequence[int] | None,
    *,
    symmetric: bool = False,
    default: str = "dude",
) -> tuple[DenoiseResult, dict[str, Any]]:
    count = len(names)
    model, notes = None, dict[str, Any]()
    if options.model is not None:
        model, notes = load_denoiser(options.model, device=device())
        trained = notes.get("names")
        if trained is not None and list(trained) != list(names):
            raise InputError(
                f"{options.model}: was trained for the alphabet {' '.join(trained)}, "
                f"these symbols are {' '.join(names)}"
            )
    with settings_as_input():
        method = METHODS.build(options.method or ("adaptive" if model is not None else default))
        epochs = options.epochs
        result = denoise(
            symbols,
            _channel(options, count),
            method,
            context=_context(options, symbols),
            model=model,
            unknown=options.estimate,
            symmetric=symmetric,
            passes=None if epochs is None else method.passes.model_copy(update={"epochs": epochs}),
            lengths=lengths,
            seed=options.seed,
            device=device(),
        )
    return result, notes


def _channel(options: DenoiseOptions, count: int) -> Channel:
    if options.channel is not None:
        if options.rate is not None or options.estimate:
            raise InputError("give a rate, a channel file or --estimate")
        channel = read_channel(options.channel)
        if (channel.inputs, channel.outputs) != (count, count):
            raise InputError(f"{options.channel}: is a channel of {channel.outputs} symbols, expected {count}")
        return channel
    if options.rate is None and not options.estimate:
        raise InputError("the noise is not known: give a rate, a channel file or --estimate")
    return Channel.symmetric(count, _FIRST_GUESS if options.rate is None else options.rate)


def _context(options: DenoiseOptions, symbols: Symbols) -> Context | None:
    if options.context is None:
        return None
    shape: Callable[[int], Context] = Context1d if symbols.ndim == 1 else Context2d
    return shape(options.context)


def _figures(
    source: Path,
    noisy: Symbols,
    result: DenoiseResult,
    names: Sequence[str],
    started: float,
    reference: Symbols | None,
    read_as: str,
    notes: dict[str, Any],
) -> dict[str, Any]:
    if reference is not None and reference.shape != noisy.shape:
        raise InputError(f"the reference has the shape {reference.shape}, the input {noisy.shape}")
    tally = Tally(len(names))
    tally.add(noisy, result.symbols, None if reference is None else np.asarray(reference))
    return summarise(tally, result, names, started, file=source.name, read_as=read_as, notes=notes)
