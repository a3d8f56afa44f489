"""Texts as symbols and back, to the letter."""

import tracemalloc

import numpy as np
import pytest

from myosotis.denoising.files.symbols import read_symbols, write_symbols
from myosotis.engine.errors import InputError


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
def test_a_text_is_written_as_it_was_read(text, tmp_path):
    """Form feeds became line feeds, a byte order mark a letter, CRLF became LF, a missing last line feed was added."""
    (tmp_path / "a.txt").write_bytes(text.encode())
    content = read_symbols(tmp_path / "a.txt")
    letters = "".join(one for one in text.removeprefix("\ufeff") if one not in "\r\n")
    assert content.names == tuple(sorted(set(letters)))
    assert "".join(content.names[number] for number in content.symbols) == letters
    assert sum(content.lines) == len(letters) == content.symbols.size
    write_symbols(tmp_path / "b.txt", content.symbols, content)
    assert (tmp_path / "b.txt").read_bytes() == text.encode()


def test_a_letter_outside_the_alphabet_is_placed(tmp_path):
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
    (tmp_path / "a.txt").write_bytes(letters.tobytes() + b"\n")
    tracemalloc.start()
    content = read_symbols(tmp_path / "a.txt")
    reading = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    write_symbols(tmp_path / "b.txt", content.symbols, content)
    writing = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert reading < 6 * count
    assert writing < 6 * count
    assert (tmp_path / "b.txt").read_bytes() == (tmp_path / "a.txt").read_bytes()
