"""Channels: what they accept, their inverse, and noise that follows them."""

import numpy as np
import pytest

from myosotis.denoising.channel import Channel, check_symbols, read_channel
from myosotis.engine.errors import InputError

NANOPORE = [
    [0.8122, 0.0034, 0.0894, 0.0950],
    [0.0096, 0.8237, 0.0808, 0.0859],
    [0.1066, 0.0436, 0.7774, 0.0724],
    [0.0704, 0.0690, 0.0889, 0.7717],
]


def test_the_inverse_is_a_right_inverse():
    for table in (NANOPORE, [[0.7, 0.2, 0.1], [0.1, 0.3, 0.6]]):
        channel = Channel(table)
        np.testing.assert_allclose(channel.matrix @ channel.inverse, np.eye(channel.inputs), atol=1e-12)


def test_rows_are_clean_symbols():
    channel = Channel([[0.9, 0.1], [0.3, 0.7]])
    clean = np.repeat([0, 1], 200_000)
    noisy = channel.corrupt(clean, np.random.default_rng(0))
    assert noisy[:200_000].mean() == pytest.approx(0.1, abs=0.003)
    assert noisy[200_000:].mean() == pytest.approx(0.7, abs=0.004)
    np.testing.assert_allclose(Channel.from_pairs(clean, noisy, 2).matrix, channel.matrix, atol=0.004)


def test_noise_follows_every_entry_of_a_channel():
    channel, clean = Channel(NANOPORE), np.repeat(np.arange(4, dtype=np.uint8), 100_000)
    noisy = channel.corrupt(clean, np.random.default_rng(1))
    assert noisy.dtype == np.uint8
    np.testing.assert_allclose(Channel.from_pairs(clean, noisy, 4).matrix, NANOPORE, atol=0.006)


def test_symmetric_channels():
    assert Channel.symmetric(4, 0.3).matrix[1].round(12).tolist() == [0.1, 0.7, 0.1, 0.1]
    assert Channel.binary_symmetric(0.1).condition == pytest.approx(1 / 0.8)
    clean = np.arange(100) % 2
    assert Channel.binary_symmetric(0.0).corrupt(clean, np.random.default_rng(0)).tolist() == clean.tolist()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0.9, 0.2], [0.1, 0.9]], "row 1 of the channel sums to 1.1"),
        ([[0.9, 0.1], [0.1, 0.95]], "row 2"),
        ([[0.5, 0.5], [0.5, 0.5]], "condition number"),
        ([[0.5001, 0.4999], [0.4999, 0.5001]], "condition number 5e\\+03"),
        ([[1.1, -0.1], [0.1, 0.9]], "must not be negative"),
        ([[0.9, 0.1], [np.nan, 0.9]], "must not be negative"),
        ([[1.0]], "at least two"),
        ([[0.5, 0.5], [0.4, 0.6], [0.1, 0.9]], "at least as many columns; got \\(3, 2\\)"),
        ([[0.9, 0.1], [0.1]], "rows of equal length"),
    ],
)
def test_what_is_no_channel(table, message):
    with pytest.raises(ValueError, match=message):
        Channel(table)


@pytest.mark.parametrize("rate", [0.5, 0.7, -0.1, float("nan")])
def test_rates_out_of_range(rate):
    with pytest.raises(ValueError, match="must be in \\[0, 0.5\\)"):
        Channel.binary_symmetric(rate)


def test_channels_from_files(tmp_path):
    path = tmp_path / "pi.txt"
    path.write_text("# A and B\n0.9, 0.1\n0.2 0.8  # rarely right\n")
    assert read_channel(path).matrix.tolist() == [[0.9, 0.1], [0.2, 0.8]]
    for text, message in (
        ("0.9 0.1\n0.2 often\n", "pi.txt, line 2: expected numbers"),
        ("", "holds no numbers"),
        ("0.9 0.2\n0.1 0.9\n", "pi.txt: row 1 of the channel sums to 1.1"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            read_channel(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not text"):
        read_channel(path)
    with pytest.raises(InputError, match="no such file"):
        read_channel(tmp_path / "none")


def test_symbols_outside_the_alphabet_are_named():
    check_symbols(np.array([0, 3, 1]), 4)
    with pytest.raises(ValueError, match="symbol 4 at position 2 is not among A, C, G, T"):
        check_symbols(np.array([0, 1, 4, 7]), 4, "ACGT")
    with pytest.raises(ValueError, match="symbol -1 at position \\(1, 0\\) is not among 0 to 1"):
        check_symbols(np.array([[0, 1], [-1, 0]]), 2)
    with pytest.raises(ValueError, match="whole numbers, got float64"):
        check_symbols(np.array([0.5]), 2)
    with pytest.raises(ValueError, match="no symbols given"):
        check_symbols(np.array([], dtype=int), 2)


def test_a_clean_sequence_must_show_every_symbol():
    with pytest.raises(ValueError, match="symbol 1 never occurs"):
        Channel.from_pairs(np.array([0, 0]), np.array([0, 1]), 2)
