"""DNA files and back, to the letter."""

import bz2
import gzip
import lzma

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
}


@pytest.mark.parametrize("text", FASTA.values(), ids=FASTA)
def test_fasta_is_written_as_it_was_read(text, tmp_path):
    """Remarks, empty lines, spaces and CRLF used to be lost."""
    (tmp_path / "a.fa").write_bytes(text.encode())
    reads = read_reads(tmp_path / "a.fa")
    assert not reads.qualities
    write_reads(tmp_path / "b.fa", reads.symbols, reads)
    assert (tmp_path / "b.fa").read_bytes() == text.encode()


@pytest.mark.parametrize("text", FASTQ.values(), ids=FASTQ)
def test_fastq_is_written_as_it_was_read(text, tmp_path):
    """The second name and CRLF used to be lost."""
    (tmp_path / "a.fq").write_bytes(text.encode())
    reads = read_reads(tmp_path / "a.fq")
    assert reads.qualities
    write_reads(tmp_path / "b.fq", reads.symbols, reads)
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
    write_reads(place, reads.symbols, reads)
    assert unpacked(place.read_bytes()).decode() == FASTQ["plain"]
