"""A first configuration of ``denoise-train``."""

from collections.abc import Sequence
from pathlib import Path

from myosotis.data.image_files import SUFFIXES, files_below
from myosotis.engine.errors import InputError
from myosotis.init.draft import Draft, quoted, run_name, shown_path

_DNA = (".fa", ".fasta", ".fq", ".fastq", ".fna")
_TEXT = (".txt", ".md", ".csv")
_LETTERS = 60
"""Distinct letters above which a text is not an alphabet."""


def draft_denoiser_training(paths: Sequence[Path], folder: Path) -> Draft:
    """Return a first configuration of ``denoise-train``.

    Args:
        paths: Clean files of one kind: images or folders of them, FASTA or FASTQ files, or text files.
        folder: Folder of the configuration.

    Raises:
        InputError: There are none, they are of several kinds, or of none.
    """
    if not paths:
        raise InputError("'denoise-train' starts from clean files: images, FASTA or FASTQ, or text")
    kinds = {_kind(path) for path in paths}
    if len(kinds) > 1:
        raise InputError(f"clean files must be of one kind, these are {' and '.join(sorted(kinds))}")
    kind = kinds.pop()
    shown = quoted([shown_path(path, folder) for path in paths])
    alphabet = ""
    if kind == "text":
        alphabet = f"\n  alphabet: {quoted(_alphabet(paths))}"
    model = "neighbours: 24" if kind == "images" else "half_width: 10"
    body = f"""
data:
  {kind}: {shown}{alphabet}

# Rates of the noise that the denoiser is for: each sequence and pass draws its own.
noise: {{between: [0.02, 0.2]}}

model: {{{model}}}
training: {{epochs: 6}}
"""
    return Draft("denoise-train", run_name("denoise", paths[0].resolve().stem), body, (f"Clean {kind}: {len(paths)}.",))


def _kind(path: Path) -> str:
    if path.is_dir() and files_below(path):
        return "images"
    if not path.is_file():
        raise InputError(f"{path}: {'holds no image' if path.is_dir() else 'no such file'}")
    suffixes = [suffix.lower() for suffix in path.suffixes]
    last = next((suffix for suffix in reversed(suffixes) if suffix not in (".gz", ".bz2", ".xz")), "")
    for kind, known in (("images", (*SUFFIXES, ".pbm", ".pgm")), ("dna", _DNA), ("text", _TEXT)):
        if last in known:
            return kind
    raise InputError(f"{path}: is not an image, FASTA, FASTQ or .txt file")


def _alphabet(paths: Sequence[Path]) -> str:
    letters: set[str] = set()
    for path in paths:
        try:
            letters |= set(path.read_text("utf-8")) - {"\n", "\r"}
        except UnicodeDecodeError:
            raise InputError(f"{path}: is not UTF-8 text") from None
    if not 2 <= len(letters) <= _LETTERS:
        raise InputError(f"the texts have {len(letters)} different letters; expected 2 to {_LETTERS}")
    return "".join(sorted(letters))
