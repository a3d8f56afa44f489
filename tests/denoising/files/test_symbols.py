"""Texts as symbols and back, to the letter."""

import tracemalloc

import numpy as np
import pytest

from myosotis.denoising.files.symbols import read_symbols, write_symbols
from myosotis.engine.errors import InputError


def lines_of(text):
    """Lines that end with a line feed, a carriage return or both."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return lines if lines[-1] else lines[:-1]


@pytest.mark.parametrize(
    "text",
    [
        "abba\nab\n",
        "abba\r\nab\r\n",
        "abba\rab\r",
        "ab\nba\r\nab\ra",
        "abba",
        "\nab\n\nba\n\n",
        "ab\x0cba\u2028ab\x85a\x1c\n",
        "\ufeffabab\n",
        "äßä\U0001f600ä\n",
    ],
)
@pytest.mark.parametrize("part", [1, 2, 3, 2**18])
def test_a_text_is_written_as_it_was_read(text, part, tmp_path, monkeypatch):
    """Form feeds became line feeds, a byte order mark a letter, CRLF became LF, a missing last line feed was added."""
    monkeypatch.setattr("myosotis.denoising.files.symbols._PART", part)
    (tmp_path / "a.txt").write_bytes(text.encode())
    content = read_symbols(tmp_path / "a.txt")
    letters = "".join(one for one in text.removeprefix("\ufeff") if one not in "\r\n")
    assert content.names == tuple(sorted(set(letters)))
    assert "".join(content.names[number] for number in content.symbols) == letters
    assert list(content.lines) == [len(line) for line in lines_of(text.removeprefix("\ufeff"))]
    assert list(content.lengths) == [length for length in content.lines if length]
    assert sum(content.lines) == len(letters) == content.symbols.size
    write_symbols(tmp_path / "b.txt", content.symbols, content)
    assert (tmp_path / "b.txt").read_bytes() == text.encode()


@pytest.mark.parametrize("part", [1, 2, 5, 2**18])
def test_a_letter_outside_the_alphabet_is_placed(part, tmp_path, monkeypatch):
    monkeypatch.setattr("myosotis.denoising.files.symbols._PART", part)
    (tmp_path / "a.txt").write_bytes(b"ab\r\n\nabcb\n")
    with pytest.raises(InputError, match=r"a.txt, line 3, position 3: 'c' is not in the alphabet 'ab'"):
        read_symbols(tmp_path / "a.txt", "ab")
    (tmp_path / "a.txt").write_bytes(b"\n\r\n")
    with pytest.raises(InputError, match="holds no symbols"):
        read_symbols(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match="is not text"):
        read_symbols(tmp_path / "a.txt")


def test_memory_of_reading_and_writing(tmp_path):
    """A text took 10.6 bytes for each letter to be read and 16.6 to be written."""
    count = 8 * 2**20
    letters = np.frombuffer(b"abcd", dtype=np.uint8)[np.random.default_rng(0).integers(0, 4, count)]
    letters = letters.copy()
    letters[64::65] = ord("\n")
    (tmp_path / "a.txt").write_bytes(letters.tobytes())
    tracemalloc.start()
    content = read_symbols(tmp_path / "a.txt")
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    write_symbols(tmp_path / "b.txt", content.symbols, content)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The symbols themselves, a table of all characters, eight bytes for a line, and nine of a part.
    assert reading < 2 * count
    assert writing < reading < 2 * count
    assert (tmp_path / "b.txt").read_bytes() == (tmp_path / "a.txt").read_bytes()
