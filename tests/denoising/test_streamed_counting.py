"""Sequences that come in parts are denoised as those in memory."""

import json
import tracemalloc

import numpy as np
import pytest

from myosotis.denoising.channel import Channel
from myosotis.denoising.commands import DenoiseOptions, denoise_dna
from myosotis.denoising.context_selection import select_context
from myosotis.denoising.contexts import Context1d
from myosotis.denoising.counting import dude
from myosotis.denoising.methods.dude import streamed_candidates
from myosotis.denoising.streamed_counting import streamed_dude


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("size", [1, 7, 100])
def test_parts_are_counted_as_the_whole(markov, noisy, leave_one_out, size):
    law = Channel.symmetric(4, 0.1)
    lengths = np.random.default_rng(0).integers(1, 60, 100)
    seen = noisy(markov(int(lengths.sum()), symbols=4), law)
    ends = np.cumsum(lengths)
    cuts = [(ends[first] - lengths[first], lengths[first : first + size]) for first in range(0, 100, size)]
    parts = [(seen[begin : begin + some.sum()], some) for begin, some in cuts]
    candidates = [Context1d(k) for k in (1, 2, 3)]
    found = streamed_dude(parts, law, candidates, len(seen), leave_one_out=leave_one_out)
    best, estimates = select_context(seen, law, candidates, leave_one_out=leave_one_out, lengths=lengths.tolist())
    assert found.context == best
    assert found.estimates == pytest.approx(estimates, abs=1e-12)
    k = best.half_width
    whole = dude(seen, law, k=k, leave_one_out=leave_one_out, unbiased=True, lengths=lengths.tolist())
    assert np.concatenate([found.denoise(*part) for part in parts]).tolist() == whole.symbols.tolist()
    assert (found.contexts, found.counts.tolist()) == (whole.contexts, np.bincount(seen, minlength=4).tolist())
    assert whole.changed > 0


def write_reads(path, rows, draws):
    letters = np.array(list("ACGT"))[rows]
    letters[draws.random(letters.shape) < 0.02] = "N"
    path.write_text("".join(f"@{n} x\n{''.join(row)}\n+\n{'I' * len(row)}\n" for n, row in enumerate(letters)))


@pytest.mark.parametrize("method", ["dude", "dude_loo"])
@pytest.mark.parametrize("context", [None, 3])
def test_files_too_large_for_memory(method, context, tmp_path, monkeypatch):
    clean = np.tile(np.random.default_rng(0).integers(0, 4, 70), (60, 1))
    rows = Channel.symmetric(4, 0.05).corrupt(clean, np.random.default_rng(1))
    for name, some in (("in.fq", rows), ("clean.fq", clean)):
        write_reads(tmp_path / name, some, np.random.default_rng(2))
    monkeypatch.setattr("myosotis.denoising.files.dna._PART", 500)
    # Fewer contexts than there are symbols, so that both choose from the same.
    monkeypatch.setattr("myosotis.denoising.methods.dude.LINE_CANDIDATES", tuple(Context1d(k) for k in (1, 2, 3, 4)))
    options = DenoiseOptions(rate=0.05, method=method, context=context, reference=tmp_path / "clean.fq")
    results = []
    for name, many in (("held", 1 << 24), ("streamed", 0)):
        monkeypatch.setattr("myosotis.denoising.methods.dude._MANY_SYMBOLS", many)
        assert bool(streamed_candidates(None, rows.size, 70, 4)) == (name == "streamed")
        figures = denoise_dna(tmp_path / "in.fq", tmp_path / f"{name}.fq", options).figures
        results.append({key: value for key, value in figures.items() if key not in ("seconds", "finished")})
    held, streamed = results
    for key in ("estimated_error_before", "estimated_error_after", "contexts_compared"):
        assert streamed.pop(key) == pytest.approx(held.pop(key), abs=1e-12)
    assert json.dumps(streamed) == json.dumps(held)
    assert streamed["changed"] > 0
    assert (tmp_path / "streamed.fq").read_bytes() == (tmp_path / "held.fq").read_bytes()


def test_candidates_that_tables_hold():
    many = 1 << 25
    assert streamed_candidates(None, 1000, 100, 4) == []
    assert streamed_candidates(None, many, 100, 4) == [Context1d(k) for k in range(1, 7)]
    assert streamed_candidates(Context1d(6), many, 100, 4) == [Context1d(6)]
    assert streamed_candidates(Context1d(7), many, 100, 4) == []


def test_memory_does_not_grow_with_the_file(tmp_path, monkeypatch):
    """Records were held as they came: 600 bytes for each read of 100 bases."""
    monkeypatch.setattr("myosotis.denoising.methods.dude._MANY_SYMBOLS", 0)
    monkeypatch.setattr("myosotis.denoising.files.dna._PART", 1 << 16)
    options = DenoiseOptions(rate=0.05, context=2)
    row, peaks = "@read\n" + "ACGTTGCA" * 12 + "\n+\n" + "I" * 96 + "\n", []
    for count in (4_000, 16_000):
        (tmp_path / f"{count}.fq").write_text(row * count)
        tracemalloc.start()
        denoise_dna(tmp_path / f"{count}.fq", tmp_path / f"out-{count}.fq", options)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
