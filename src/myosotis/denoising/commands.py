"""What the commands do with a file: read, denoise, write, tell."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from myosotis.denoising.channel import Channel, Symbols, read_channel
from myosotis.denoising.contexts import Context, Context1d, Context2d
from myosotis.denoising.denoiser_file import load_denoiser
from myosotis.denoising.files.dna import BASES, check_reads_suffix, read_reads, write_reads
from myosotis.denoising.files.images import check_suffix, read_bilevel, write_bilevel
from myosotis.denoising.files.output import check_output
from myosotis.denoising.files.symbols import read_symbols, write_symbols
from myosotis.denoising.methods import DenoiseResult, default_passes, denoise
from myosotis.denoising.summary import described, difference_picture, summarise
from myosotis.engine.errors import InputError, settings_as_input
from myosotis.engine.processes import device
from myosotis.report.document import Document

_FIRST_GUESS = 0.1


@dataclass(frozen=True)
class DenoiseOptions:
    """What all commands take.

    Attributes:
        rate: How often a symbol is replaced, by each of the others alike.
        channel: A file with the whole channel.
        estimate: Find the channel; ``rate`` is the first guess then.
        method: Its name; None: DUDE, or the model, adapted.
        model: A file that ``myosotis denoise train`` has made.
        context: k along a line, neighbours on a plane; None: chosen.
        epochs: Of networks; None: their default.
        seed: Of networks.
        reference: The clean original.
        report: A page about it; its figures go to a ``.json`` file beside.
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

    def check(self, source: Path, place: Path) -> None:
        """Raise ``InputError`` unless the results may be written."""
        reports = []
        if self.report is not None:
            if self.report.suffix != ".html":
                raise InputError(f"{self.report}: a report is an .html file")
            reports = [self.report, self.report.with_suffix(".json")]
        read = (self.reference, self.model, self.channel)
        check_output(source, [place, *reports], read, overwrite=self.overwrite)


@dataclass(frozen=True)
class FileResult:
    """A denoised file: figures for machines, and a report for people."""

    told: dict[str, Any]
    document: Document


def denoise_image(source: Path, place: Path, options: DenoiseOptions, *, threshold: int | None = None) -> FileResult:
    """Denoise a bilevel image.

    Args:
        source: PNG, PBM or TIFF.
        place: Where the result goes, in the same format.
        options: See there.
        threshold: For grey images, Otsu's unless given; colour images need it. The reference takes it where it is grey.

    Raises:
        InputError: Something is wrong with what the user gave; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, place)
    image = read_bilevel(source, threshold)
    check_suffix(place, image)
    reference = None
    if options.reference is not None:
        reference = read_bilevel(options.reference, threshold, strict=False).bits
    result, notes = _denoised(image.bits, options, ("black", "white"), None, symmetric=True)
    told = _told(image.bits, result, ("black", "white"), started, reference, image.how, notes)
    write_bilevel(place, result.symbols, image)
    pictures = [
        ("as it came", image.bits),
        ("denoised", result.symbols),
        ("difference", difference_picture(image.bits, result.symbols)),
    ]
    return FileResult(told, described(told, pictures=pictures))


def denoise_dna(source: Path, place: Path, options: DenoiseOptions) -> FileResult:
    """Denoise reads.

    Args:
        source: FASTA or FASTQ, plain or compressed.
        place: Where the result goes, in the same format; compressed as its name says.
        options: See there.

    Raises:
        InputError: Something is wrong with what the user gave; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, place)
    reads = read_reads(source)
    check_reads_suffix(place, reads)
    reference = None
    if options.reference is not None:
        clean = read_reads(options.reference)
        if [len(one.sequence) for one in clean.records] != [len(one.sequence) for one in reads.records]:
            raise InputError(f"{options.reference}: its sequences differ in number or length from those of {source}")
        if (clean.known != reads.known).any():
            raise InputError(f"{options.reference}: has N in other places than {source}")
        reference = clean.symbols
    result, notes = _denoised(reads.symbols, options, BASES, reads.lengths)
    how = f"{len(reads.records):,} sequences, {int((~reads.known).sum()):,} N left as they are"
    told = _told(reads.symbols, result, tuple(BASES), started, reference, how, notes)
    write_reads(place, result.symbols, reads)
    return FileResult(told, described(told))


def denoise_symbols(source: Path, place: Path, options: DenoiseOptions, *, alphabet: str | None = None) -> FileResult:
    """Denoise a text, a symbol a letter, or an array of whole numbers.

    Args:
        source: A text, or an ``.npy`` file.
        place: Where the result goes, in the same format.
        options: See there.
        alphabet: The letters, in the order of the channel.

    Raises:
        InputError: Something is wrong with what the user gave; nothing has been written.
    """
    started = time.monotonic()
    options.check(source, place)
    if (source.suffix == ".npy") != (place.suffix == ".npy"):
        raise InputError(f"{place}: the result has the format of {source}; name it alike")
    content = read_symbols(source, alphabet)
    reference = None
    if options.reference is not None:
        clean = read_symbols(options.reference, "".join(content.names) if content.lines is not None else alphabet)
        if clean.lines != content.lines:
            raise InputError(f"{options.reference}: its lines differ in number or length from those of {source}")
        reference = clean.symbols
    result, notes = _denoised(content.symbols, options, content.names, content.lengths)
    told = _told(content.symbols, result, content.names, started, reference, "", notes)
    write_symbols(place, result.symbols, content)
    return FileResult(told, described(told))


def _denoised(
    symbols: Symbols,
    options: DenoiseOptions,
    names: Sequence[str],
    lengths: list[int] | None,
    *,
    symmetric: bool = False,
) -> tuple[DenoiseResult, dict[str, Any]]:
    count = len(names)
    model, notes = None, dict[str, Any]()
    if options.model is not None:
        model, notes = load_denoiser(options.model, device=device())
        known = notes.get("names")
        if known is not None and list(known) != list(names):
            raise InputError(
                f"{options.model}: was trained for the alphabet {' '.join(known)}, these symbols are {' '.join(names)}"
            )
    method = options.method or ("adaptive" if model is not None else "dude")
    with settings_as_input():
        result = denoise(
            symbols,
            _channel(options, count),
            method,
            context=_context(options, symbols),
            model=model,
            unknown=options.estimate,
            symmetric=symmetric,
            passes=default_passes(method, options.epochs),
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
            raise InputError(f"{options.channel}: is a channel of {channel.outputs} symbols, there are {count}")
        return channel
    if options.rate is None and not options.estimate:
        raise InputError("the noise must be known: give a rate, a channel file or --estimate")
    return Channel.symmetric(count, _FIRST_GUESS if options.rate is None else options.rate)


def _context(options: DenoiseOptions, symbols: Symbols) -> Context | None:
    if options.context is None:
        return None
    shape: Callable[[int], Context] = Context1d if symbols.ndim == 1 else Context2d
    return shape(options.context)


def _told(
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
    clean = None if reference is None else np.asarray(reference)
    return summarise(noisy, result, names, started, reference=clean, read_as=read_as, notes=notes)
