"""DNA files and back, to the letter."""

import bz2
import gzip
import lzma

import numpy as np
import pytest

from myosotis.denoising.files.dna import check_reads_suffix, read_reads, write_reads
from myosotis.engine.errors import InputError

FASTA = {
    "plain": ">r1 a remark\nACGTN\nAC\n>r2\nacgtnnac\n",
    "crlf": ">r1\r\nACGTN\r\nAC\r\n",
    "blank lines": "\n>r1\nACGT\n\nAC\n\n>r2\nAC\n\n\n",
    "remarks": "# first\n>r1\nACGT\n#x\nAC\n# last",
    "spaces": ">r1\n  ACGT  \nAC\t\n",
    "no last end": ">r1\nACGT\nAC",
    "empty records": ">r1\n>r2\nACGT\n>r3\n",
}
FASTQ = {
    "plain": "@r1 x\nACGTN\n+\nIIII!\n@r2\nAC\n+\nII\n",
    "two names": "@r1 x\nACGTN\n+r1 x\nIIII!\n@r2\nAC\n+r2\nII\n",
    "crlf": "@r1\r\nACGTN\r\n+\r\nIIII!\r\n",
    "a lone carriage return in a name": "@r1\rx\nACGT\n+\nIIII\n@r2\rACGT\r\nAC\n+\nII\n",
    "many of them": "@r1\rx\ry\rz\rw\nACGT\n+\nIIII\n@r2\nACGT\n+\nIIII\n",
}


@pytest.mark.parametrize("part", [1, 6, 1 << 20])
@pytest.mark.parametrize("text", FASTA.values(), ids=FASTA)
def test_fasta_is_written_as_it_was_read(text, part, tmp_path, monkeypatch):
    """Remarks, empty lines, spaces and CRLF used to be lost."""
    monkeypatch.setattr("myosotis.denoising.files.dna._PART", part)
    (tmp_path / "a.fa").write_bytes(text.encode())
    reads = read_reads(tmp_path / "a.fa")
    assert not reads.qualities
    write_reads(tmp_path / "b.fa", [reads.load()[0]], reads)
    assert (tmp_path / "b.fa").read_bytes() == text.encode()


@pytest.mark.parametrize("part", [1, 6, 1 << 20])
@pytest.mark.parametrize("text", FASTQ.values(), ids=FASTQ)
def test_fastq_is_written_as_it_was_read(text, part, tmp_path, monkeypatch):
    """The second name and CRLF used to be lost."""
    monkeypatch.setattr("myosotis.denoising.files.dna._PART", part)
    (tmp_path / "a.fq").write_bytes(text.encode())
    reads = read_reads(tmp_path / "a.fq")
    assert reads.qualities
    write_reads(tmp_path / "b.fq", [reads.load()[0]], reads)
    assert (tmp_path / "b.fq").read_bytes() == text.encode()


@pytest.mark.parametrize(
    ("suffix", "unpacked"), [(".gz", gzip.decompress), (".bz2", bz2.decompress), (".xz", lzma.decompress)]
)
def test_compressed_names_say_which_format(suffix, unpacked, tmp_path):
    """FASTQ written as x.fasta.bz2 used not to be refused."""
    (tmp_path / "a.fq").write_text(FASTQ["plain"])
    reads = read_reads(tmp_path / "a.fq")
    for name in (f"b.fasta{suffix}", "b.fa.zst"):
        with pytest.raises(InputError, match="the result is FASTQ, as the input; use its suffix"):
            check_reads_suffix(tmp_path / name, reads)
    place = tmp_path / f"b.fastq{suffix}"
    check_reads_suffix(place, reads)
    write_reads(place, [reads.load()[0]], reads)
    assert unpacked(place.read_bytes()).decode() == FASTQ["plain"]


@pytest.mark.parametrize("part", [1, 20, 1 << 20])
def test_stretches_letter_by_letter(part, tmp_path, monkeypatch):
    """Contexts stay in sequences, cut at every N, whatever the parts that a file is read in."""
    monkeypatch.setattr("myosotis.denoising.files.dna._PART", part)
    draws = np.random.default_rng(0)
    sequences = ["".join(draws.choice(list("ACGTNacgtn"), draws.integers(0, 9))) for _ in range(50)]
    (tmp_path / "a.fa").write_text("".join(f">{number}\n{row}\n" for number, row in enumerate(sequences)))
    reads = read_reads(tmp_path / "a.fa")
    stretches = [stretch for row in sequences for stretch in row.upper().split("N") if stretch]
    symbols, lengths = reads.load()
    assert "".join("ACGT"[number] for number in symbols) == "".join(stretches)
    assert lengths == [len(stretch) for stretch in stretches]
    assert (reads.sequences, reads.bases, reads.longest) == (50, len(symbols), max(lengths))
    assert reads.unknown == sum(row.upper().count("N") for row in sequences)


def test_the_place_of_a_wrong_letter(tmp_path):
    (tmp_path / "a.fq").write_text("@r1\nACG\n+\nIII\n@empty\n\n+\n\n@r2 x\nAC-T\n+\nIIII\n")
    with pytest.raises(InputError, match="r2 has '-' at position 3; expected A, C, G, T or N"):
        read_reads(tmp_path / "a.fq")
